//! Defaults of a pod spec that depend on other fields; of pods and of templates in workloads.

use api_machinery::image::is_latest;
use api_machinery::{Value, object};
use serde_json::{Map, json};

use crate::at::{child, is_empty};
use crate::list::{core_pod_resources as resources, core_resource_name as resource_name};

/// Sources a volume may name; one that names none is an `emptyDir`.
const VOLUME_META: [&str; 1] = ["name"];
/// Where init containers and their statuses were before they had fields.
const INIT_ANNOTATIONS: [&str; 4] = [
    "pod.beta.kubernetes.io/init-containers",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-container-statuses",
];

/// A whole pod.
pub(crate) fn pod(pod: &mut Value) {
    drop_init_annotations(pod);
    let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    pod_spec(spec);
    requests_from_limits(spec);
    if child(spec, "hostNetwork") == &Value::Bool(true) {
        host_ports(spec);
    }
    if child(spec, "terminationGracePeriodSeconds").as_i64().is_some_and(|seconds| seconds < 0) {
        spec["terminationGracePeriodSeconds"] = 1.into();
    }
}

/// A pod template: metadata and spec.
pub(crate) fn template(template: &mut Value) {
    drop_init_annotations(template);
    if let Some(spec) = template.get_mut("spec") {
        pod_spec(spec);
    }
}

/// Of a pod or a template: what old clients say twice.
fn drop_init_annotations(holder: &mut Value) {
    let Some(annotations) = holder.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    let before = annotations.len();
    annotations.retain(|key, _| !INIT_ANNOTATIONS.contains(&key.as_str()));
    if annotations.is_empty() && before > 0 {
        object::meta_mut(holder).remove("annotations");
    }
}

/// What pods and templates share.
pub(crate) fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    service_account(spec);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(spec, list) {
            pull_policy(container, "image", "imagePullPolicy");
            probes(container);
        }
    }
    for volume in items(spec, "volumes") {
        volume_source(volume);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are kept equal.
fn service_account(spec: &mut Value) {
    let (name, old) = (object::str_at(spec, "serviceAccountName"), object::str_at(spec, "serviceAccount"));
    let name = if name.is_empty() { old } else { name }.to_owned();
    if !name.is_empty() {
        spec["serviceAccount"] = name.as_str().into();
        spec["serviceAccountName"] = name.into();
    }
}

/// For each limit of a pod's container without a request, the limit is the request. Not in templates.
fn requests_from_limits(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            requests_of(container);
        }
    }
    if child(spec, "resources").is_object() {
        resources_of_pod(spec);
    }
}

fn requests_of(container: &mut Value) {
    let limits = child(container, "resources.limits");
    let Some(missing) = limits.as_object().map(|limits| missing_in(limits, child(container, "resources.requests")))
    else {
        return;
    };
    if missing.is_empty() {
        return;
    }
    let requests = &mut container["resources"]["requests"];
    if !requests.is_object() {
        *requests = json!({});
    }
    if let Some(requests) = requests.as_object_mut() {
        requests.extend(missing);
    }
}

fn missing_in(limits: &Map<String, Value>, requests: &Value) -> Map<String, Value> {
    limits
        .iter()
        .filter(|(name, _)| requests.get(name.as_str()).is_none())
        .map(|(name, amount)| (name.clone(), amount.clone()))
        .collect()
}

/// What a pod that says something of its own resources leaves out: limits of huge pages are what its containers may
/// have, requests what they ask for, or the pod's limits where they ask for nothing.
fn resources_of_pod(spec: &mut Value) {
    let of = |list: &str| child(child(spec, "resources"), list).as_object().cloned().unwrap_or_default();
    let (mut limits, mut requests) = (of("limits"), of("requests"));
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    for (name, amount) in resources::aggregate(spec, "limits") {
        if resource_name::is_huge_page(&name) && !requests.contains_key(&name) && !limits.contains_key(&name) {
            limits.insert(name, amount.to_string().into());
        }
    }
    if limits.is_empty() {
        return;
    }
    for (name, amount) in resources::aggregate(spec, "requests") {
        if matches!(name.as_str(), "cpu" | "memory") && !requests.contains_key(&name) {
            requests.insert(name, amount.to_string().into());
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| resource_name::is_for_pods(name)) {
        if !requests.contains_key(name) {
            requests.insert(name.clone(), amount.clone());
        }
    }
    spec["resources"]["limits"] = limits.into();
    if !requests.is_empty() {
        spec["resources"]["requests"] = requests.into();
    }
}

/// `Always` for what is `latest`, said or not.
fn pull_policy(holder: &mut Value, image: &str, policy: &str) {
    if !object::str_at(holder, policy).is_empty() || !holder.is_object() {
        return;
    }
    let value = if is_latest(object::str_at(holder, image)) { "Always" } else { "IfNotPresent" };
    holder[policy] = value.into();
}

/// In the host's network a port is what it is.
fn host_ports(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for port in items(spec, list).flat_map(|container| items(container, "ports")) {
            let number = |field: &str| child(port, field).as_i64().unwrap_or(0);
            let (own, of_host) = (number("containerPort"), number("hostPort"));
            if own != 0 && of_host == 0 {
                port["hostPort"] = own.into();
            }
        }
    }
}

/// gRPC probes name a service; the empty one when they do not.
fn probes(container: &mut Value) {
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(grpc) = container.get_mut(probe).and_then(|probe| probe.get_mut("grpc"))
            && grpc.is_object()
            && child(grpc, "service").is_null()
        {
            grpc["service"] = "".into();
        }
    }
}

fn volume_source(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if map.iter().all(|(field, value)| VOLUME_META.contains(&field.as_str()) || value.is_null()) {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    if let Some(image) = map.get_mut("image")
        && !is_empty(child(image, "reference"))
    {
        pull_policy(image, "reference", "pullPolicy");
    }
}

fn items<'v>(holder: &'v mut Value, list: &str) -> impl Iterator<Item = &'v mut Value> {
    holder.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}
