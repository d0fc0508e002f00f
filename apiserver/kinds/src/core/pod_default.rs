//! Defaults of a pod spec that depend on other fields; of pods and of templates in workloads.

use api_machinery::{Value, object};
use serde_json::{Map, json};

use crate::at::{child, is_empty};

/// Sources a volume may name; one that names none is an `emptyDir`.
const VOLUME_META: [&str; 1] = ["name"];

/// What pods and templates share.
pub(crate) fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    service_account(spec);
    let host_network = child(spec, "hostNetwork") == &Value::Bool(true);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(spec, list) {
            pull_policy(container, "image", "imagePullPolicy");
            if host_network && list != "ephemeralContainers" {
                host_ports(container);
            }
            probes(container);
        }
    }
    for volume in items(spec, "volumes") {
        volume_source(volume);
    }
    if child(spec, "terminationGracePeriodSeconds").as_i64().is_some_and(|seconds| seconds < 0) {
        spec["terminationGracePeriodSeconds"] = 1.into();
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
pub(crate) fn requests_from_limits(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            requests_of(container);
        }
    }
    if let Some(spec) = spec.as_object_mut()
        && spec.get("resources").is_some_and(Value::is_object)
    {
        pod_requests(spec);
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

/// Pod-level limits of cpu and memory become requests where no container asks for the resource.
fn pod_requests(spec: &mut Map<String, Value>) {
    let containers = spec.get("containers").and_then(Value::as_array).cloned().unwrap_or_default();
    let asked =
        |name: &str| containers.iter().any(|container| child(container, "resources.requests").get(name).is_some());
    let Some(resources) = spec.get_mut("resources") else { return };
    for name in ["cpu", "memory"] {
        let limit = child(child(resources, "limits"), name).clone();
        if !limit.is_null() && child(child(resources, "requests"), name).is_null() && !asked(name) {
            resources["requests"][name] = limit;
        }
    }
}

/// `Always` for `:latest` and for images without tag and digest.
fn pull_policy(holder: &mut Value, image: &str, policy: &str) {
    if !object::str_at(holder, policy).is_empty() || !holder.is_object() {
        return;
    }
    let value = if is_latest(object::str_at(holder, image)) { "Always" } else { "IfNotPresent" };
    holder[policy] = value.into();
}

fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => true,
    }
}

fn host_ports(container: &mut Value) {
    for port in items(container, "ports") {
        if child(port, "hostPort").as_i64().unwrap_or(0) == 0 {
            port["hostPort"] = port["containerPort"].clone();
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
