//! Which name servers a pod asks.

use k8s_openapi::api::core::v1::Pod;
use kubelet_core::pods;
use kubelet_cri::cri;

/// By the pod's DNS policy. Without a cluster DNS, `ClusterFirst` is `Default`, as upstream does.
pub(crate) fn config(pod: &Pod) -> cri::DnsConfig {
    let spec = pods::spec(pod);
    let policy = spec.and_then(|s| s.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let mut config = match policy {
        "None" => cri::DnsConfig::default(),
        _ => parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
    };
    if let Some(own) = spec.and_then(|s| s.dns_config.clone()) {
        append(&mut config.servers, own.nameservers.unwrap_or_default());
        append(&mut config.searches, own.searches.unwrap_or_default());
        for option in own.options.into_iter().flatten() {
            let Some(name) = option.name else { continue };
            config.options.retain(|o| o.split(':').next() != Some(name.as_str()));
            config.options.push(option.value.map_or(name.clone(), |value| format!("{name}:{value}")));
        }
    }
    config
}

fn append(list: &mut Vec<String>, more: Vec<String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn parse(text: &str) -> cri::DnsConfig {
    let mut config = cri::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => config.searches = words.map(str::to_owned).collect(),
            Some("options") => config.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf() {
        let config = parse("# x\nnameserver 10.0.0.1\nsearch a b\noptions ndots:5 edns0\n");
        assert_eq!(
            (config.servers, config.searches),
            (vec!["10.0.0.1".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [], "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["1.2.3.4"], "options": [{"name": "ndots", "value": "2"}]}}}))
        .expect("a pod");
        let config = super::config(&pod);
        assert_eq!((config.servers, config.options), (vec!["1.2.3.4".to_owned()], vec!["ndots:2".to_owned()]));
    }
}
