//! Firewall rules that the CNI plugins made for pods of a node.
//!
//! Address translation of a pod carries the name of its network in a comment; what lets its packets pass
//! carries its address. Chains that belong to all networks of the machine go when nobody uses them any more.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A table, and chains in it that all networks share.
struct Table {
    name: &'static str,
    shared: &'static [&'static str],
    /// Of these, the ones whose rules say that somebody needs them.
    used: &'static [&'static str],
}

const NAT: Table = Table {
    name: "nat",
    shared: &["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"],
    used: &["CNI-HOSTPORT-DNAT"],
};
const FILTER: Table =
    Table { name: "filter", shared: &["CNI-FORWARD", "CNI-ADMIN"], used: &["CNI-FORWARD", "CNI-ADMIN"] };

/// A plugin that makes a chain uses it sooner.
const SOON: Duration = Duration::from_millis(300);

/// Removes the rules of the pods of a network, and of a range of addresses.
pub(super) fn remove(network: &str, pod_cidr: Option<&str>) -> Result<(), String> {
    clear(&NAT, |rule| is_of(rule, network))?;
    clear_orphans()?;
    let Some(range) = pod_cidr.and_then(Range::parse) else { return Ok(()) };
    clear(&FILTER, |rule| FILTER.shared.contains(&chain(rule)) && address(rule).is_some_and(|ip| range.holds(ip)))
}

fn clear(table: &Table, is_ours: impl Fn(&str) -> bool) -> Result<(), String> {
    match removal(&list(table)?, table, is_ours) {
        Some(script) => restore(&script),
        None => Ok(()),
    }
}

/// Chains of pods that are gone whose removal failed, as it does when several end at once. They carry no name
/// any more: what is empty and unused, now and a moment later, is nobody's.
fn clear_orphans() -> Result<(), String> {
    let before = list(&NAT)?;
    let before = orphans(&before);
    if before.is_empty() {
        return Ok(());
    }
    std::thread::sleep(SOON);
    let now = list(&NAT)?;
    let chains: Vec<&str> = orphans(&now).intersection(&before).copied().collect();
    let lines: String = chains.iter().map(|chain| format!("-X {chain}\n")).collect();
    if lines.is_empty() { Ok(()) } else { restore(&format!("*nat\n{lines}COMMIT\n")) }
}

fn orphans(listed: &str) -> BTreeSet<&str> {
    let rules: Vec<&str> = listed.lines().filter(|line| line.starts_with("-A ")).collect();
    let chains = listed.lines().filter_map(|line| line.strip_prefix("-N "));
    let of_a_pod = |name: &&str| {
        let id = name.strip_prefix("CNI-DN-").or_else(|| name.strip_prefix("CNI-"));
        id.is_some_and(|id| id.len() > 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let unused = |name: &&str| !rules.iter().any(|rule| chain(rule) == *name || target(rule) == Some(*name));
    chains.filter(of_a_pod).filter(unused).collect()
}

fn list(table: &Table) -> Result<String, String> {
    let listed = run(Command::new("iptables").args(["-w", "5", "-t", table.name, "-S"]), "")?;
    Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
}

fn restore(script: &str) -> Result<(), String> {
    run(Command::new("iptables-restore").args(["-w", "5", "--noflush"]), script).map(drop)
}

fn run(command: &mut Command, input: &str) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let fail = |e: std::io::Error| format!("{name}: {e}");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(fail)?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(fail)?;
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    written.map_err(fail).map(|()| output)
}

/// What `iptables-restore` is to do, given what `iptables -S` lists of a table; `None`: nothing.
fn removal(listed: &str, table: &Table, is_ours: impl Fn(&str) -> bool) -> Option<String> {
    let rules: Vec<&str> = listed.lines().filter(|line| line.starts_with("-A ")).collect();
    let chains: BTreeSet<&str> = listed.lines().filter_map(|line| line.strip_prefix("-N ")).collect();
    let is_shared = |name: &str| table.shared.contains(&name);
    let mut rules_gone: Vec<&str> = rules.iter().copied().filter(|rule| is_ours(rule)).collect();
    let own = rules_gone.iter().filter_map(|rule| target(rule));
    let mut chains_gone: BTreeSet<&str> = own.filter(|name| name.starts_with("CNI-") && !is_shared(name)).collect();
    let needs = |rule: &&str| table.used.contains(&chain(rule)) && !target(rule).is_some_and(is_shared);
    if !rules.iter().any(|rule| needs(rule) && !rules_gone.contains(rule)) {
        chains_gone.extend(table.shared);
    }
    chains_gone.retain(|chain| chains.contains(chain));
    // Rules of a chain that goes, go with it; those that lead to it go first.
    rules_gone.extend(rules.iter().filter(|rule| target(rule).is_some_and(|target| chains_gone.contains(target))));
    rules_gone.retain(|rule| !chains_gone.contains(chain(rule)));
    rules_gone.sort_unstable();
    rules_gone.dedup();
    if rules_gone.is_empty() && chains_gone.is_empty() {
        return None;
    }
    let mut script = format!("*{}\n", table.name);
    rules_gone.iter().for_each(|rule| script.push_str(&format!("-D{}\n", &rule[2..])));
    chains_gone.iter().for_each(|chain| script.push_str(&format!("-F {chain}\n")));
    chains_gone.iter().for_each(|chain| script.push_str(&format!("-X {chain}\n")));
    Some(script + "COMMIT\n")
}

/// `-A CHAIN ...`
fn chain(rule: &str) -> &str {
    rule.split(' ').nth(1).unwrap_or("")
}

/// `... -j TARGET ...`
fn target(rule: &str) -> Option<&str> {
    rule.split(' ').skip_while(|word| *word != "-j").nth(1)
}

/// The plugins' comments: `name: "NETWORK" id: "CONTAINER"`, quoted once more by `iptables`.
fn is_of(rule: &str, network: &str) -> bool {
    rule.contains(&format!("name: \\\"{network}\\\" id: "))
}

/// The one address a rule is about: `-s ADDRESS/32` or `-d ADDRESS/32`.
fn address(rule: &str) -> Option<Ipv4Addr> {
    let mut words = rule.split(' ').skip_while(|word| *word != "-s" && *word != "-d");
    words.nth(1)?.strip_suffix("/32")?.parse().ok()
}

/// Addresses that begin alike.
struct Range {
    first: u32,
    mask: u32,
}

impl Range {
    fn parse(cidr: &str) -> Option<Self> {
        let (address, length) = cidr.split_once('/')?;
        let length: u32 = length.parse().ok().filter(|length| *length <= 32)?;
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        Some(Self { first: u32::from(address.parse::<Ipv4Addr>().ok()?) & mask, mask })
    }

    fn holds(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask == self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nat(listed: &str, network: &str) -> Option<String> {
        removal(listed, &NAT, |rule| is_of(rule, network))
    }

    const OTHERS: &str = r#"-P PREROUTING ACCEPT
-N DOCKER
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
"#;
    const SHARED_RULES: &str = r#"-N CNI-HOSTPORT-DNAT
-N CNI-HOSTPORT-MASQ
-N CNI-HOSTPORT-SETMARK
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
"#;

    /// What is to be done about one pod, with nobody else mapping ports.
    const ALL: &str = r#"*nat
-D OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-D POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-D POSTROUTING -s 10.244.1.2/32 -m comment --comment "name: \"kontiki-6443\" id: \"aa\"" -j CNI-aa
-D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-F CNI-DN-aa
-F CNI-HOSTPORT-DNAT
-F CNI-HOSTPORT-MASQ
-F CNI-HOSTPORT-SETMARK
-F CNI-aa
-X CNI-DN-aa
-X CNI-HOSTPORT-DNAT
-X CNI-HOSTPORT-MASQ
-X CNI-HOSTPORT-SETMARK
-X CNI-aa
COMMIT
"#;
    /// The same, with somebody else.
    const ONE: &str = r#"*nat
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"kontiki-6443\" id: \"aa\"" -m multiport --dports 8080 -j CNI-DN-aa
-D POSTROUTING -s 10.244.1.2/32 -m comment --comment "name: \"kontiki-6443\" id: \"aa\"" -j CNI-aa
-F CNI-DN-aa
-F CNI-aa
-X CNI-DN-aa
-X CNI-aa
COMMIT
"#;

    fn pod(network: &str, id: &str) -> String {
        format!(
            r#"-N CNI-{id}
-N CNI-DN-{id}
-A POSTROUTING -s 10.244.1.2/32 -m comment --comment "name: \"{network}\" id: \"{id}\"" -j CNI-{id}
-A CNI-{id} -d 10.244.1.0/24 -m comment --comment "name: \"{network}\" id: \"{id}\"" -j ACCEPT
-A CNI-{id} ! -d 224.0.0.0/4 -m comment --comment "name: \"{network}\" id: \"{id}\"" -j MASQUERADE
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"{network}\" id: \"{id}\"" -m multiport --dports 8080 -j CNI-DN-{id}
-A CNI-DN-{id} -s 10.244.1.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-{id} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.2:80
"#
        )
    }

    #[test]
    fn takes_away_what_pods_left_and_what_nobody_uses_any_more() {
        let listed = format!("{OTHERS}{SHARED_RULES}{}", pod("kontiki-6443", "aa"));
        assert_eq!(nat(&listed, "kontiki-6443").expect("something"), ALL);
    }

    #[test]
    fn leaves_what_others_use() {
        let listed = format!("{OTHERS}{SHARED_RULES}{}{}", pod("kontiki-6443", "aa"), pod("kontiki-64", "bb"));
        assert_eq!(nat(&listed, "kontiki-6443").expect("something"), ONE);
        assert_eq!(nat(OTHERS, "kontiki-6443"), None, "nothing of ours");
        assert_eq!(nat("", "kontiki-6443"), None);
    }

    #[test]
    fn finds_chains_that_nobody_uses() {
        let (dead, used, full) = ("87a5909bc69c849b95b329ff", "c06c7b8774290c073feceaf0", "a2bcb1c6110501736e8c121c");
        let listed = format!(
            "-N CNI-{dead}\n-N CNI-DN-{dead}\n-N CNI-{used}\n-N CNI-{full}\n-N CNI-HOSTPORT-MASQ\n-N DOCKER\n\
             -A POSTROUTING -s 10.1.1.1/32 -j CNI-{used}\n-A CNI-{full} -j ACCEPT\n"
        );
        let (own, mapped) = (format!("CNI-{dead}"), format!("CNI-DN-{dead}"));
        assert_eq!(orphans(&listed).into_iter().collect::<Vec<_>>(), [own.as_str(), mapped.as_str()]);
    }

    #[test]
    fn takes_away_what_let_packets_pass() {
        let range = Range::parse("10.244.24.0/24").expect("a range");
        let is_ours = |rule: &str| chain(rule) == "CNI-FORWARD" && address(rule).is_some_and(|ip| range.holds(ip));
        let shared = r#"-P FORWARD DROP
-N CNI-ADMIN
-N CNI-FORWARD
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A FORWARD -j DOCKER-USER
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
"#;
        let pod = |ip: &str| {
            format!(
                "-A CNI-FORWARD -d {ip}/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
                 -A CNI-FORWARD -s {ip}/32 -j ACCEPT\n"
            )
        };
        let both = format!("{shared}{}{}", pod("10.244.24.3"), pod("10.244.25.3"));
        let script = removal(&both, &FILTER, is_ours).expect("something");
        assert_eq!(
            script,
            "*filter\n-D CNI-FORWARD -d 10.244.24.3/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -D CNI-FORWARD -s 10.244.24.3/32 -j ACCEPT\nCOMMIT\n"
        );
        let script = removal(&format!("{shared}{}", pod("10.244.24.3")), &FILTER, is_ours).expect("something");
        assert_eq!(
            script,
            "*filter\n-D FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD\n\
             -F CNI-ADMIN\n-F CNI-FORWARD\n-X CNI-ADMIN\n-X CNI-FORWARD\nCOMMIT\n"
        );
        let admins = format!("{shared}-A CNI-ADMIN -s 10.9.9.9/32 -j DROP\n");
        assert_eq!(removal(&admins, &FILTER, is_ours), None, "somebody's own rules stay");
    }

    #[test]
    fn ranges() {
        let holds = |cidr: &str, ip: [u8; 4]| Range::parse(cidr).map(|range| range.holds(ip.into()));
        assert_eq!(holds("10.244.24.0/24", [10, 244, 24, 255]), Some(true));
        assert_eq!(holds("10.244.24.0/24", [10, 244, 25, 0]), Some(false));
        assert_eq!(holds("0.0.0.0/0", [1, 2, 3, 4]), Some(true));
        assert_eq!(holds("10.244.24.0/33", [10, 244, 24, 0]), None);
        assert_eq!(holds("nonsense", [0, 0, 0, 0]), None);
    }
}
