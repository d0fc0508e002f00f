//! PodSecurity: the Pod Security Standard that a namespace's labels demand of its pods.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_machinery::{ApiError, ErrorList, GroupResource, Value, object};
use async_trait::async_trait;

use crate::pod_security::{
    Findings, Level, LevelVersion, Pod, Policy, evaluate, is_significant_update, pod_of, policy,
};
use crate::{Attributes, Operation, Plugin, View, lookup};

/// Who and what is not looked at, and what counts where labels are silent.
pub(crate) struct PodSecurity {
    defaults: Policy,
    exempt_users: Vec<String>,
    exempt_namespaces: Vec<String>,
    exempt_runtime_classes: Vec<String>,
}

impl PodSecurity {
    /// `PodSecurityConfiguration`: `defaults` and `exemptions`. Without one: privileged, nobody exempt.
    pub(crate) fn configured(configuration: &Value) -> Result<Self, String> {
        let exempt = |field: &str| {
            let names = lookup::items(configuration, &format!("exemptions.{field}")).iter();
            let name = |(index, name): (usize, &Value)| {
                let name = name.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
                name.ok_or_else(|| format!("exemptions.{field}[{index}]: Invalid value: must be a name"))
            };
            names.enumerate().map(name).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            defaults: policy::of_configuration(configuration)?,
            exempt_users: exempt("usernames")?,
            exempt_namespaces: exempt("namespaces")?,
            exempt_runtime_classes: exempt("runtimeClasses")?,
        })
    }

    #[cfg(test)]
    fn new() -> Self {
        Self::configured(&Value::Null).expect("nothing is wrong with nothing")
    }
}

/// Pods looked at when a namespace demands more than before, at most.
const MAX_PODS: usize = 3_000;
/// How long that may take.
const MAX_PODS_TIME: Duration = Duration::from_secs(1);
/// Subresources of pods whose objects are no pods, or whose pods' specs do not change.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(object) = object.filter(|_| matches!(attributes.operation, Operation::Create | Operation::Update))
        else {
            return Ok(());
        };
        let resource = attributes.resource.group_resource();
        if attributes.is("", "namespaces") {
            return self.check_namespace(attributes, object, view);
        }
        let ignored = match attributes.is_any_of("", "pods") {
            true => IGNORED.contains(&attributes.subresource),
            false => !attributes.subresource.is_empty(),
        };
        match pod_of(&resource, object).filter(|_| !ignored) {
            Some(pod) => self.check_pod(attributes, object, pod, view).await,
            None => Ok(()),
        }
    }
}

impl PodSecurity {
    async fn check_pod(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        pod: Pod<'_>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        if let Some(why) = self.exemption(attributes) {
            note(attributes, "exempt", why);
            return Ok(());
        }
        let enforced = attributes.is_any_of("", "pods");
        let Some(namespace) = lookup::get(view, "", "namespaces", "", attributes.namespace).await? else {
            return missing_namespace(attributes, enforced);
        };
        let (policy, errors) = policy::of_namespace(&namespace, &self.defaults);
        if errors.is_empty() && policy.is_fully_privileged() {
            if enforced {
                note(attributes, "enforce-policy", LevelVersion::PRIVILEGED.to_string());
            }
            return Ok(());
        }
        if enforced && attributes.old.is_some_and(|old| !is_significant_update(object, old)) {
            return Ok(());
        }
        self.judge(attributes, object, pod, &policy, &errors)
    }

    fn exemption(&self, attributes: &Attributes<'_>) -> Option<&'static str> {
        let named = |list: &[String], name: &str| !name.is_empty() && list.iter().any(|one| one == name);
        if named(&self.exempt_namespaces, attributes.namespace) {
            return Some("namespace");
        }
        named(&self.exempt_users, &attributes.user.name).then_some("user")
    }

    fn is_exempt_class(&self, pod: Pod<'_>) -> bool {
        let class = pod.runtime_class();
        !class.is_empty() && self.exempt_runtime_classes.iter().any(|one| one == class)
    }

    fn judge(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        pod: Pod<'_>,
        policy: &Policy,
        errors: &ErrorList,
    ) -> Result<(), ApiError> {
        if self.is_exempt_class(pod) {
            note(attributes, "exempt", "runtimeClass");
            return Ok(());
        }
        if !errors.is_empty() {
            note(attributes, "error", format!("Failed to parse policy: {}", errors.message()));
        }
        let mut refused = Ok(());
        if attributes.is_any_of("", "pods") {
            note(attributes, "enforce-policy", policy.enforce.to_string());
            let found = evaluate(policy.enforce, pod);
            if !found.is_empty() {
                refused = Err(attributes.forbidden(Some(object), &violates("violates", policy.enforce, &found)));
            }
        }
        let audited = evaluate(policy.audit, pod);
        if !audited.is_empty() {
            note(attributes, "audit-violations", violates("would violate", policy.audit, &audited));
        }
        if refused.is_ok() {
            let warned = evaluate(policy.warn, pod);
            if !warned.is_empty() {
                attributes.notes.warn(violates("would violate", policy.warn, &warned));
            }
        }
        refused
    }

    /// Labels must be right where they are new, and who is not up to them is told of.
    fn check_namespace(&self, attributes: &Attributes<'_>, namespace: &Value, view: &dyn View) -> Result<(), ApiError> {
        let (policy, errors) = policy::of_namespace(namespace, &self.defaults);
        let Some(old) = attributes.old else {
            return refuse_labels(attributes, namespace, errors);
        };
        let (before, errors_before) = policy::of_namespace(old, &self.defaults);
        if !errors.is_empty() && errors.message() != errors_before.message() {
            return refuse_labels(attributes, namespace, errors);
        }
        if !demands_more(&policy, &before) {
            return Ok(());
        }
        let name = object::name(namespace);
        if self.exempt_namespaces.iter().any(|exempt| exempt == name) {
            self.warn_exempt(attributes, namespace, &policy);
            return Ok(());
        }
        let pods = lookup::list(view, "", "pods", Some(name));
        let began = Instant::now();
        for warning in self.violators(name, policy.enforce, &pods, &|| began.elapsed() > MAX_PODS_TIME) {
            attributes.notes.warn(warning);
        }
        Ok(())
    }

    fn warn_exempt(&self, attributes: &Attributes<'_>, namespace: &Value, policy: &Policy) {
        if policy.is_fully_privileged() || policy.equivalent(&self.defaults) {
            return;
        }
        let (name, labels) = (object::name(namespace), policy::labelled(namespace, policy));
        attributes
            .notes
            .warn(format!("namespace {name:?} is exempt from Pod Security, and the policy ({labels}) will be ignored"));
    }

    /// What to tell of the pods that are there, by what is wrong with them. One pod of each controller first, and no
    /// more than is allowed.
    fn violators(
        &self,
        namespace: &str,
        enforce: LevelVersion,
        pods: &[Arc<Value>],
        is_late: &dyn Fn() -> bool,
    ) -> Vec<String> {
        let pods = self.prioritized(pods);
        let (mut checked, mut found) = (0, BTreeMap::<String, (&str, usize)>::new());
        for pod in pods.iter().take(MAX_PODS) {
            checked += 1;
            let wrong = evaluate(enforce, Pod::of(pod));
            if !wrong.is_empty() {
                let name = object::name(pod);
                let (first, count) = found.entry(wrong.reason()).or_insert((name, 0));
                *first = name.min(*first);
                *count += 1;
            }
            if is_late() {
                break;
            }
        }
        let mut told = Vec::new();
        if checked < pods.len() {
            let total = pods.len();
            told.push(format!(
                "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
            ));
        }
        if !found.is_empty() {
            told.push(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
            ));
        }
        let mut lines: Vec<String> =
            found.into_iter().map(|(reason, (first, count))| line(first, count, &reason)).collect();
        lines.sort();
        told.extend(lines);
        told
    }

    fn prioritized<'a>(&self, pods: &'a [Arc<Value>]) -> Vec<&'a Value> {
        let (mut first, mut later, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for pod in pods.iter().map(|pod| &**pod).filter(|pod| !self.is_exempt_class(Pod::of(pod))) {
            match controller_uid(pod) {
                Some(uid) if !seen.insert(uid) => later.push(pod),
                _ => first.push(pod),
            }
        }
        first.append(&mut later);
        first
    }
}

fn note(attributes: &Attributes<'_>, key: &str, value: impl Into<String>) {
    attributes.notes.annotate(format!("{}{key}", policy::PREFIX), value);
}

fn violates(verb: &str, mode: LevelVersion, found: &Findings) -> String {
    format!("{verb} PodSecurity \"{mode}\": {}", found.detail())
}

/// Pods are not let in where nobody knows what is demanded of them; workloads make no pods by themselves.
fn missing_namespace(attributes: &Attributes<'_>, enforced: bool) -> Result<(), ApiError> {
    let namespace = attributes.namespace;
    let why = format!("failed to lookup namespace {namespace:?}");
    if enforced {
        return Err(ApiError::internal(why));
    }
    let missing = ApiError::not_found(&GroupResource::new("", "namespaces"), namespace);
    note(attributes, "error", format!("{why}: {}", missing.message));
    Ok(())
}

fn refuse_labels(attributes: &Attributes<'_>, namespace: &Value, errors: ErrorList) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&attributes.resource.group_kind(), object::name(namespace), errors))
}

fn demands_more(new: &Policy, old: &Policy) -> bool {
    let relaxed = new.enforce.version == old.enforce.version && new.enforce.level <= old.enforce.level;
    new.enforce.level != Level::Privileged && !relaxed
}

fn controller_uid(pod: &Value) -> Option<&str> {
    let owners = object::owner_references(pod);
    let controller = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    Some(object::str_at(controller, "uid"))
}

fn line(first: &str, count: usize, reason: &str) -> String {
    match count {
        1 => format!("{first}: {reason}"),
        2 => format!("{first} (and 1 other pod): {reason}"),
        _ => format!("{first} (and {} other pods): {reason}", count - 1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, controller: &str, spec: Value) -> Arc<Value> {
        let mut pod = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
        if !controller.is_empty() {
            pod["metadata"]["ownerReferences"] = json!([{"controller": true, "uid": controller}]);
        }
        Arc::new(pod)
    }

    fn enforce(level: Level) -> LevelVersion {
        LevelVersion { level, ..LevelVersion::PRIVILEGED }
    }

    #[test]
    fn existing_pods_are_told_of_by_what_is_wrong() {
        let host = json!({"hostNetwork": true, "containers": [{"name": "c"}]});
        let plain = json!({"containers": [{"name": "c"}]});
        let pods = [
            pod("c", "", host.clone()),
            pod("b", "", host.clone()),
            pod("a", "", host),
            pod("d", "", json!({"hostPID": true, "hostIPC": true, "containers": []})),
            pod("e", "", json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}]})),
            pod("f", "", plain),
        ];
        let told = PodSecurity::new().violators("n", enforce(Level::Baseline), &pods, &|| false);
        assert_eq!(
            told,
            [
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "a (and 3 other pods): host namespaces",
                "e: privileged",
            ]
        );
        assert!(PodSecurity::new().violators("n", enforce(Level::Baseline), &pods[5..], &|| false).is_empty());
    }

    #[test]
    fn the_looks_at_existing_pods_are_bounded() {
        let pods: Vec<_> = (0..4000).map(|index| pod(&format!("p{index}"), "", json!({"containers": []}))).collect();
        let told = PodSecurity::new().violators("n", enforce(Level::Restricted), &pods, &|| false);
        assert_eq!(told, ["new PodSecurity enforce level only checked against the first 3000 of 4000 existing pods"]);
        let told = PodSecurity::new().violators("n", enforce(Level::Restricted), &pods, &|| true);
        assert_eq!(told, ["new PodSecurity enforce level only checked against the first 1 of 4000 existing pods"]);
    }

    #[test]
    fn one_pod_of_each_controller_comes_first() {
        let of = |name, controller| pod(name, controller, json!({}));
        let pods = [of("a", "1"), of("b", "1"), of("c", ""), of("d", "2"), of("e", "2"), of("f", "")];
        let plugin = PodSecurity { exempt_runtime_classes: vec!["r".to_owned()], ..PodSecurity::new() };
        let names = |pods: &[Arc<Value>]| -> Vec<String> {
            plugin.prioritized(pods).into_iter().map(|pod| object::name(pod).to_owned()).collect()
        };
        assert_eq!(names(&pods), ["a", "c", "d", "f", "b", "e"]);
        assert_eq!(names(&[pod("x", "", json!({"runtimeClassName": "r"})), of("y", "")]), ["y"]);
    }
}
