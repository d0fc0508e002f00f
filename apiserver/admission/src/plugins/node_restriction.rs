//! NodeRestriction: a node's own user touches its node, its pods and its leases, nothing else.

use std::collections::BTreeSet;

use api_machinery::{ApiError, UserInfo, Value, object};
use async_trait::async_trait;

use super::service_account::MIRROR;
use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct NodeRestriction;

const GROUP: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";
const LEASES: &str = "kube-node-lease";
/// Labels with Kubernetes' prefixes a node may set on itself.
const OWN_LABELS: [&str; 14] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/windows-build",
];

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        if !attributes.user.is_in(GROUP) {
            return Ok(());
        }
        let object = object.as_deref();
        let Some(node) = node_of(attributes.user) else {
            let why = format!("could not determine node from user {:?}", attributes.user.name);
            return Err(attributes.forbidden(object, &why));
        };
        let verdict = if attributes.is_any_of("", "pods") {
            pods(attributes, object, node, view).await?
        } else if attributes.is_any_of("", "serviceaccounts") && attributes.subresource == "token" {
            token(attributes, object, node, view).await?
        } else {
            others(attributes, object, node)
        };
        verdict.map_err(|why| attributes.forbidden(object, &why))
    }
}

/// Why not.
type Verdict = Result<(), String>;

fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix(USER_PREFIX).filter(|name| !name.is_empty())
}

fn others(attributes: &Attributes<'_>, object: Option<&Value>, node: &str) -> Verdict {
    if attributes.is_any_of("", "nodes") {
        return nodes(attributes, object, node);
    }
    if attributes.is_any_of("coordination.k8s.io", "leases") {
        return leases(attributes, object, node);
    }
    if attributes.is_any_of("storage.k8s.io", "csinodes") && name(attributes, object) != node {
        return Err("can only access CSINode with the same name as the requesting node".to_owned());
    }
    if attributes.is_any_of("resource.k8s.io", "resourceslices") {
        return slices(attributes, object, node);
    }
    Ok(())
}

/// What the Node authorizer cannot see: whose a slice is that is made, and whose are those deleted together.
fn slices(attributes: &Attributes<'_>, object: Option<&Value>, node: &str) -> Verdict {
    let is_own = |slice: Option<&Value>| slice.is_some_and(|slice| object::str_at(slice, "spec.nodeName") == node);
    let verb = match attributes.operation {
        Operation::Create if !is_own(object) => "create",
        Operation::Delete if !is_own(attributes.old) => "delete",
        _ => return Ok(()),
    };
    Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
}

fn name<'a>(attributes: &Attributes<'a>, object: Option<&'a Value>) -> &'a str {
    match (attributes.name, object) {
        ("", Some(object)) => object::name(object),
        (name, _) => name,
    }
}

async fn pods(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    node: &str,
    view: &dyn View,
) -> Result<Verdict, ApiError> {
    let verdict = match (attributes.subresource, attributes.operation) {
        ("", Operation::Create) => create_mirror(object, node),
        ("", Operation::Delete) => {
            let pod = lookup::get(view, "", "pods", attributes.namespace, attributes.name).await?;
            // A pod that is gone already is somebody else's 404.
            match pod.or_else(|| attributes.old.map(|old| old.clone().into())) {
                Some(pod) if !is_on(&pod, node) => {
                    Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
                }
                _ => Ok(()),
            }
        }
        ("", _) => {
            Err(format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"))
        }
        ("status", _) => update_status(attributes.old, object, node),
        ("eviction", _) => {
            let pod = lookup::get(view, "", "pods", attributes.namespace, attributes.name).await?;
            match pod {
                Some(pod) if !is_on(&pod, node) => {
                    Err(format!("node {node} can only evict pods with spec.nodeName set to itself"))
                }
                _ => Ok(()),
            }
        }
        ("resize", _) => Err(format!("node {node:?} is not allowed to resize pods")),
        (other, _) => Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
    };
    Ok(verdict)
}

fn is_on(pod: &Value, node: &str) -> bool {
    object::str_at(pod, "spec.nodeName") == node
}

fn create_mirror(pod: Option<&Value>, node: &str) -> Verdict {
    let Some(pod) = pod else { return Ok(()) };
    if object::annotation(pod, MIRROR).is_none() {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if !is_on(pod, node) {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = object::owner_references(pod);
    let own = |owner: &Value| {
        object::str_at(owner, "apiVersion") == "v1"
            && object::str_at(owner, "kind") == "Node"
            && object::str_at(owner, "name") == node
    };
    match owners {
        [owner] if own(owner) => Ok(()),
        [] => Err(format!("node {node:?} can only create pods with an owner reference set to itself")),
        [_] => Err(format!("node {node:?} can only create pods with an owner reference set to itself")),
        _ => Err(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    }
}

fn update_status(old: Option<&Value>, pod: Option<&Value>, node: &str) -> Verdict {
    let Some(old) = old else { return Ok(()) };
    if !is_on(old, node) {
        return Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    let labels = |pod: &Value| object::meta(pod).and_then(|meta| meta.get("labels")).cloned();
    if pod.is_some_and(|pod| labels(pod) != labels(old)) {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    Ok(())
}

fn nodes(attributes: &Attributes<'_>, object: Option<&Value>, node: &str) -> Verdict {
    let name = name(attributes, object);
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let Some(new) = object else { return Ok(()) };
    match (attributes.operation, attributes.old) {
        (Operation::Create, _) => {
            let refused = refused_labels(new, None);
            if refused.is_empty() {
                return Ok(());
            }
            Err(format!("node {node:?} is not allowed to set the following labels: {}", refused.join(", ")))
        }
        (Operation::Update, Some(old)) => {
            if object::at(new, "spec.taints") != object::at(old, "spec.taints") {
                return Err(format!("node {node:?} is not allowed to modify taints"));
            }
            let refused = refused_labels(new, Some(old));
            if refused.is_empty() {
                return Ok(());
            }
            Err(format!("is not allowed to modify labels: {}", refused.join(", ")))
        }
        _ => Ok(()),
    }
}

/// Changed labels that are not the node's to change.
fn refused_labels<'a>(new: &'a Value, old: Option<&'a Value>) -> Vec<&'a str> {
    let labels = |node: &'a Value| object::at(node, "metadata.labels").and_then(Value::as_object);
    let keys: BTreeSet<&str> =
        labels(new).into_iter().chain(old.and_then(labels)).flat_map(|map| map.keys().map(String::as_str)).collect();
    let value = |node: Option<&'a Value>, key: &str| node.and_then(|node| object::label(node, key));
    keys.into_iter().filter(|key| value(Some(new), key) != value(old, key) && !is_own_label(key)).collect()
}

fn is_own_label(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return true };
    let under = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
    if !under("kubernetes.io") && !under("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&key)
        || prefix == "kubelet.kubernetes.io"
        || prefix.ends_with(".kubelet.kubernetes.io")
        || (prefix == "node.kubernetes.io" || prefix.ends_with(".node.kubernetes.io"))
}

fn leases(attributes: &Attributes<'_>, object: Option<&Value>, node: &str) -> Verdict {
    if attributes.namespace != LEASES {
        return Err(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if name(attributes, object) != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

/// A node gets tokens for the pods that run on it.
async fn token(
    attributes: &Attributes<'_>,
    request: Option<&Value>,
    node: &str,
    view: &dyn View,
) -> Result<Verdict, ApiError> {
    let text = |field: &str| request.map_or("", |request| object::str_at(request, field));
    let (name, uid) = (text("spec.boundObjectRef.name"), text("spec.boundObjectRef.uid"));
    if text("spec.boundObjectRef.apiVersion") != "v1" || text("spec.boundObjectRef.kind") != "Pod" || name.is_empty() {
        return Ok(Err("node requested token not bound to a pod".to_owned()));
    }
    if uid.is_empty() {
        return Ok(Err("node requested token with a pod binding without a uid".to_owned()));
    }
    let Some(pod) = lookup::get(view, "", "pods", attributes.namespace, name).await? else {
        return Ok(Err(format!("pod {name:?} not found")));
    };
    if object::uid(&pod) != uid {
        let own = object::uid(&pod);
        return Ok(Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record ({own})"
        )));
    }
    if !is_on(&pod, node) {
        return Ok(Err("node requested token bound to a pod scheduled on a different node".to_owned()));
    }
    Ok(Ok(()))
}
