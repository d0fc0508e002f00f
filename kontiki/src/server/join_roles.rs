//! RBAC for joining and for nodes: who may call what below `/kontiki/v1/`, and what kubeadm sets up for kubelets that
//! join by TLS bootstrap: reading `cluster-info`, making requests, having them approved. Standard kubelets ask here
//! whether the API server itself may call them.

use std::time::Duration;

use api_codec::decode::FieldValidation;
use api_machinery::error::Result;
use api_machinery::{Reason, UserInfo, Value};
use api_registry::{Body, Registry, RequestInfo, Target};
use serde_json::json;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Makes the roles and bindings where they are absent; what an admin changed stays.
pub(crate) async fn ensure(registry: &Registry) -> Result<()> {
    for (resource, object) in objects() {
        create(registry, resource, object).await?;
    }
    Ok(())
}

fn objects() -> Vec<(&'static str, Value)> {
    let role = |name: &str, path: &str| {
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [{"verbs": ["post"], "nonResourceURLs": [path]}]})
    };
    let binding = |name: &str, group: &str| {
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group}]})
    };
    vec![
        ("clusterroles", role("kontiki:ca", "/kontiki/v1/ca")),
        ("clusterroles", role("kontiki:join", "/kontiki/v1/join/*")),
        ("clusterroles", role("kontiki:node", "/kontiki/v1/node/*")),
        ("clusterrolebindings", binding("kontiki:ca", "system:unauthenticated")),
        ("clusterrolebindings", binding("kontiki:join", "system:bootstrappers")),
        ("clusterrolebindings", binding("kontiki:node", "system:nodes")),
        ("roles", cluster_info_role()),
        ("rolebindings", cluster_info_binding()),
        (
            "clusterrolebindings",
            bootstrap_binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", &BOOTSTRAPPERS),
        ),
        ("clusterrolebindings", bootstrap_binding("kubeadm:node-autoapprove-bootstrap", NODE_CLIENT, &BOOTSTRAPPERS)),
        (
            "clusterrolebindings",
            bootstrap_binding("kubeadm:node-autoapprove-certificate-rotation", SELF_NODE_CLIENT, &["system:nodes"]),
        ),
        ("clusterrolebindings", kubelet_api_binding()),
    ]
}

/// Whose tokens may bring in kubelets: kubeadm's, and ours for agents.
const BOOTSTRAPPERS: [&str; 2] = ["system:bootstrappers:kubeadm:default-node-token", super::AGENTS];
const NODE_CLIENT: &str = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
const SELF_NODE_CLIENT: &str = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
const CLUSTER_INFO: &str = "kubeadm:bootstrap-signer-clusterinfo";

fn bootstrap_binding(name: &str, role: &str, groups: &[&str]) -> Value {
    let subjects: Vec<Value> =
        groups.iter().map(|group| json!({"apiGroup": GROUP, "kind": "Group", "name": group})).collect();
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role}, "subjects": subjects})
}

/// What API servers may do at kubelets, and no more: in kubeadm's clusters they are admins.
fn kubelet_api_binding() -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding",
        "metadata": {"name": "kontiki:kubelet-api-admin"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": super::identity::KUBELET_CLIENT_USER}]})
}

fn cluster_info_role() -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Role",
        "metadata": {"name": CLUSTER_INFO, "namespace": "kube-public"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"]}]})
}

/// Anybody: the signatures say whether to believe it.
fn cluster_info_binding() -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "RoleBinding",
        "metadata": {"name": CLUSTER_INFO, "namespace": "kube-public"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": CLUSTER_INFO},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "system:anonymous"}]})
}

async fn create(registry: &Registry, resource: &str, object: Value) -> Result<()> {
    let resource = registry
        .schema
        .resource(GROUP, "v1", resource)
        .ok_or_else(|| api_machinery::ApiError::internal(format!("{resource} is not served")))?;
    let namespace = api_machinery::object::namespace(&object).to_owned();
    let target = Target { resource, namespace: &namespace, name: "", subresource: "" };
    let info = RequestInfo {
        user: UserInfo::internal("system:apiserver"),
        field_manager: "kontiki".to_owned(),
        field_validation: FieldValidation::Strict,
        deadline: Duration::from_secs(10),
        ..RequestInfo::default()
    };
    match registry.create(&info, &target, Body::Value(object)).await {
        Err(error) if error.reason != Reason::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
