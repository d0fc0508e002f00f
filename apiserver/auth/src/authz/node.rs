//! The Node authorizer: a kubelet (`system:node:NAME` in `system:nodes`) may do what the rules of
//! `system:node` say, of its own objects only, and of others only what pods bound to it refer to.
//!
//! Upstream keeps a graph of these relations; here they are read from the cache when somebody asks, which is as
//! live as the cache: pods are indexed by node, and the way from a pod to a volume's secret is three look-ups.

mod references;

use std::sync::Arc;

use api_machinery::quote::quoted;
use api_machinery::{GroupResource, UserInfo, Value, object};
use async_trait::async_trait;
use serde_json::json;

use super::rbac::Rule;
use super::{Authorizer, AuthzAttributes, Decision, Incomplete};
use crate::Objects;
pub use references::References;

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
    ("", &["events"], &["create", "patch", "update"]),
    ("events.k8s.io", &["events"], &["create", "patch", "update"]),
    ("", &["endpoints"], &["get"]),
    ("certificates.k8s.io", &["certificatesigningrequests"], &["create", "get", "list", "watch"]),
    ("storage.k8s.io", &["csidrivers"], &["get", "list", "watch"]),
    ("node.k8s.io", &["runtimeclasses"], &["get", "list", "watch"]),
];

/// The node a user is, if it is one; empty where it does not say which.
fn node_name(user: &UserInfo) -> Option<&str> {
    user.is_in(GROUP).then(|| user.name.strip_prefix(USER_PREFIX)).flatten()
}

/// `Ok`: allowed. `Err`: why not, or nothing.
type Verdict = Result<(), String>;

fn no(why: &str) -> Verdict {
    Err(why.to_owned())
}

impl NodeAuthorizer {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        let rule = |(group, resources, verbs): &(&str, &[&str], &[&str])| {
            Rule::from_json(&json!({"apiGroups": [group], "resources": resources, "verbs": verbs}))
        };
        Self { objects, rules: RULES.iter().map(rule).collect() }
    }

    fn judge(&self, node: &str, asked: &AuthzAttributes) -> Verdict {
        if !asked.resource_request {
            return no("");
        }
        match (asked.group.as_str(), asked.resource.as_str()) {
            ("", "secrets" | "configmaps") => self.read(node, asked),
            ("", "persistentvolumeclaims") if asked.subresource == "status" => self.status(node, asked),
            ("", "persistentvolumeclaims" | "persistentvolumes")
            | ("resource.k8s.io", "resourceclaims")
            | ("storage.k8s.io", "volumeattachments") => self.get(node, asked),
            ("", "serviceaccounts") => self.service_account(node, asked),
            ("coordination.k8s.io", "leases") => lease(node, asked),
            ("storage.k8s.io", "csinodes") => csi_node(node, asked),
            ("resource.k8s.io", "resourceslices") => self.slice(node, asked),
            ("", "nodes") => own_node(node, asked),
            ("", "pods") => self.pod(node, asked),
            _ if self.rules.iter().any(|rule| rule.allows(asked)) => Ok(()),
            _ => no(""),
        }
    }

    fn read(&self, node: &str, asked: &AuthzAttributes) -> Verdict {
        match asked.verb.as_str() {
            "get" | "list" | "watch" if !asked.subresource.is_empty() => no("cannot read subresource"),
            "get" | "list" | "watch" if asked.namespace.is_empty() => {
                no("can only read namespaced object of this type")
            }
            "get" | "list" | "watch" => self.related(node, asked),
            _ => no("can only read resources of this type"),
        }
    }

    fn get(&self, node: &str, asked: &AuthzAttributes) -> Verdict {
        match (asked.verb.as_str(), asked.subresource.as_str()) {
            ("get", "") => self.related(node, asked),
            ("get", _) => no("cannot get subresource"),
            _ => no("can only get individual resources of this type"),
        }
    }

    fn status(&self, node: &str, asked: &AuthzAttributes) -> Verdict {
        match asked.verb.as_str() {
            "update" | "patch" => self.related(node, asked),
            _ => no("can only get/update/patch this type"),
        }
    }

    fn service_account(&self, node: &str, asked: &AuthzAttributes) -> Verdict {
        match (asked.verb.as_str(), asked.subresource.as_str()) {
            ("get", "") => self.read(node, asked),
            ("create", "token") if !asked.name.is_empty() => self.related(node, asked),
            ("create", subresource) if subresource != "token" && !asked.name.is_empty() => {
                no("can only create token subresource of serviceaccount")
            }
            _ => no("can only create tokens for individual service accounts"),
        }
    }

    /// What a slice is made with is admission's to check.
    fn slice(&self, node: &str, asked: &AuthzAttributes) -> Verdict {
        match asked.verb.as_str() {
            _ if !asked.subresource.is_empty() => no("cannot authorize ResourceSlice subresources"),
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(node, asked),
            "watch" | "list" | "deletecollection" if selects_node(node, asked) => Ok(()),
            "watch" | "list" | "deletecollection" => {
                no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => no("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                     patch, delete, deletecollection"),
        }
    }

    /// That a pod is a mirror of this node's, or runs on it, is admission's to check.
    fn pod(&self, node: &str, asked: &AuthzAttributes) -> Verdict {
        match (asked.subresource.as_str(), asked.verb.as_str()) {
            ("", "get") => self.get(node, asked),
            ("", "list" | "watch") if selects_node(node, asked) => Ok(()),
            ("", "list" | "watch") if !asked.name.is_empty() => self.related(node, asked),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => no(""),
        }
    }

    /// Whether the object has to do with the node.
    fn related(&self, node: &str, asked: &AuthzAttributes) -> Verdict {
        if asked.name.is_empty() {
            return no("No Object name found");
        }
        let (namespace, name) = (asked.namespace.as_str(), asked.name.as_str());
        let related = match asked.resource.as_str() {
            "pods" => self.names_node("", "pods", namespace, name, node),
            "volumeattachments" => self.names_node("storage.k8s.io", "volumeattachments", "", name, node),
            "resourceslices" => self.names_node("resource.k8s.io", "resourceslices", "", name, node),
            "persistentvolumes" => self.uses_volume(node, name),
            "secrets" => self.referred("secrets", namespace, name, node) || self.mounts(node, namespace, name),
            resource => self.referred(resource, namespace, name, node),
        };
        if related { Ok(()) } else { Err(format!("no relationship found between node '{node}' and this object")) }
    }

    fn referred(&self, resource: &str, namespace: &str, name: &str, node: &str) -> bool {
        self.objects.references_on_node(node).iter().any(|pod| pod.has(resource, namespace, name))
    }

    /// Whether `spec.nodeName` of an object is the node.
    fn names_node(&self, group: &str, resource: &str, namespace: &str, name: &str, node: &str) -> bool {
        let found = self.objects.get(&GroupResource::new(group, resource), namespace, name);
        found.is_some_and(|found| object::str_at(&found, "spec.nodeName") == node)
    }

    /// Whether the claim that a volume is bound to is a pod's of the node.
    fn uses_volume(&self, node: &str, name: &str) -> bool {
        let volume = self.objects.get(&GroupResource::new("", "persistentvolumes"), "", name);
        volume.is_some_and(|volume| {
            let (namespace, claim) = claim_of(&volume);
            self.referred("persistentvolumeclaims", namespace, claim, node)
        })
    }

    /// Whether a volume of a pod of the node needs the secret.
    fn mounts(&self, node: &str, namespace: &str, secret: &str) -> bool {
        self.objects.references_on_node(node).iter().any(|pod| {
            let mut claims = pod.of_resource("persistentvolumeclaims");
            claims.any(|claim| {
                let volume = self.volume_of(&pod.namespace, claim);
                volume.is_some_and(|volume| references::secrets_of_volume(&volume).contains(&(namespace, secret)))
            })
        })
    }

    /// The volume of a claim, when both sides say so.
    fn volume_of(&self, namespace: &str, claim: &str) -> Option<Arc<Value>> {
        let found = self.objects.get(&GroupResource::new("", "persistentvolumeclaims"), namespace, claim)?;
        let name = object::str_at(&found, "spec.volumeName");
        let volume = self.objects.get(&GroupResource::new("", "persistentvolumes"), "", name)?;
        (claim_of(&volume) == (namespace, claim)).then_some(volume)
    }
}

fn claim_of(volume: &Value) -> (&str, &str) {
    (object::str_at(volume, "spec.claimRef.namespace"), object::str_at(volume, "spec.claimRef.name"))
}

fn selects_node(node: &str, asked: &AuthzAttributes) -> bool {
    asked.field_selector.iter().any(|term| term.field == "spec.nodeName" && term.equal && term.value == node)
}

/// The name of what is made is not known here: admission compares it.
fn lease(node: &str, asked: &AuthzAttributes) -> Verdict {
    match asked.verb.as_str() {
        "get" | "create" | "update" | "patch" | "delete" if asked.namespace != LEASE_NAMESPACE => {
            Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"))
        }
        "create" => Ok(()),
        "get" | "update" | "patch" | "delete" if asked.name == node => Ok(()),
        "get" | "update" | "patch" | "delete" => {
            no("can only access node lease with the same name as the requesting node")
        }
        _ => no("can only get, create, update, patch, or delete a node lease"),
    }
}

fn csi_node(node: &str, asked: &AuthzAttributes) -> Verdict {
    match asked.verb.as_str() {
        "get" | "create" | "update" | "patch" | "delete" if !asked.subresource.is_empty() => {
            no("cannot authorize CSINode subresources")
        }
        "create" => Ok(()),
        "get" | "update" | "patch" | "delete" if asked.name == node => Ok(()),
        "get" | "update" | "patch" | "delete" => {
            no("can only access CSINode with the same name as the requesting node")
        }
        _ => no("can only get, create, update, patch, or delete a CSINode"),
    }
}

/// Which node is written is admission's to check, as upstream has it.
fn own_node(node: &str, asked: &AuthzAttributes) -> Verdict {
    match (asked.subresource.as_str(), asked.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") if asked.name == node => Ok(()),
        ("", "get" | "list" | "watch") if asked.name.is_empty() => {
            Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            Err(format!("node '{node}' cannot read '{}', only its own Node object", asked.name))
        }
        _ => no(""),
    }
}

#[async_trait]
impl Authorizer for Arc<NodeAuthorizer> {
    async fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        self.decide(attributes)
    }

    /// What a node may do is in no rule.
    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> (Vec<Value>, Vec<Value>) {
        (Vec::new(), Vec::new())
    }

    fn rules_incomplete(&self, user: &UserInfo, _namespace: &str) -> Incomplete {
        match node_name(user) {
            None => Incomplete::default(),
            Some(_) => Incomplete {
                incomplete: true,
                errors: vec!["node authorizer does not support user rule resolution".to_owned()],
            },
        }
    }
}

impl NodeAuthorizer {
    fn decide(&self, attributes: &AuthzAttributes) -> Decision {
        let Some(node) = node_name(&attributes.user) else { return Decision::no_opinion() };
        if node.is_empty() {
            return Decision::NoOpinion { reason: format!("unknown node for user {}", quoted(&attributes.user.name)) };
        }
        match self.judge(node, attributes) {
            Ok(()) => Decision::Allow { reason: String::new() },
            Err(reason) => Decision::NoOpinion { reason },
        }
    }
}

#[cfg(test)]
mod tests;
