//! Service addresses and node ports are claimed in the transaction that writes the Service: a claim is a
//! key that only one object can hold. An address also becomes an IPAddress object, as upstream; one that a user has
//! made keeps its address from Services. Pure; choosing free ones is [`crate::allocate`]'s.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api_machinery::{ApiError, ErrorList, GroupResource, ObjectKey, Path, Value, object, time};
use jiff::Timestamp;
use serde_json::json;
use store_api::{Compare, KeyValue, Op};

use crate::commit::{Change, unchanged};
use crate::scope::{Scope, is};

pub(crate) const IP_PREFIX: &str = "/claims/serviceips/";
pub(crate) const PORT_PREFIX: &str = "/claims/nodeports/";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    Ip(IpAddr),
    /// One claim per number, whatever the protocol, as upstream.
    NodePort(u16),
}

pub(crate) type Held = BTreeSet<Claim>;

impl Claim {
    pub(crate) fn key(&self) -> String {
        match self {
            Claim::Ip(ip) => format!("{IP_PREFIX}{ip}"),
            Claim::NodePort(port) => format!("{PORT_PREFIX}{port}"),
        }
    }
}

/// The ports of a Service.
pub(crate) fn ports(service: &Value) -> &[Value] {
    object::at(service, "spec.ports").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn port_number(value: Option<&Value>) -> Option<u16> {
    value.and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// What an object holds by what is written in it. Nothing but Services hold anything.
pub(crate) fn held(resource: &GroupResource, service: &Value) -> Held {
    let mut held = Held::new();
    if !is(resource, "", "services") || object::str_at(service, "spec.type") == "ExternalName" {
        return held;
    }
    let ips = object::at(service, "spec.clusterIPs").and_then(Value::as_array);
    let first = object::at(service, "spec.clusterIP");
    let ips = ips.into_iter().flatten().chain(first).filter_map(Value::as_str);
    held.extend(ips.filter_map(|ip| ip.parse().ok()).map(Claim::Ip));
    held.extend(ports(service).iter().filter_map(|port| port_number(port.get("nodePort"))).map(Claim::NodePort));
    held.extend(port_number(object::at(service, "spec.healthCheckNodePort")).map(Claim::NodePort));
    held
}

/// What new IPAddress objects are made with.
pub(crate) struct Births<'a> {
    pub(crate) now: Timestamp,
    pub(crate) uid: &'a (dyn Fn() -> String + Sync),
}

/// The part of a transaction that takes what is new and gives back what is not held any more.
pub(crate) fn change(
    key: &ObjectKey,
    owner: &Value,
    before: &Held,
    after: &Held,
    births: &Births<'_>,
) -> Result<Change, ApiError> {
    let mut change = Change::default();
    let claimant = format!("{}/{}/{}/{}", key.resource, key.namespace, key.name, object::uid(owner));
    for claim in after.difference(before) {
        change.compare.push(Compare::absent(claim.key()));
        change.ops.push(Op::Put { key: claim.key().into(), value: claimant.clone().into(), lease: 0 });
        if let Claim::Ip(ip) = claim {
            let address = address_key(ip);
            change.compare.push(unchanged(&address, 0));
            change.ops.push(Change::put(&address, &address_of(ip, key, births), 0)?);
        }
    }
    for claim in before.difference(after) {
        change.ops.push(Op::Delete { key: claim.key().into() });
        if let Claim::Ip(ip) = claim {
            change.ops.push(Op::Delete { key: address_key(ip).store_key().into() });
        }
    }
    Ok(change)
}

fn address_key(ip: &IpAddr) -> ObjectKey {
    ObjectKey::new(GroupResource::new("networking.k8s.io", "ipaddresses"), "", &ip.to_string())
}

/// The IPAddress of a Service.
fn address_of(ip: &IpAddr, service: &ObjectKey, births: &Births<'_>) -> Value {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": ip.to_string(), "uid": (births.uid)(), "creationTimestamp": time::seconds(births.now),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "resource": &*service.resource.resource, "namespace": &*service.namespace, "name": &*service.name,
        }},
    })
}

/// After a lost transaction: 422 when one of the taken claims was asked for by the client.
pub(crate) fn refuse_asked(
    scope: &Scope<'_>,
    name: &str,
    service: &Value,
    asked: &Held,
    found: &[Option<KeyValue>],
) -> Result<(), ApiError> {
    let taken = |claim: &Claim| {
        let key = claim.key();
        let address = match claim {
            Claim::Ip(ip) => Some(address_key(ip).store_key()),
            Claim::NodePort(_) => None,
        };
        let is = |kv: &KeyValue, key: &str| kv.key == key.as_bytes();
        found.iter().flatten().any(|kv| is(kv, &key) || address.as_deref().is_some_and(|address| is(kv, address)))
    };
    let mut errors = ErrorList::new();
    for claim in asked.iter().filter(|claim| taken(claim)) {
        already_allocated(service, claim, &mut errors)?;
    }
    scope.invalid(name, errors)
}

fn already_allocated(service: &Value, claim: &Claim, errors: &mut ErrorList) -> Result<(), ApiError> {
    let spec = Path::new("spec");
    match claim {
        Claim::Ip(ip) => {
            let ips = object::at(service, "spec.clusterIPs").cloned().unwrap_or_else(|| serde_json::json!([ip]));
            let why = format!("failed to allocate IP {ip}: provided IP is already allocated");
            errors.invalid(&spec.child("clusterIPs"), &ips, &why);
        }
        Claim::NodePort(number) => {
            let index = ports(service).iter().position(|port| port_number(port.get("nodePort")) == Some(*number));
            let why = "provided port is already allocated";
            let Some(index) = index else {
                return Err(ApiError::internal(format!(
                    "failed to allocate requested HealthCheck NodePort {number}: {why}"
                )));
            };
            errors.invalid(&spec.child("ports").index(index).child("nodePort"), &(*number).into(), why);
        }
    }
    Ok(())
}
