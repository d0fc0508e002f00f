//! EndpointSlices of Services with a selector.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    HEADLESS, PACE, addresses, hostname, is_headless, reference, selector, selects, services_of_pod, spec, target_port,
};
use crate::controller::{Context, Controller};
use crate::meta::{Labels, Meta};
use crate::plan::Plan;
use crate::pods;
use crate::world::{Change, Key, Kind, World};

pub struct EndpointSliceController;

/// Endpoints in one slice, at most.
const MAX_ENDPOINTS: usize = 100;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

impl Controller for EndpointSliceController {
    fn name(&self) -> &'static str {
        "endpoint_slice"
    }
    fn account(&self) -> &'static str {
        "endpointslice-controller"
    }
    fn pace(&self) -> Duration {
        PACE
    }
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Service => change.any::<Service>().map(Key::of).into_iter().collect(),
            Kind::Pod => services_of_pod(world, change),
            Kind::EndpointSlice => {
                let slice = change.any::<EndpointSlice>().filter(|slice| is_managed(slice));
                let service =
                    slice.and_then(|slice| Some(Key::new(slice.namespace(), slice.labels().get(SERVICE_NAME)?)));
                service.into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, _context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(service) = world.services.at(key).filter(|service| !service.is_deleting()) else { return plan };
        let Some(selector) = selector(service) else { return plan };
        let slices = &world.endpoint_slices;
        let own = slices.controlled_by(service.uid()).chain(slices.orphans_of(service.namespace()));
        let existing: Vec<_> = own
            .filter(|slice| {
                is_managed(slice) && slice.labels().get(SERVICE_NAME).map(String::as_str) == Some(service.name())
            })
            .cloned()
            .collect();
        let mut families = spec(service).ip_families.clone().unwrap_or_default();
        if families.is_empty() {
            families.push("IPv4".to_owned());
        }
        for slice in existing.iter().filter(|slice| !families.contains(&slice.address_type)) {
            plan.delete(&**slice);
        }
        for family in families {
            let own: Vec<_> = existing.iter().filter(|slice| slice.address_type == family).cloned().collect();
            Family { world, service, selector, family }.reconcile(own, &mut plan);
        }
        plan
    }
}

fn is_managed(slice: &EndpointSlice) -> bool {
    slice.labels().get(MANAGED_BY).map(String::as_str) == Some(MANAGER)
}

/// Ports by which endpoints share slices, in the order of the Service.
type Ports = Vec<EndpointPort>;

struct Family<'a> {
    world: &'a World,
    service: &'a Service,
    selector: &'a Labels,
    /// `IPv4` or `IPv6`.
    family: String,
}

impl Family<'_> {
    fn reconcile(&self, existing: Vec<Arc<EndpointSlice>>, plan: &mut Plan) {
        let mut wanted = self.wanted();
        if wanted.is_empty() {
            // One empty slice shows that the Service is looked after.
            wanted.push((Vec::new(), BTreeMap::new()));
        }
        let (mut kept, mut unused): (Vec<_>, Vec<_>) = (Vec::new(), existing);
        for (ports, endpoints) in wanted {
            let same_ports = |slice: &Arc<EndpointSlice>| slice.ports.clone().unwrap_or_default() == ports;
            let (own, rest): (Vec<_>, Vec<_>) = unused.into_iter().partition(same_ports);
            unused = rest;
            self.fill(own, &ports, endpoints, &mut unused, &mut kept);
        }
        // A slice that is not needed any more becomes one that is.
        for (old, new) in kept.iter_mut().filter(|(old, _)| old.is_none()) {
            let Some(recycled) = unused.pop() else { break };
            new.metadata = EndpointSlice::clone(&recycled).metadata;
            new.metadata.labels = Some(self.labels());
            *old = Some(recycled);
        }
        for (old, new) in kept {
            match old {
                Some(old) => {
                    plan.change(&*old, &new, "");
                }
                None => plan.create(&new),
            }
        }
        unused.iter().for_each(|slice| plan.delete(&**slice));
    }

    /// Endpoints by the ports they offer, and within by the pod they are.
    fn wanted(&self) -> Vec<(Ports, BTreeMap<String, Endpoint>)> {
        let mut groups: Vec<(Ports, BTreeMap<String, Endpoint>)> = Vec::new();
        for pod in self.world.pods.of_namespace(self.service.namespace()) {
            if !selects(self.selector, pod) || pods::is_terminal(pod) {
                continue;
            }
            let Some(endpoint) = self.endpoint(pod) else { continue };
            let ports = self.ports(pod);
            let group = match groups.iter().position(|(own, _)| *own == ports) {
                Some(index) => &mut groups[index].1,
                None => {
                    groups.push((ports, BTreeMap::new()));
                    &mut groups.last_mut().expect("pushed just above").1
                }
            };
            group.insert(pod.uid().to_owned(), endpoint);
        }
        groups
    }

    fn ports(&self, pod: &Pod) -> Ports {
        let ports = spec(self.service).ports.iter().flatten().filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(target_port(port, pod)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        });
        ports.collect()
    }

    fn endpoint(&self, pod: &Pod) -> Option<Endpoint> {
        let addresses = addresses(pod, self.family == "IPv6");
        if addresses.is_empty() {
            return None;
        }
        let (serving, terminating) = (pods::is_ready(pod), pod.is_deleting());
        let anyway = spec(self.service).publish_not_ready_addresses == Some(true);
        let node_name = Some(pods::node_name(pod).to_owned()).filter(|name| !name.is_empty());
        let node = node_name.as_deref().and_then(|name| self.world.nodes.get("", name));
        let zone = node.and_then(|node| node.labels().get(ZONE).cloned());
        let ready = anyway || (serving && !terminating);
        Some(Endpoint {
            addresses,
            conditions: Some(EndpointConditions {
                ready: Some(ready),
                serving: Some(serving),
                terminating: Some(terminating),
            }),
            hints: if ready { self.hints(zone.as_deref(), node_name.as_deref()) } else { None },
            hostname: hostname(pod, self.service).map(str::to_owned),
            node_name,
            target_ref: Some(reference(pod)),
            zone,
            deprecated_topology: None,
        })
    }

    fn hints(&self, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
        let zone = zone.map(|name| vec![ForZone { name: name.to_owned() }]);
        match spec(self.service).traffic_distribution.as_deref()? {
            "PreferClose" | "PreferSameZone" => {
                zone.map(|zone| EndpointHints { for_zones: Some(zone), for_nodes: None })
            }
            "PreferSameNode" => {
                let node = node.map(|name| vec![ForNode { name: name.to_owned() }]);
                Some(EndpointHints { for_zones: zone, for_nodes: node })
            }
            _ => None,
        }
    }

    /// Changes as few slices as possible: endpoints stay where they are, new ones go where there is room.
    fn fill(
        &self,
        mut own: Vec<Arc<EndpointSlice>>,
        ports: &Ports,
        mut wanted: BTreeMap<String, Endpoint>,
        unused: &mut Vec<Arc<EndpointSlice>>,
        kept: &mut Vec<(Option<Arc<EndpointSlice>>, EndpointSlice)>,
    ) {
        own.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.as_ref().map_or(0, Vec::len)));
        let mut filled: Vec<(Option<Arc<EndpointSlice>>, Vec<Endpoint>)> = Vec::new();
        for slice in own {
            let stays = |endpoint: &Endpoint| wanted.remove(endpoint.target_ref.as_ref()?.uid.as_deref()?);
            let staying: Vec<_> = slice.endpoints.iter().flatten().filter_map(stays).collect();
            filled.push((Some(slice), staying));
        }
        let mut fresh = wanted.into_values();
        for (_, endpoints) in &mut filled {
            let room = MAX_ENDPOINTS.saturating_sub(endpoints.len());
            endpoints.extend(fresh.by_ref().take(room));
        }
        let rest: Vec<_> = fresh.collect();
        filled.extend(rest.chunks(MAX_ENDPOINTS).map(|chunk| (None, chunk.to_vec())));
        let nobody = filled.iter().all(|(_, endpoints)| endpoints.is_empty());
        if nobody && filled.is_empty() {
            filled.push((None, Vec::new()));
        }
        for (index, (old, endpoints)) in filled.into_iter().enumerate() {
            match old {
                Some(old) if endpoints.is_empty() && !(nobody && index == 0) => unused.push(old),
                old => {
                    let new = self.slice(old.as_deref(), ports, endpoints);
                    kept.push((old, new));
                }
            }
        }
    }

    fn slice(&self, old: Option<&EndpointSlice>, ports: &Ports, endpoints: Vec<Endpoint>) -> EndpointSlice {
        let fresh = || ObjectMeta {
            generate_name: Some(format!("{}-", self.service.name())),
            namespace: Some(self.service.namespace().to_owned()),
            ..ObjectMeta::default()
        };
        let mut metadata = old.map_or_else(fresh, |old| old.metadata.clone());
        metadata.labels = Some(self.labels());
        metadata.owner_references = Some(vec![self.service.controller_reference()]);
        EndpointSlice {
            metadata,
            address_type: self.family.clone(),
            // Empty lists are kept as upstream writes them: null.
            endpoints: if old.is_some_and(|old| old.endpoints.is_none()) && endpoints.is_empty() {
                None
            } else {
                Some(endpoints)
            },
            ports: if old.is_some_and(|old| old.ports.is_none()) && ports.is_empty() {
                None
            } else {
                Some(ports.clone())
            },
        }
    }

    fn labels(&self) -> Labels {
        let mut labels = self.service.labels().clone();
        labels.insert(SERVICE_NAME.to_owned(), self.service.name().to_owned());
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        match is_headless(self.service) {
            true => labels.insert(HEADLESS.to_owned(), String::new()),
            false => labels.remove(HEADLESS),
        };
        labels
    }
}
