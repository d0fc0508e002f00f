//! RBAC for joining and for nodes: who may call what below `/kontiki/v1/`.

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
    ]
}

async fn create(registry: &Registry, resource: &str, object: Value) -> Result<()> {
    let resource = registry
        .schema
        .resource(GROUP, "v1", resource)
        .ok_or_else(|| api_machinery::ApiError::internal(format!("{resource} is not served")))?;
    let target = Target { resource, namespace: "", name: "", subresource: "" };
    let info = RequestInfo {
        user: UserInfo::internal("system:apiserver"),
        fence: None,
        dry_run: false,
        field_manager: "kontiki".to_owned(),
        field_validation: FieldValidation::Strict,
        deadline: Duration::from_secs(10),
        authority: None,
    };
    match registry.create(&info, &target, Body::Value(object)).await {
        Err(error) if error.reason != Reason::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
