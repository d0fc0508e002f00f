//! Endpoints, the older form of EndpointSlices, for clients that still read it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    HEADLESS, PACE, addresses, hostname, is_headless, reference, selector, selects, services_of_pod, spec, target_port,
};
use crate::controller::{Context, Controller};
use crate::meta::Meta;
use crate::plan::Plan;
use crate::pods;
use crate::world::{Change, Key, Kind, World};

pub struct EndpointsController;

/// Addresses in one object, at most; the rest is left out and an annotation says so.
const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

impl Controller for EndpointsController {
    fn name(&self) -> &'static str {
        "endpoint"
    }
    fn account(&self) -> &'static str {
        "endpoint-controller"
    }
    fn pace(&self) -> Duration {
        PACE
    }
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Service => change.any::<Service>().map(Key::of).into_iter().collect(),
            Kind::Pod => services_of_pod(world, change),
            Kind::Endpoints => change.any::<Endpoints>().map(Key::of).into_iter().collect(),
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, _context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let old = world.endpoints.at(key);
        let Some(service) = world.services.at(key) else {
            // Of a Service that is gone; objects others made for themselves stay.
            if let Some(old) = old.filter(|old| is_managed(old)) {
                plan.delete(&**old);
            }
            return plan;
        };
        if selector(service).is_none() || service.is_deleting() {
            return plan;
        }
        let new = wanted(world, service, old.map(|old| &**old));
        match old {
            Some(old) => {
                plan.change(&**old, &new, "");
            }
            None => plan.create(&new),
        }
        plan
    }
}

fn is_managed(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(MANAGED_BY.0).map(String::as_str) == Some(MANAGED_BY.1)
}

fn wanted(world: &World, service: &Service, old: Option<&Endpoints>) -> Endpoints {
    let (subsets, truncated) = subsets(world, service);
    let fresh = || ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    };
    let mut metadata = old.map_or_else(fresh, |old| old.metadata.clone());
    let mut labels = service.labels().clone();
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    match is_headless(service) {
        true => labels.insert(HEADLESS.to_owned(), String::new()),
        false => labels.remove(HEADLESS),
    };
    metadata.labels = Some(labels);
    if truncated {
        metadata.annotations.get_or_insert_default().insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(OVER_CAPACITY);
    }
    Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) }
}

/// Addresses by the ports they offer: (sort text, ports) -> ready, not ready.
type Groups = BTreeMap<String, (Vec<EndpointPort>, Vec<EndpointAddress>, Vec<EndpointAddress>)>;

fn subsets(world: &World, service: &Service) -> (Vec<EndpointSubset>, bool) {
    let selector = selector(service).cloned().unwrap_or_default();
    let anyway = spec(service).publish_not_ready_addresses == Some(true);
    let ipv6 = spec(service).ip_families.as_ref().and_then(|list| list.first()).is_some_and(|first| first == "IPv6");
    let mut groups = Groups::new();
    for pod in world.pods.of_namespace(service.namespace()) {
        let counts = !pods::is_terminal(pod) && (anyway || !pod.is_deleting());
        let Some(ip) = addresses(pod, ipv6).pop().filter(|_| counts && selects(&selector, pod)) else { continue };
        let ports = ports(service, pod);
        if ports.is_empty() && !is_headless(service) {
            continue;
        }
        let text = ports.iter().map(|port| format!("{port:?}")).collect();
        let group = groups.entry(text).or_insert_with(|| (ports, Vec::new(), Vec::new()));
        let list = if anyway || pods::is_ready(pod) { &mut group.1 } else { &mut group.2 };
        list.push(address(service, pod, ip));
    }
    pack(groups)
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = spec(service).ports.iter().flatten().filter_map(|port| {
        Some(EndpointPort {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: target_port(port, pod)?,
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
    });
    ports.collect()
}

fn address(service: &Service, pod: &Pod, ip: String) -> EndpointAddress {
    EndpointAddress {
        ip,
        hostname: hostname(pod, service).map(str::to_owned),
        node_name: Some(pods::node_name(pod).to_owned()).filter(|name| !name.is_empty()),
        target_ref: Some(reference(pod)),
    }
}

/// Ready addresses are kept first when there are too many.
fn pack(groups: Groups) -> (Vec<EndpointSubset>, bool) {
    let total: usize = groups.values().map(|(_, ready, waiting)| ready.len() + waiting.len()).sum();
    let mut room = CAPACITY;
    let mut take = |mut list: Vec<EndpointAddress>| {
        list.sort_by(|left, right| left.ip.cmp(&right.ip));
        list.truncate(room);
        room -= list.len();
        (!list.is_empty()).then_some(list)
    };
    let ready: Vec<_> = groups.into_values().map(|(ports, ready, waiting)| (ports, take(ready), waiting)).collect();
    let subsets = ready.into_iter().map(|(ports, addresses, waiting)| EndpointSubset {
        addresses,
        not_ready_addresses: take(waiting),
        ports: (!ports.is_empty()).then_some(ports),
    });
    let subsets = subsets.filter(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    (subsets.collect(), total > CAPACITY)
}
