//! Chooses free service addresses and node ports. Only a choice: the claim in the transaction decides.

mod ports;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use api_machinery::{ApiError, ErrorList, GroupResource, Path, Value, object};
use store_api::{RangeRequest, ReadAt};

use crate::claims::IP_PREFIX;
use crate::errors::from_store;
use crate::scope::Scope;
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
        self.offset(ip).is_some_and(|offset| offset >= 1 && offset < self.size - 1)
    }
    /// Usable or not.
    fn spans(&self, ip: &IpAddr) -> bool {
        self.offset(ip).is_some()
    }
    fn offset(&self, ip: &IpAddr) -> Option<u64> {
        let IpAddr::V4(ip) = ip else { return None };
        Some(u64::from(u32::from(*ip).wrapping_sub(self.base))).filter(|offset| *offset < self.size)
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

/// Whether an address is given: to what is new here, and has one at all.
fn takes_address(service: &Value, old: Option<&Value>) -> bool {
    let is_name = |service: &Value| object::str_at(service, "spec.type") == "ExternalName";
    !is_name(service) && !is_headless(service) && old.is_none_or(is_name)
}

fn is_headless(service: &Value) -> bool {
    let ips = object::at(service, "spec.clusterIPs").and_then(Value::as_array);
    ips.and_then(|ips| ips.first()).is_some_and(|ip| ip == "None")
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

/// Why an address that is asked for cannot be given. A dry run is told of one range.
fn why_not(ip: &IpAddr, ranges: &[Range], dry_run: bool) -> Option<String> {
    if ranges.iter().any(|range| range.cidr.contains(ip)) {
        return None;
    }
    let said = ranges.iter().find(|range| range.cidr.spans(ip)).or_else(|| ranges.first().filter(|_| dry_run));
    Some(match said {
        Some(Range { text, .. }) => {
            format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {text}")
        }
        None => "the provided network does not match the current range".to_owned(),
    })
}

impl Registry {
    /// Fills in what a Service lacks, and refuses what it asks for and cannot have; `old` is what is stored.
    pub(crate) async fn allocate(
        &self,
        scope: &Scope<'_>,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        if !scope.is("", "services") || !service.get("spec").is_some_and(Value::is_object) {
            return Ok(());
        }
        let mut errors = ErrorList::new();
        scope.kind.validate_before_allocation(service, old, &mut errors);
        scope.invalid(object::name(service), errors)?;
        if takes_address(service, old) {
            self.allocate_address(scope, service).await?;
        }
        self.allocate_ports(scope, service, old).await
    }

    async fn allocate_address(&self, scope: &Scope<'_>, service: &mut Value) -> Result<(), ApiError> {
        let ranges = self.service_cidrs()?;
        let asked = object::str_at(service, "spec.clusterIP");
        if asked.is_empty() {
            let ip = self.free_address(&ranges).await?;
            service["spec"]["clusterIPs"] = serde_json::json!([ip]);
            service["spec"]["clusterIP"] = ip.into();
            return Ok(());
        }
        let mut errors = ErrorList::new();
        if let Ok(ip) = asked.parse::<IpAddr>()
            && let Some(why) = why_not(&ip, &ranges, scope.info.dry_run)
        {
            let ips = object::at(service, "spec.clusterIPs").cloned().unwrap_or_default();
            let path = Path::new("spec").child("clusterIPs");
            errors.invalid(&path, &ips, &format!("failed to allocate IP {asked}: {why}"));
        }
        scope.invalid(object::name(service), errors)
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
    fn who_takes_an_address() {
        let takes = |spec: Value, old: Option<Value>| {
            let old = old.map(|old| json!({"spec": old}));
            takes_address(&json!({"spec": spec}), old.as_ref())
        };
        let (plain, name) = (json!({"type": "ClusterIP"}), json!({"type": "ExternalName"}));
        assert!(takes(plain.clone(), None) && takes(plain.clone(), Some(name.clone())));
        assert!(!takes(plain.clone(), Some(plain.clone())) && !takes(name.clone(), None) && !takes(name, Some(plain)));
        assert!(!takes(json!({"type": "ClusterIP", "clusterIPs": ["None"]}), None));
    }

    #[test]
    fn addresses_out_of_range() {
        let range = |text: &str| Range { cidr: Cidr::parse(text).expect("valid"), text: text.to_owned() };
        let ranges = [range("10.96.0.0/16"), range("10.200.0.0/24")];
        let why = |ip: &str, dry_run| why_not(&ip.parse().expect("an address"), &ranges, dry_run).unwrap_or_default();
        assert_eq!((why("10.96.0.9", false), why("10.200.0.9", true)), (String::new(), String::new()));
        assert_eq!(why("1.2.3.4", false), "the provided network does not match the current range");
        assert!(why("1.2.3.4", true).ends_with("The range of valid IPs is 10.96.0.0/16"));
        assert!(why("10.200.0.0", false).ends_with("The range of valid IPs is 10.200.0.0/24"));
    }
}
