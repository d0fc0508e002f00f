//! Where the pods of a Service are: what EndpointSlices and Endpoints both say.

mod endpoint_slices;
mod legacy;

use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub use self::endpoint_slices::EndpointSliceController;
pub use self::legacy::EndpointsController;
use crate::meta::{Labels, Meta};
use crate::pods;
use crate::world::{Change, Key, World};

/// A Service of many pods is large and changes with each of them: changes that come quickly are written together.
const PACE: Duration = Duration::from_millis(250);
const HEADLESS: &str = "service.kubernetes.io/headless";

fn spec(service: &Service) -> &ServiceSpec {
    static NONE: std::sync::LazyLock<ServiceSpec> = std::sync::LazyLock::new(Default::default);
    service.spec.as_ref().unwrap_or(&NONE)
}

/// The selector of a Service whose endpoints are found by it.
fn selector(service: &Service) -> Option<&Labels> {
    let external = spec(service).type_.as_deref() == Some("ExternalName");
    spec(service).selector.as_ref().filter(|selector| !external && !selector.is_empty())
}

fn selects(selector: &Labels, pod: &Pod) -> bool {
    selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
}

fn is_headless(service: &Service) -> bool {
    spec(service).cluster_ip.as_deref() == Some("None")
}

/// Services that select a pod, as it was or as it is.
fn services_of_pod(world: &World, change: &Change<'_>) -> Vec<Key> {
    let Some(pod) = change.any::<Pod>() else { return Vec::new() };
    if change.old::<Pod>().zip(change.current::<Pod>()).is_some_and(|(old, new)| same_for_endpoints(old, new)) {
        return Vec::new();
    }
    let selecting = world.services.of_namespace(pod.namespace()).filter(|service| {
        selector(service).is_some_and(|selector| change.both::<Pod>().any(|pod| selects(selector, pod)))
    });
    selecting.map(|service| Key::of(&**service)).collect()
}

fn same_for_endpoints(old: &Pod, new: &Pod) -> bool {
    let ips = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ips.clone());
    pods::is_ready(old) == pods::is_ready(new)
        && pods::phase(old) == pods::phase(new)
        && pods::node_name(old) == pods::node_name(new)
        && old.is_deleting() == new.is_deleting()
        && old.labels() == new.labels()
        && ips(old) == ips(new)
}

/// The port number a Service port means on this pod; `None` when the pod has no port of that name.
fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|own| own.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let found =
        ports.find(|own| own.name.as_ref() == Some(name) && own.protocol.as_deref().unwrap_or("TCP") == protocol);
    found.map(|own| own.container_port)
}

/// The addresses of a pod in one family.
fn addresses(pod: &Pod, ipv6: bool) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.pod_ips.iter().flatten().map(|own| own.ip.clone());
    let mut all: Vec<_> =
        all.chain(status.pod_ip.clone()).filter(|ip| !ip.is_empty() && ip.contains(':') == ipv6).collect();
    all.dedup();
    all.truncate(1);
    all
}

fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let named = spec.hostname.as_deref().filter(|name| !name.is_empty())?;
    (spec.subdomain.as_deref() == Some(service.name()) && pod.namespace() == service.namespace()).then_some(named)
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
