//! Where objects hold pods.

use crate::GroupResource;

/// The path of the pod, or of the template of pods, in objects of a resource; empty where the object is the pod. `None`:
/// such objects hold none.
pub fn path_of_pod(resource: &GroupResource) -> Option<&'static str> {
    match (&*resource.group, &*resource.resource) {
        ("", "pods") => Some(""),
        ("", "podtemplates") => Some("template"),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some("spec.template"),
        ("batch", "cronjobs") => Some("spec.jobTemplate.spec.template"),
        _ => None,
    }
}
