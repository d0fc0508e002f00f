//! Fields of pod specs whose feature gates are off: they are dropped as if they had not been said, but stay where
//! they have been stored.

use api_machinery::Value;

use crate::at::{child, is_empty};
use crate::cells;

/// Fields of a projected source, by gates that are off (ClusterTrustBundleProjection, PodCertificateRequest).
const PROJECTIONS: [&str; 2] = ["clusterTrustBundle", "podCertificate"];

pub(crate) fn drop_disabled(spec: &mut Value, old: &Value) {
    // GenericWorkload.
    if is_empty(child(old, "schedulingGroup")) {
        remove(spec, "schedulingGroup");
    }
    for kind in PROJECTIONS {
        if !projects(old, kind) {
            for source in sources(spec) {
                remove(source, kind);
            }
        }
    }
    // ContainerStopSignals.
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let kept = cells::list(old, list).iter().any(|one| !is_empty(child(one, "lifecycle.stopSignal")));
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).filter(|_| !kept);
        for container in containers.into_iter().flatten() {
            if let Some(lifecycle) = container.get_mut("lifecycle") {
                remove(lifecycle, "stopSignal");
            }
        }
    }
}

/// The same in the pod templates of workloads.
pub(crate) fn drop_disabled_in_templates(object: &mut Value, old: &Value) {
    const TEMPLATES: [&str; 2] = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
    for place in TEMPLATES {
        if let Some(spec) = object.pointer_mut(place) {
            drop_disabled(spec, old.pointer(place).unwrap_or(&Value::Null));
        }
    }
}

fn remove(holder: &mut Value, field: &str) {
    if let Some(map) = holder.as_object_mut() {
        map.remove(field);
    }
}

fn projects(spec: &Value, kind: &str) -> bool {
    let volumes = cells::list(spec, "volumes").iter();
    volumes.flat_map(|volume| cells::list(volume, "projected.sources")).any(|source| !is_empty(child(source, kind)))
}

fn sources(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten();
    volumes.filter_map(|volume| volume.pointer_mut("/projected/sources")?.as_array_mut()).flatten()
}
