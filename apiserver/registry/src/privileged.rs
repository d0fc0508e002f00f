//! `--allow-privileged`: without it nobody runs a container that may do on its node what the node may, nor one that is
//! a process of its (Windows) node.
//!
//! Upstream asks a capability of the process in the rules of security contexts; rules of kinds know no server here, so
//! that it is asked beside them.

use api_machinery::{ErrorList, GroupResource, Path, Value, object, templates};

use crate::Registry;
use crate::scope::Scope;

const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

impl Registry {
    pub(crate) fn check_privileged(&self, scope: &Scope<'_>, value: &Value, errors: &mut ErrorList) {
        if !self.config.allow_privileged {
            refuse(&scope.resource.storage, value, errors);
        }
    }
}

/// Refuses every privileged container, and pods with processes of the host, in upstream's words.
fn refuse(resource: &GroupResource, value: &Value, errors: &mut ErrorList) {
    let Some(path) = templates::path_of_pod(resource) else { return };
    let spec_path = if path.is_empty() { "spec".to_owned() } else { format!("{path}.spec") };
    let Some(spec) = object::at(value, &spec_path) else { return };
    let spec_path = Path::new(&spec_path);
    for list in LISTS {
        let containers = spec.get(list).and_then(Value::as_array).into_iter().flatten();
        for (index, container) in containers.enumerate() {
            if object::at(container, "securityContext.privileged") == Some(&Value::Bool(true)) {
                let at = spec_path.child(list).index(index).child("securityContext").child("privileged");
                errors.forbidden(&at, "disallowed by cluster policy");
            }
        }
    }
    if has_host_process(spec) {
        errors.forbidden(&spec_path, "hostProcess containers are disallowed by cluster policy");
    }
}

/// A container that does not say is what the pod says.
fn has_host_process(spec: &Value) -> bool {
    let says = |holder| object::at(holder, "securityContext.windowsOptions.hostProcess").and_then(Value::as_bool);
    let of_pod = says(spec).unwrap_or(false);
    let mut containers = LISTS.iter().filter_map(|list| spec.get(*list)?.as_array()).flatten();
    containers.any(|container| says(container).unwrap_or(of_pod))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn privileged_containers_of_everything_that_holds_pods() {
        let of = |group: &str, resource: &str, value: Value| {
            let mut errors = ErrorList::new();
            refuse(&GroupResource::new(group, resource), &value, &mut errors);
            errors.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect::<Vec<_>>()
        };
        let spec = json!({
            "containers": [{"name": "a", "securityContext": {"privileged": false}}, {"name": "b"},
                {"name": "c", "securityContext": {"privileged": true}}],
            "initContainers": [{"name": "i", "securityContext": {"privileged": true}}]});
        let told = |at: &str| {
            let of =
                |list: &str| format!("{at}.{list}.securityContext.privileged: Forbidden: disallowed by cluster policy");
            vec![of("containers[2]"), of("initContainers[0]")]
        };
        assert_eq!(of("", "pods", json!({"spec": spec})), told("spec"));
        assert_eq!(of("", "podtemplates", json!({"template": {"spec": spec}})), told("template.spec"));
        assert_eq!(of("apps", "daemonsets", json!({"spec": {"template": {"spec": spec}}})), told("spec.template.spec"));
        let job = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}});
        assert_eq!(of("batch", "cronjobs", job), told("spec.jobTemplate.spec.template.spec"));
        assert!(of("", "services", json!({"spec": spec})).is_empty());
        let host = json!({"windowsOptions": {"hostProcess": true}});
        let told = vec!["spec: Forbidden: hostProcess containers are disallowed by cluster policy".to_owned()];
        let one = json!({"containers": [{"name": "c"}], "securityContext": host});
        assert_eq!(of("", "pods", json!({"spec": one})), told);
        let one = json!({"containers": [{"name": "c", "securityContext": host}]});
        assert_eq!(of("", "pods", json!({"spec": one})), told);
        let one = json!({"containers": [], "securityContext": host});
        assert!(of("", "pods", json!({"spec": one})).is_empty());
    }
}
