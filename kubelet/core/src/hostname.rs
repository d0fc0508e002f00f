//! What a pod is called inside: its host name and its `/etc/hosts`.

use k8s_openapi::api::core::v1::Pod;

use crate::pods;

/// The domain of the cluster's names.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// One label of a name.
const MAX_LABEL: usize = 63;
/// The kernel takes no longer host names.
const MAX_KERNEL: usize = 64;

/// The host name and, with `subdomain`, the domain it is in.
fn names(pod: &Pod) -> (String, Option<String>) {
    let (namespace, name, _) = pods::identity(pod);
    let given = |text: Option<&String>| text.filter(|t| !t.is_empty()).cloned();
    let spec = pods::spec(pod);
    if let Some(name) = given(spec.and_then(|s| s.hostname_override.as_ref())) {
        return (name, None);
    }
    let mut host = given(spec.and_then(|s| s.hostname.as_ref())).unwrap_or_else(|| name.to_owned());
    if host.len() > MAX_LABEL {
        host.truncate(MAX_LABEL);
        host.truncate(host.trim_end_matches(['-', '.']).len());
    }
    let subdomain = given(spec.and_then(|s| s.subdomain.as_ref()));
    (host, subdomain.map(|sub| format!("{sub}.{namespace}.svc.{CLUSTER_DOMAIN}")))
}

/// What the kernel is told: the host name, or with `setHostnameAsFQDN` all of it.
pub fn kernel(pod: &Pod) -> Result<String, String> {
    let (host, domain) = names(pod);
    let whole = pods::spec(pod).and_then(|s| s.set_hostname_as_fqdn) == Some(true);
    let Some(domain) = domain.filter(|_| whole) else { return Ok(host) };
    let fqdn = format!("{host}.{domain}");
    if fqdn.len() <= MAX_KERNEL {
        return Ok(fqdn);
    }
    let numbers = format!("{MAX_KERNEL} characters is the max, {} characters requested", fqdn.len());
    Err(format!("failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long ({numbers})"))
}

const HOSTS: &str = "# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// The pod's `/etc/hosts`. `node`: the node's own, which pods on its network see too.
pub fn hosts(pod: &Pod, ips: &[String], node: &str) -> String {
    let mut text = if pods::host_network(pod) {
        format!("# Kubernetes-managed hosts file (host network).\n{node}")
    } else {
        let names = match names(pod) {
            (host, Some(domain)) => format!("{host}.{domain}\t{host}"),
            (host, None) => host,
        };
        let own: String = ips.iter().map(|ip| format!("{ip}\t{names}\n")).collect();
        format!("{HOSTS}{own}")
    };
    let aliases = pods::spec(pod).and_then(|s| s.host_aliases.as_deref()).unwrap_or(&[]);
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, spec: Value) -> Pod {
        let mut pod = json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"containers": []}});
        pod["spec"].as_object_mut().expect("a spec").extend(spec.as_object().expect("fields").clone());
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn names_of_pods() {
        let long = format!("{}-{}", "a".repeat(62), "b".repeat(9));
        let fqdn = json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true});
        let cases = [
            (pod("p", json!({})), "p"),
            (pod("p", json!({"hostname": "h", "subdomain": "s"})), "h"),
            (pod("p", fqdn), "h.s.n.svc.cluster.local"),
            (pod("p", json!({"hostname": "h", "hostnameOverride": "o.example"})), "o.example"),
            (pod(&long, json!({})), &long[..62]),
        ];
        for (pod, expected) in cases {
            assert_eq!(kernel(&pod), Ok(expected.to_owned()));
        }
        let too_long = kernel(&pod(&"a".repeat(60), json!({"subdomain": "s", "setHostnameAsFQDN": true})));
        assert!(
            too_long.expect_err("refused").ends_with("is too long (64 characters is the max, 82 characters requested)")
        );
    }

    #[test]
    fn hosts_files() {
        let alias = json!([{"ip": "10.9.9.9", "hostnames": ["x", "y"]}]);
        let own = |spec: Value| hosts(&pod("p", spec), &["10.0.0.2".to_owned()], "127.0.0.1 node\n");
        assert_eq!(own(json!({})), format!("{HOSTS}10.0.0.2\tp\n"));
        assert_eq!(own(json!({"subdomain": "s"})), format!("{HOSTS}10.0.0.2\tp.s.n.svc.cluster.local\tp\n"));
        let added = "\n# Entries added by HostAliases.\n10.9.9.9\tx\ty\n";
        assert_eq!(own(json!({"hostAliases": alias})), format!("{HOSTS}10.0.0.2\tp\n{added}"));
        let expected = "# Kubernetes-managed hosts file (host network).\n127.0.0.1 node\n";
        assert_eq!(own(json!({"hostNetwork": true})), expected);
    }
}
