//! Chooses free service addresses and node ports. Only a choice: the claim in the transaction decides.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use api_machinery::{ApiError, ErrorList, GroupKind, GroupResource, Path, Value, object};
use store_api::{RangeRequest, ReadAt};

use crate::claims::{self, Claim, IP_PREFIX, PORT_PREFIX, port_number, ports};
use crate::errors::from_store;
use crate::scope::is;
use crate::{Registry, ids};

/// Random candidates looked at before all claims are read.
const GUESSES: usize = 24;

/// An IPv4 range of Service addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    base: u32,
    /// Addresses in it.
    size: u64,
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 30)?;
        let size = 1_u64 << (32 - bits);
        let base = u32::from(base.parse::<Ipv4Addr>().ok()?) & !u32::try_from(size - 1).ok()?;
        Some(Self { base, size })
    }
    /// The address at an offset; 1 is the `kubernetes` Service's.
    pub(crate) fn address(&self, offset: u64) -> IpAddr {
        let offset = u32::try_from(offset.min(self.size - 1)).unwrap_or(0);
        IpAddr::V4(Ipv4Addr::from(self.base + offset))
    }
    /// Usable: neither the network's nor the broadcast address.
    pub(crate) fn contains(&self, ip: &IpAddr) -> bool {
        let IpAddr::V4(ip) = ip else { return false };
        let offset = u64::from(u32::from(*ip).wrapping_sub(self.base));
        offset >= 1 && offset < self.size - 1
    }
    /// Offsets to choose from: above the band that is kept for addresses asked for by hand, and the band.
    fn bands(&self) -> [RangeInclusive<u64>; 2] {
        bands(1, self.size - 2, self.size, 256)
    }
}

/// Upstream keeps `min(max(16, size/16), cap)` of the lowest for static use, as long as others are free.
fn bands(first: u64, last: u64, size: u64, cap: u64) -> [RangeInclusive<u64>; 2] {
    let kept = (size / 16).max(16).min(cap);
    let split = if size <= 16 { first } else { (first + kept).min(last) };
    // An empty range where nothing is kept.
    [split..=last, first..=split.wrapping_sub(1)]
}

/// What a Service still lacks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    ip: bool,
    /// Indices in `spec.ports`.
    ports: Vec<usize>,
    health_check: bool,
}

fn missing(service: &Value) -> Missing {
    let kind = object::str_at(service, "spec.type");
    let external = matches!(kind, "NodePort" | "LoadBalancer");
    let unset = |path: &str| object::str_at(service, path).is_empty();
    let wanted = kind != "LoadBalancer"
        || object::at(service, "spec.allocateLoadBalancerNodePorts").and_then(Value::as_bool) != Some(false);
    let mut missing = Missing {
        ip: kind != "ExternalName" && unset("spec.clusterIP") && !asks_by_list(service),
        health_check: kind == "LoadBalancer"
            && object::str_at(service, "spec.externalTrafficPolicy") == "Local"
            && port_number(object::at(service, "spec.healthCheckNodePort")).is_none(),
        ..Missing::default()
    };
    if external && wanted {
        let lacking = ports(service).iter().enumerate();
        missing.ports =
            lacking.filter(|(_, port)| port_number(port.get("nodePort")).is_none()).map(|(index, _)| index).collect();
    }
    missing
}

/// Without `clusterIP` that is refused by the kind's rules, which are to see it.
fn asks_by_list(service: &Value) -> bool {
    object::at(service, "spec.clusterIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty())
}

/// An address range and how it is written.
struct Range {
    cidr: Cidr,
    text: String,
}

/// The ranges that a ServiceCIDR brings: it is ready, and not going away.
fn ranges_of(object: &Value) -> Vec<Range> {
    let conditions = object::at(object, "status.conditions").and_then(Value::as_array).into_iter().flatten();
    let ready = conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
    if !ready || object::deletion_timestamp(object).is_some() {
        return Vec::new();
    }
    let texts = object::at(object, "spec.cidrs").and_then(Value::as_array).into_iter().flatten();
    let texts = texts.filter_map(Value::as_str);
    texts.filter_map(|text| Some(Range { cidr: Cidr::parse(text)?, text: text.to_owned() })).collect()
}

/// Addresses and ports asked for by hand lie in the ranges of this cluster.
fn check_ranges(service: &Value, before: &claims::Held, cidrs: &[Range], range: &RangeInclusive<u16>) -> ErrorList {
    let mut errors = ErrorList::new();
    let held = claims::held(&GroupResource::new("", "services"), service);
    for claim in held.difference(before) {
        match claim {
            Claim::Ip(ip) if !cidrs.iter().any(|range| range.cidr.contains(ip)) => {
                let texts: Vec<&str> = cidrs.iter().map(|range| range.text.as_str()).collect();
                let text = texts.join(", ");
                let ips = object::at(service, "spec.clusterIPs").cloned().unwrap_or_default();
                let why = format!(
                    "failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. The range of valid IPs is {text}"
                );
                errors.invalid(&Path::new("spec").child("clusterIPs"), &ips, &why);
            }
            Claim::NodePort(port) if !range.contains(port) => {
                let (first, last) = (range.start(), range.end());
                let why =
                    format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
                errors.invalid(&claims::port_path(service, *port), &(*port).into(), &why);
            }
            Claim::Ip(_) | Claim::NodePort(_) => {}
        }
    }
    errors
}

impl Registry {
    /// Fills in what a new Service lacks, and refuses what it asks for outside the ranges.
    pub(crate) async fn allocate(
        &self,
        resource: &GroupResource,
        service: &mut Value,
        dry_run: bool,
    ) -> Result<(), ApiError> {
        self.allocate_change(resource, service, &claims::Held::new(), dry_run).await
    }

    /// The same for an update of a Service that already holds something.
    pub(crate) async fn allocate_change(
        &self,
        resource: &GroupResource,
        service: &mut Value,
        before: &claims::Held,
        dry_run: bool,
    ) -> Result<(), ApiError> {
        if !is(resource, "", "services") || !service.get("spec").is_some_and(Value::is_object) {
            return Ok(());
        }
        let cidrs = self.service_cidrs()?;
        // Upstream's allocator of ports does nothing at all in a dry run, and so refuses nothing.
        let ports = if dry_run { 0..=u16::MAX } else { self.config.node_ports.clone() };
        let errors = check_ranges(service, before, &cidrs, &ports);
        if !errors.is_empty() {
            let kind = GroupKind { group: "".into(), kind: "Service".into() };
            return Err(ApiError::invalid(&kind, object::name(service), errors));
        }
        self.fill(service, &cidrs).await
    }

    /// The range of the configuration, which is there before its ServiceCIDR is, then those of all others.
    fn service_cidrs(&self) -> Result<Vec<Range>, ApiError> {
        let text = self.config.service_cidr.clone();
        let cidr = Cidr::parse(&text).ok_or_else(|| ApiError::internal(format!("bad service CIDR {text:?}")))?;
        let mut ranges = vec![Range { cidr, text }];
        let objects = self.cache.list(&GroupResource::new("networking.k8s.io", "servicecidrs"), None).objects;
        for range in objects.iter().flat_map(|object| ranges_of(&object.value())) {
            if ranges.iter().all(|known| known.cidr != range.cidr) {
                ranges.push(range);
            }
        }
        Ok(ranges)
    }

    /// A free address of the first range that has one.
    async fn free_address(&self, cidrs: &[Range]) -> Result<String, ApiError> {
        for Range { cidr, .. } in cidrs {
            let name = |offset| cidr.address(offset).to_string();
            if let Some(offset) = self.free(IP_PREFIX, &cidr.bands(), &HashSet::new(), name).await? {
                return Ok(name(offset));
            }
        }
        Err(ApiError::internal("failed to allocate a serviceIP: range is full"))
    }

    async fn fill(&self, service: &mut Value, cidrs: &[Range]) -> Result<(), ApiError> {
        let missing = missing(service);
        if missing.ip {
            let ip = self.free_address(cidrs).await?;
            service["spec"]["clusterIPs"] = serde_json::json!([ip]);
            service["spec"]["clusterIP"] = ip.into();
        } else if object::at(service, "spec.clusterIPs").is_none() {
            let ip = object::str_at(service, "spec.clusterIP").to_owned();
            if !ip.is_empty() {
                service["spec"]["clusterIPs"] = serde_json::json!([ip]);
            }
        }
        let mut chosen: HashSet<u64> =
            ports(service).iter().filter_map(|port| port_number(port.get("nodePort"))).map(u64::from).collect();
        chosen.extend(port_number(object::at(service, "spec.healthCheckNodePort")).map(u64::from));
        for index in missing.ports {
            service["spec"]["ports"][index]["nodePort"] = self.free_port(&mut chosen).await?.into();
        }
        if missing.health_check {
            service["spec"]["healthCheckNodePort"] = self.free_port(&mut chosen).await?.into();
        }
        Ok(())
    }

    async fn free_port(&self, chosen: &mut HashSet<u64>) -> Result<u64, ApiError> {
        let (first, last) = (u64::from(*self.config.node_ports.start()), u64::from(*self.config.node_ports.end()));
        let bands = bands(first, last, last.saturating_sub(first) + 1, 128);
        let port = self.free(PORT_PREFIX, &bands, chosen, |port| port.to_string()).await?;
        let port = port.ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))?;
        chosen.insert(port);
        Ok(port)
    }

    /// A number of the first band that has one whose claim is free as far as this replica knows.
    async fn free(
        &self,
        prefix: &str,
        bands: &[RangeInclusive<u64>],
        chosen: &HashSet<u64>,
        name: impl Fn(u64) -> String,
    ) -> Result<Option<u64>, ApiError> {
        let Some(first) = bands.iter().find(|band| !band.is_empty()) else { return Ok(None) };
        for _ in 0..GUESSES {
            let guess = pick(first, ids::random());
            let key = format!("{prefix}{}", name(guess));
            if chosen.contains(&guess) {
                continue;
            }
            if self.store.get(key.as_bytes(), ReadAt::Local).await.map_err(from_store)?.kv.is_none() {
                return Ok(Some(guess));
            }
        }
        let mut all = RangeRequest::prefix(prefix.as_bytes(), ReadAt::Linearizable);
        all.keys_only = true;
        let taken: HashSet<_> =
            self.store.range(all).await.map_err(from_store)?.kvs.into_iter().map(|kv| kv.key).collect();
        let is_free =
            |number: u64| !chosen.contains(&number) && !taken.contains(format!("{prefix}{}", name(number)).as_bytes());
        Ok(bands.iter().find_map(|band| choose(band, ids::random(), &is_free)))
    }
}

fn pick(band: &RangeInclusive<u64>, random: u64) -> u64 {
    band.start() + random % (band.end() - band.start() + 1)
}

/// The first free number of a band from a random one on, around once.
fn choose(band: &RangeInclusive<u64>, random: u64, is_free: &impl Fn(u64) -> bool) -> Option<u64> {
    if band.is_empty() {
        return None;
    }
    let from = pick(band, random);
    (from..=*band.end()).chain(*band.start()..from).find(|number| is_free(*number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ranges() {
        let cidr = Cidr::parse("10.96.0.0/16").expect("valid");
        assert_eq!(cidr.address(1).to_string(), "10.96.0.1");
        assert_eq!(cidr.bands(), [257..=65534, 1..=256]);
        for (ip, inside) in [("10.96.0.0", false), ("10.96.0.1", true), ("10.96.255.255", false), ("10.97.0.1", false)]
        {
            assert_eq!(cidr.contains(&ip.parse().expect("an address")), inside, "{ip}");
        }
        assert_eq!(Cidr::parse("10.0.0.0/28").expect("valid").bands()[0], 1..=14);
        assert_eq!(Cidr::parse("nonsense"), None);
        assert_eq!(choose(&(3..=5), 2, &|number| number == 3), Some(3));
        assert_eq!(choose(&(3..=5), 2, &|_| false), None);
    }

    #[test]
    fn ranges_of_service_cidrs() {
        let of = |status: &str, deleting: bool| {
            let mut object = json!({"metadata": {}, "spec": {"cidrs": ["10.1.0.0/24", "fd00::/64"]},
                "status": {"conditions": [{"type": "Ready", "status": status}]}});
            if deleting {
                object["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z".into();
            }
            ranges_of(&object).into_iter().map(|range| range.text).collect::<Vec<_>>()
        };
        // This cluster has one family.
        assert_eq!(of("True", false), ["10.1.0.0/24"]);
        assert_eq!((of("False", false).len(), of("True", true).len()), (0, 0));
    }

    #[test]
    fn what_is_missing() {
        let of = |spec: Value| missing(&json!({"spec": spec}));
        assert!(of(json!({"type": "ClusterIP"})).ip);
        assert!(!of(json!({"type": "ClusterIP", "clusterIP": "None"})).ip);
        assert!(!of(json!({"type": "ClusterIP", "clusterIPs": ["10.96.0.8"]})).ip);
        assert!(of(json!({"type": "ClusterIP", "clusterIPs": []})).ip);
        assert_eq!(of(json!({"type": "ExternalName"})), Missing::default());
        let node_port = of(json!({"type": "NodePort", "clusterIP": "x", "ports": [{"nodePort": 30000}, {}]}));
        assert_eq!(node_port.ports, [1]);
        let balancer = json!({"type": "LoadBalancer", "clusterIP": "x", "externalTrafficPolicy": "Local",
                              "allocateLoadBalancerNodePorts": false, "ports": [{}]});
        assert_eq!(of(balancer), Missing { ip: false, ports: vec![], health_check: true });
    }
}
