//! The node's range of pod addresses, from the Node object to the runtime's configuration.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;

use crate::agent::Node;
use crate::containerd::PodNetwork;
use crate::node_status;

/// Between looks at the Node object, until it has a range.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the runtime may take to notice its new configuration, and between looks.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(10);
const NOTICE_EVERY: Duration = Duration::from_millis(100);

/// Waits until the node has a range of addresses, whoever gave it, and configures the pod network with it.
pub(crate) async fn configure(node: Arc<Node>) {
    let Some(network) = node.config.pod_network.clone() else { return };
    loop {
        match try_configure(&node, &network).await {
            Ok(true) => break,
            Ok(false) => tracing::debug!("the node has no podCIDR yet"),
            Err(error) => tracing::warn!(%error, "configuring the pod network"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // The node becomes ready as soon as the runtime is, not at the next turn.
    let _ = tokio::time::timeout(NOTICE_TIMEOUT, noticed(&node)).await;
    node.status_wake.notify_one();
}

async fn try_configure(node: &Node, network: &PodNetwork) -> Result<bool, String> {
    let found: api::Node = node.client.get(&node_status::path(node)).await.map_err(|e| e.to_string())?;
    match range(&found) {
        Some(cidr) => network.write(cidr).map(|()| true),
        None => Ok(false),
    }
}

fn range(node: &api::Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|cidr| !cidr.is_empty())
}

async fn noticed(node: &Node) {
    while !node.runtime.status().await.is_ok_and(|status| status.conditions.iter().all(|one| one.status)) {
        tokio::time::sleep(NOTICE_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_range_has_to_wait() {
        let node = |spec: serde_json::Value| -> api::Node {
            serde_json::from_value(serde_json::json!({"metadata": {"name": "n"}, "spec": spec})).expect("a node")
        };
        assert_eq!(range(&node(serde_json::json!({}))), None);
        assert_eq!(range(&node(serde_json::json!({"podCIDR": ""}))), None);
        assert_eq!(range(&node(serde_json::json!({"podCIDR": "10.244.3.0/24"}))), Some("10.244.3.0/24"));
    }
}
