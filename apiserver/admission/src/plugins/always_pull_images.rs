//! AlwaysPullImages: who starts a container has the right to its image each time.

use std::collections::HashSet;

use api_machinery::{ApiError, ErrorList, Path, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Plugin, View, lookup};

pub(crate) struct AlwaysPullImages;

const ALWAYS: &str = "Always";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// The subresource that adds these to a pod; upstream does not look at it.
const EPHEMERAL: &str = "ephemeralcontainers";

#[async_trait]
impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|pod| concerns(attributes, pod)) else { return Ok(()) };
        for list in LISTS {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
            let containers = containers.into_iter().flatten().filter(|container| container.is_object());
            for container in containers.filter(|container| is_written(attributes, list, container)) {
                container["imagePullPolicy"] = ALWAYS.into();
            }
        }
        if !attributes.subresource.is_empty() {
            return Ok(());
        }
        let volumes = pod["spec"].get_mut("volumes").and_then(Value::as_array_mut);
        let images = volumes.into_iter().flatten().filter_map(|volume| volume.get_mut("image"));
        for image in images.filter(|image| image.is_object()) {
            image["pullPolicy"] = ALWAYS.into();
        }
        Ok(())
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|pod| concerns(attributes, pod)) else { return Ok(()) };
        let errors = others(attributes, pod);
        if errors.is_empty() {
            return Ok(());
        }
        Err(attributes.forbidden(Some(pod), &errors.message()))
    }
}

/// A pod with an image that it did not have before.
fn concerns(attributes: &Attributes<'_>, pod: &Value) -> bool {
    let debugs = attributes.is_any_of("", "pods") && attributes.subresource == EPHEMERAL;
    if !debugs && !attributes.writes("", "pods") {
        return false;
    }
    let Some(old) = attributes.old else { return true };
    let known: HashSet<&str> = images(old).collect();
    images(pod).any(|image| !known.contains(image))
}

fn images(pod: &Value) -> impl Iterator<Item = &str> {
    let containers = LISTS.into_iter().flat_map(move |list| lookup::items(&pod["spec"], list));
    containers.map(|container| object::str_at(container, "image"))
}

/// Through a subresource only ephemeral containers come, and those that are there stay as they are.
fn is_written(attributes: &Attributes<'_>, list: &str, container: &Value) -> bool {
    let same = |old: &Value| object::str_at(old, "name") == object::str_at(container, "name");
    let before = attributes.old.map_or(&[][..], |old| lookup::items(old, "spec.ephemeralContainers"));
    attributes.subresource.is_empty() || (list == LISTS[2] && !before.iter().any(same))
}

/// What is pulled otherwise.
fn others(attributes: &Attributes<'_>, pod: &Value) -> ErrorList {
    let (spec, mut errors) = (Path::new("spec"), ErrorList::new());
    let mut check = |at: Path, policy: &str| {
        if policy != ALWAYS {
            errors.not_supported(&at, &policy.into(), &[ALWAYS]);
        }
    };
    for list in LISTS {
        let containers = lookup::items(&pod["spec"], list).iter().enumerate();
        for (index, container) in containers.filter(|(_, container)| is_written(attributes, list, container)) {
            let at = spec.child(list).index(index).child("imagePullPolicy");
            check(at, object::str_at(container, "imagePullPolicy"));
        }
    }
    let volumes = lookup::items(&pod["spec"], "volumes").iter().enumerate();
    for (index, volume) in volumes.filter(|_| attributes.subresource.is_empty()) {
        if let Some(image) = volume.get("image").filter(|image| image.is_object()) {
            let at = spec.child("volumes").index(index).child("image").child("pullPolicy");
            check(at, object::str_at(image, "pullPolicy"));
        }
    }
    errors
}
