//! The pod network's configuration: the standard CNI plugins over one bridge.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{create, write};

/// Where the pod network of a node is configured, once the node's addresses are known.
#[derive(Clone, Debug)]
pub struct PodNetwork {
    pub(super) conf_dir: PathBuf,
    pub(super) ipam_dir: PathBuf,
    pub(super) bridge: String,
}

impl PodNetwork {
    /// Writes the configuration for this range of addresses; the runtime notices by itself.
    pub fn write(&self, pod_cidr: &str) -> Result<(), String> {
        let (file, text) = (self.file(), self.conflist(pod_cidr));
        if std::fs::read_to_string(&file).is_ok_and(|present| present == text) {
            return Ok(());
        }
        create(&self.conf_dir)?;
        write(&file, &text)
    }

    fn file(&self) -> PathBuf {
        self.conf_dir.join("10-kontiki.conflist")
    }

    /// The range it was last configured with.
    pub(super) fn pod_cidr(&self) -> Option<String> {
        let list: Value = serde_json::from_slice(&std::fs::read(self.file()).ok()?).ok()?;
        Some(list.pointer("/plugins/0/ipam/ranges/0/0/subnet")?.as_str()?.to_owned())
    }

    /// A bridge with addresses of the node's range, host ports, and masquerading for what leaves. Pods' packets
    /// pass also where the machine forwards nothing by default, as Docker sets it up.
    fn conflist(&self, pod_cidr: &str) -> String {
        let ipam = json!({
            "type": "host-local",
            "ranges": [[{"subnet": pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": self.ipam_dir,
        });
        let bridge = json!({
            "type": "bridge", "bridge": self.bridge, "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "forceAddress": true, "ipam": ipam,
        });
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
        let firewall = json!({"type": "firewall"});
        // The network has the bridge's name: firewall rules carry it, and say whose they are.
        let list = json!({"cniVersion": "1.0.0", "name": self.bridge, "plugins": [bridge, portmap, firewall]});
        format!("{list:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_the_range_it_writes() {
        let dir = std::env::temp_dir().join(format!("kontiki-network-{}", std::process::id()));
        let network = PodNetwork { conf_dir: dir.clone(), ipam_dir: dir.join("ipam"), bridge: "kontiki0".to_owned() };
        assert_eq!(network.pod_cidr(), None);
        network.write("10.244.3.0/24").expect("written");
        assert_eq!(network.pod_cidr().as_deref(), Some("10.244.3.0/24"));
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn two_nodes_of_one_machine_share_nothing() {
        let network = |bridge: &str, dir: &str| PodNetwork {
            conf_dir: PathBuf::from(dir).join("cni"),
            ipam_dir: PathBuf::from(dir).join("cni-ipam"),
            bridge: bridge.to_owned(),
        };
        let parsed = |network: PodNetwork, cidr: &str| -> serde_json::Value {
            serde_json::from_str(&network.conflist(cidr)).expect("JSON")
        };
        let one = parsed(network("kontiki-6443", "/a"), "10.244.1.0/24");
        let two = parsed(network("kontiki-7443", "/b"), "10.244.2.0/24");
        for pointer in ["/name", "/plugins/0/bridge", "/plugins/0/ipam/dataDir", "/plugins/0/ipam/ranges/0/0/subnet"] {
            assert!(one.pointer(pointer).is_some_and(|value| Some(value) != two.pointer(pointer)), "{pointer}");
        }
    }
}
