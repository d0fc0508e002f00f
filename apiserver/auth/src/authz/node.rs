//! The Node authorizer: a kubelet (`system:node:NAME` in `system:nodes`) may do what the rules of
//! `system:node` say, and of objects other than its own only what pods bound to it refer to.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_machinery::{UserInfo, Value, object};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::rbac::Rule;
use super::{Authorizer, AuthzAttributes, Decision};
use crate::Objects;

const GROUP: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";

pub struct NodeAuthorizer {
    objects: Arc<dyn Objects>,
    rules: Vec<Rule>,
}

/// What a kubelet may do at all: API group, resources, verbs; upstream's `NodeRules`.
const RULES: &[(&str, &[&str], &[&str])] = &[
    ("authentication.k8s.io", &["tokenreviews"], &["create"]),
    ("authorization.k8s.io", &["localsubjectaccessreviews", "subjectaccessreviews"], &["create"]),
    ("", &["services"], &["get", "list", "watch"]),
    ("", &["nodes"], &["create", "get", "list", "watch", "patch", "update"]),
    ("", &["nodes/status"], &["patch", "update"]),
    ("", &["events"], &["create", "patch", "update"]),
    ("events.k8s.io", &["events"], &["create", "patch", "update"]),
    ("", &["pods"], &["get", "list", "watch", "create", "delete"]),
    ("", &["pods/status"], &["patch", "update"]),
    ("", &["pods/eviction"], &["create"]),
    ("", &["configmaps", "secrets"], &["get", "list", "watch"]),
    ("", &["persistentvolumeclaims", "persistentvolumes", "endpoints", "serviceaccounts"], &["get"]),
    ("", &["persistentvolumeclaims/status"], &["get", "patch", "update"]),
    ("", &["serviceaccounts/token"], &["create"]),
    ("certificates.k8s.io", &["certificatesigningrequests"], &["create", "get", "list", "watch"]),
    ("coordination.k8s.io", &["leases"], &["create", "delete", "get", "patch", "update"]),
    ("storage.k8s.io", &["volumeattachments"], &["get"]),
    ("storage.k8s.io", &["csidrivers"], &["get", "list", "watch"]),
    ("storage.k8s.io", &["csinodes"], &["create", "delete", "get", "patch", "update"]),
    ("node.k8s.io", &["runtimeclasses"], &["get", "list", "watch"]),
    ("resource.k8s.io", &["resourceclaims"], &["get"]),
    ("resource.k8s.io", &["resourceslices"], &["deletecollection"]),
];

/// The node a user is, if it is one.
pub fn node_name(user: &UserInfo) -> Option<&str> {
    user.is_in(GROUP).then(|| user.name.strip_prefix(USER_PREFIX)).flatten().filter(|name| !name.is_empty())
}

impl NodeAuthorizer {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        let rule = |(group, resources, verbs): &(&str, &[&str], &[&str])| {
            Rule::from_json(&json!({"apiGroups": [group], "resources": resources, "verbs": verbs}))
        };
        Self { objects, rules: RULES.iter().map(rule).collect() }
    }

    /// Why a node may not touch this object, or nothing.
    fn refuse(&self, node: &str, asked: &AuthzAttributes) -> Option<String> {
        let own = |name: &str| (!asked.name.is_empty() && asked.name != name).then(|| "not its own".to_owned());
        match (asked.group.as_str(), asked.resource.as_str()) {
            ("", "nodes") if asked.verb != "list" && asked.verb != "watch" => own(node),
            ("coordination.k8s.io", "leases") if asked.namespace != LEASE_NAMESPACE => {
                Some(format!("can only access leases in {LEASE_NAMESPACE:?}"))
            }
            ("coordination.k8s.io", "leases") | ("storage.k8s.io", "csinodes") => own(node),
            ("", kind @ ("secrets" | "configmaps" | "persistentvolumeclaims" | "serviceaccounts")) => {
                let referred = !asked.name.is_empty()
                    && self.objects.references_on_node(node).iter().any(|pod| {
                        *pod.namespace == *asked.namespace
                            && pod.names.iter().any(|(resource, name)| *resource == kind && **name == *asked.name)
                    });
                let why = || format!("no relationship found between node '{node}' and this object");
                (!referred).then(why)
            }
            _ => None,
        }
    }
}

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        let Some(node) = node_name(&attributes.user) else { return Decision::NoOpinion { reason: String::new() } };
        if !attributes.resource_request || !self.rules.iter().any(|rule| rule.allows(attributes)) {
            return Decision::NoOpinion { reason: String::new() };
        }
        match self.refuse(node, attributes) {
            None => Decision::Allow { reason: String::new() },
            Some(reason) => Decision::NoOpinion { reason },
        }
    }

    fn rules_for(&self, user: &UserInfo, _namespace: &str) -> (Vec<Value>, Vec<Value>) {
        if node_name(user).is_none() {
            return (Vec::new(), Vec::new());
        }
        let rule = |(group, resources, verbs): &(&str, &[&str], &[&str])| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
        (RULES.iter().map(rule).collect(), Vec::new())
    }

    /// Which objects a node may touch depends on its pods, and is in no rule.
    fn rules_incomplete(&self, user: &UserInfo) -> Option<String> {
        node_name(user).map(|_| "node authorizer does not support user rule resolution".to_owned())
    }
}

/// What a pod needs from its namespace. Small, where a pod is large: a node's are looked through for each of its
/// requests.
#[derive(Debug, PartialEq, Eq)]
pub struct References {
    namespace: Box<str>,
    /// Resource and name.
    names: Vec<(&'static str, Box<str>)>,
}

impl References {
    pub fn of(pod: &Value) -> Self {
        let names = references(pod).into_iter().map(|(resource, name)| (resource, name.into()));
        Self { namespace: object::namespace(pod).into(), names: names.collect() }
    }
}

/// From a whole pod.
impl<'de> Deserialize<'de> for References {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|pod| Self::of(&pod))
    }
}

/// (resource, name)
fn references<'a>(pod: &'a Value) -> BTreeSet<(&'static str, &'a str)> {
    let mut found = BTreeSet::new();
    let Some(spec) = pod.get("spec") else { return found };
    let mut add = |resource: &'static str, name: Option<&'a Value>| {
        if let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) {
            found.insert((resource, name));
        }
    };
    add("serviceaccounts", spec.get("serviceAccountName"));
    for secret in list(spec, "imagePullSecrets") {
        add("secrets", secret.get("name"));
    }
    for volume in list(spec, "volumes") {
        add("secrets", object::at(volume, "secret.secretName"));
        add("configmaps", object::at(volume, "configMap.name"));
        add("persistentvolumeclaims", object::at(volume, "persistentVolumeClaim.claimName"));
        for secret in ["csi.nodePublishSecretRef.name", "cephfs.secretRef.name", "iscsi.secretRef.name"] {
            add("secrets", object::at(volume, secret));
        }
        for source in object::at(volume, "projected.sources").and_then(Value::as_array).into_iter().flatten() {
            add("secrets", object::at(source, "secret.name"));
            add("configmaps", object::at(source, "configMap.name"));
        }
    }
    for container in ["containers", "initContainers", "ephemeralContainers"].iter().flat_map(|field| list(spec, field))
    {
        for source in list(container, "envFrom") {
            add("secrets", object::at(source, "secretRef.name"));
            add("configmaps", object::at(source, "configMapRef.name"));
        }
        for variable in list(container, "env") {
            add("secrets", object::at(variable, "valueFrom.secretKeyRef.name"));
            add("configmaps", object::at(variable, "valueFrom.configMapKeyRef.name"));
        }
    }
    found
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use api_machinery::{ApiError, GroupResource};

    use super::*;

    struct OnePod(Arc<References>);

    #[async_trait::async_trait]
    impl Objects for OnePod {
        fn get(&self, _: &GroupResource, _: &str, _: &str) -> Option<Arc<Value>> {
            None
        }
        fn references_on_node(&self, node: &str) -> Vec<Arc<References>> {
            if node == "n1" { vec![self.0.clone()] } else { Vec::new() }
        }
        async fn refresh(&self) -> Result<(), ApiError> {
            Ok(())
        }
    }

    /// node, verb, group, resource[/sub], namespace, name -> allowed
    #[test]
    fn nodes_reach_what_their_pods_refer_to() {
        let pod = json!({"metadata": {"namespace": "a"}, "spec": {"serviceAccountName": "web",
            "volumes": [{"projected": {"sources": [{"configMap": {"name": "root-ca"}}]}}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "db"}}}]}]}});
        let read: References = serde_json::from_str(&pod.to_string()).expect("a pod");
        assert_eq!(read, References::of(&pod));
        let authorizer = NodeAuthorizer::new(Arc::new(OnePod(Arc::new(read))));
        let cases = [
            ("n1", "get", "", "secrets", "a", "db", true),
            ("n1", "watch", "", "configmaps", "a", "root-ca", true),
            ("n1", "get", "", "secrets", "a", "other", false),
            ("n1", "list", "", "secrets", "a", "", false),
            ("n1", "get", "", "secrets", "b", "db", false),
            ("n2", "get", "", "secrets", "a", "db", false),
            ("n1", "create", "", "serviceaccounts/token", "a", "web", true),
            ("n1", "create", "", "serviceaccounts/token", "a", "admin", false),
            ("n1", "patch", "", "nodes/status", "", "n1", true),
            ("n1", "patch", "", "nodes/status", "", "n2", false),
            ("n1", "update", "coordination.k8s.io", "leases", "kube-node-lease", "n1", true),
            ("n1", "update", "coordination.k8s.io", "leases", "kube-system", "kube-scheduler", false),
            ("n1", "delete", "apps", "deployments", "a", "x", false),
        ];
        for (node, verb, group, resource, namespace, name, allowed) in cases {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let user =
                UserInfo { name: format!("{USER_PREFIX}{node}"), groups: vec![GROUP.into()], ..Default::default() };
            let asked = AuthzAttributes {
                user,
                verb: verb.into(),
                resource_request: true,
                group: group.into(),
                resource: resource.into(),
                subresource: subresource.into(),
                namespace: namespace.into(),
                name: name.into(),
                ..Default::default()
            };
            assert_eq!(authorizer.authorize(&asked).allowed(), allowed, "{asked:?}");
        }
    }
}
