//! A node with the pods on it, summed up.

use std::collections::HashMap;
use std::sync::Arc;

use api_machinery::quantity::Quantity;
use k8s_openapi::api::core::v1::{ContainerPort, Node, Taint};

use crate::matching::Labels;
use crate::pod::PodInfo;
use crate::resources::Resources;

/// A port taken on the node's own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// Empty and `0.0.0.0` are all addresses.
    ip: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    pub(crate) fn of(port: &ContainerPort) -> Option<Self> {
        let number = port.host_port.filter(|number| *number > 0)?;
        let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some(Self { ip, protocol, port: number })
    }
    pub(crate) fn conflicts(&self, other: &HostPort) -> bool {
        let all = |port: &HostPort| port.ip == "0.0.0.0";
        self.port == other.port && self.protocol == other.protocol && (all(self) || all(other) || self.ip == other.ip)
    }
}

#[derive(Clone, Debug)]
pub struct NodeInfo {
    pub name: Arc<str>,
    /// False for a node that is not there (any more) but has pods.
    pub exists: bool,
    pub(crate) labels: Labels,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub allocatable: Resources,
    pub(crate) max_pods: usize,
    /// Bytes by image name.
    pub(crate) images: HashMap<String, i64>,
    pub requested: Resources,
    pub(crate) weighed: Resources,
    pub(crate) ports: Vec<HostPort>,
    pub pods: Vec<Arc<PodInfo>>,
}

impl NodeInfo {
    pub(crate) fn placeholder(name: &str) -> Self {
        Self {
            name: name.into(),
            exists: false,
            labels: Labels::new(),
            taints: Vec::new(),
            unschedulable: false,
            allocatable: Resources::default(),
            max_pods: 0,
            images: HashMap::new(),
            requested: Resources::default(),
            weighed: Resources::default(),
            ports: Vec::new(),
            pods: Vec::new(),
        }
    }

    /// Takes over what the object says; the pods stay.
    pub(crate) fn set(&mut self, node: &Node) {
        let status = node.status.clone().unwrap_or_default();
        let spec = node.spec.clone().unwrap_or_default();
        self.exists = true;
        self.labels = node.metadata.labels.clone().unwrap_or_default();
        self.taints = spec.taints.unwrap_or_default();
        self.unschedulable = spec.unschedulable == Some(true);
        let allocatable = status.allocatable.or(status.capacity).unwrap_or_default();
        self.max_pods = allocatable.get("pods").map_or(0, |quantity| {
            Quantity::parse(&quantity.0).map_or(0, |parsed| usize::try_from(parsed.value()).unwrap_or(0))
        });
        self.allocatable = Resources::of(Some(&allocatable));
        let images = status.images.unwrap_or_default();
        let named = images.iter().flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.iter().flatten().map(move |name| (name.clone(), size))
        });
        self.images = named.collect();
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.weighed.add(&pod.weighed);
        self.ports.extend(pod.ports.iter().cloned());
        self.pods.push(pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let index = self.pods.iter().position(|pod| &*pod.uid == uid)?;
        let pod = self.pods.swap_remove(index);
        self.requested.subtract(&pod.requests);
        self.weighed.subtract(&pod.weighed);
        for port in &pod.ports {
            if let Some(index) = self.ports.iter().position(|own| own == port) {
                self.ports.swap_remove(index);
            }
        }
        Some(pod)
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }
    /// Region and zone, as nodes are interleaved by.
    pub(crate) fn zone(&self) -> String {
        let label = |key: &str| self.label(key).unwrap_or_default();
        format!("{}/{}", label("topology.kubernetes.io/region"), label(ZONE))
    }
}

pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
