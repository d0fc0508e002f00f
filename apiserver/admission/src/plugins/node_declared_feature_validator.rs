//! NodeDeclaredFeatureValidator: a running pod is not changed in a way that its node says nothing of.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct NodeDeclaredFeatureValidator;

const POD_LEVEL: &str = "InPlacePodLevelResourcesVerticalScaling";
const INIT_CONTAINERS: &str = "InPlacePodVerticalScalingInitContainers";

#[async_trait]
impl Plugin for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let updates = attributes.operation == Operation::Update
            && matches!(attributes.subresource, "" | "resize")
            && attributes.is_any_of("", "pods");
        let (Some(pod), Some(old)) = (object.filter(|_| updates), attributes.old) else { return Ok(()) };
        let name = object::str_at(pod, "spec.nodeName");
        let needed = needed(pod, old);
        if name.is_empty() || object::generation(pod) == object::generation(old) || needed.is_empty() {
            return Ok(());
        }
        let Some(node) = lookup::get(view, "", "nodes", "", name).await? else {
            return Err(attributes.forbidden(Some(pod), &format!("node {name:?} not found")));
        };
        let declared = lookup::items(&node, "status.declaredFeatures");
        let missing: Vec<&str> = needed.into_iter().filter(|name| !declared.iter().any(|own| own == name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        let why = format!("pod update requires features {missing} which are not available on node {name:?}");
        Err(attributes.forbidden(Some(pod), &why))
    }
}

/// The features a kubelet must have to follow the change, by name.
fn needed(pod: &Value, old: &Value) -> Vec<&'static str> {
    let whole = |pod| object::at(pod, "spec.resources").filter(|resources| resources.is_object());
    let is_sidecar = |container: &Value| object::str_at(container, "restartPolicy") == "Always";
    let (new, before) = (lookup::items(pod, "spec.initContainers"), lookup::items(old, "spec.initContainers"));
    let resized = before
        .iter()
        .zip(new)
        .any(|(before, new)| !is_sidecar(before) && before.get("resources") != new.get("resources"));
    let all = [(whole(pod) != whole(old), POD_LEVEL), (resized, INIT_CONTAINERS)];
    all.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name).collect()
}
