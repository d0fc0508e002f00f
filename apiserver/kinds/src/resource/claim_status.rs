//! The status of a ResourceClaim: the devices it was given, who uses them, and what their drivers say of them.

use std::collections::HashSet;

use api_machinery::quote::{json_quoted, quoted};
use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::list::core_volume_source::validate_driver_name;
use crate::list::resource_resourceslice::validate_pool_name;
use crate::list::{
    core_affinity as node_selector, resource_claim_spec as claim_spec, resource_slice_devices as slice_devices,
};
use crate::{cells, conditions, formats};

const MAX_CONSUMERS: usize = 256;
const MAX_RESULTS: usize = 32;
/// Of the claim and of its classes.
const MAX_CONFIGS: usize = 64;
const MAX_CONDITIONS: usize = 8;
const MAX_ADDRESSES: usize = 16;
/// Bytes of what a driver tells of a device, and of what a network device is called.
const MAX_DATA: usize = 10 * 1024;
const MAX_NAMES: [(&str, usize); 2] = [("interfaceName", 256), ("hardwareAddress", 128)];

/// Driver, pool, device, and the share of a device that several claims have.
type DeviceId<'v> = [&'v str; 4];

fn device_id(device: &Value) -> DeviceId<'_> {
    ["driver", "pool", "device", "shareID"].map(|field| object::str_at(device, field))
}

/// In upstream's order, which a JSON value would not keep.
fn shown(id: DeviceId<'_>) -> String {
    let [driver, pool, name, share] = id.map(json_quoted);
    format!(r#"{{"Driver":{driver},"Pool":{pool},"Device":{name},"ShareID":{share}}}"#)
}

/// The devices that a status says were given to the claim.
fn allocated(status: &Value) -> HashSet<DeviceId<'_>> {
    cells::list(status, "allocation.devices.results").iter().map(device_id).collect()
}

/// What drivers said of devices that the claim gives back now goes with them.
pub(crate) fn drop_deallocated(object: &mut Value, old: &Value) {
    let kept = still_told(child(object, "status"), child(old, "status"));
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        if kept.is_empty() {
            status.remove("devices");
        } else {
            status.insert("devices".to_owned(), kept.into());
        }
    }
}

fn still_told(status: &Value, old: &Value) -> Vec<Value> {
    let (before, now) = (allocated(old), allocated(status));
    let is_gone = |device: &Value| before.contains(&device_id(device)) && !now.contains(&device_id(device));
    cells::list(status, "devices").iter().filter(|device| !is_gone(device)).cloned().collect()
}

pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let (status, old_status) = (root.field("status"), child(old, "status"));
    let (reserved, allocation) = (status.field("reservedFor"), status.field("allocation"));
    claim_spec::validate_set(&reserved, MAX_CONSUMERS, "uid", errors, validate_consumer);
    validate_devices(&status, errors);
    if !reserved.is_empty() && !allocation.present() {
        reserved.forbidden(errors, "may not be specified when `allocated` is not set");
    } else if object::deletion_timestamp(object).is_some() && !consumers(status.value).is_subset(&consumers(old_status))
    {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        reserved.forbidden(errors, detail);
    }
    let before = child(old_status, "allocation");
    if allocation.present() && before.is_null() {
        validate_allocation(&allocation, child(object, "spec.devices.requests"), errors);
    } else if allocation.present() {
        allocation.unchanged(errors, before);
    }
}

fn validate_consumer(consumer: &At<'_>, errors: &mut ErrorList) {
    for field in ["resource", "name", "uid"] {
        consumer.field(field).need(errors);
    }
}

fn consumers(status: &Value) -> HashSet<[&str; 4]> {
    let of = |consumer| ["apiGroup", "resource", "name", "uid"].map(|field| object::str_at(consumer, field));
    cells::list(status, "reservedFor").iter().map(of).collect()
}

fn validate_devices(status: &At<'_>, errors: &mut ErrorList) {
    let (devices, allocated) = (status.field("devices"), allocated(status.value));
    for device in devices.items() {
        validate_device(&device, &allocated, errors);
    }
    let mut seen = HashSet::new();
    for device in devices.items() {
        let id = device_id(device.value);
        if !seen.insert(id) {
            errors.duplicate_printed(&device.path(), &shown(id), "");
        }
    }
}

fn validate_device(device: &At<'_>, allocated: &HashSet<DeviceId<'_>>, errors: &mut ErrorList) {
    validate_driver_name(&device.field("driver"), errors);
    validate_pool_name(&device.field("pool"), errors);
    device.field("device").format(errors, names::dns1123_label);
    validate_share(&device.field("shareID"), errors);
    let id = device_id(device.value);
    if !allocated.contains(&id) {
        errors.invalid_printed(&device.path(), &shown(id), "must be an allocated device in the claim");
    }
    let reported = device.field("conditions");
    if reported.list().len() > MAX_CONDITIONS {
        reported.too_many(errors, MAX_CONDITIONS);
    }
    conditions::validate(&reported, errors);
    let data = device.field("data");
    if data.present() {
        claim_spec::validate_json_object(&data, MAX_DATA, errors);
    }
    validate_network(&device.field("networkData"), errors);
}

fn validate_network(network: &At<'_>, errors: &mut ErrorList) {
    for (field, most) in MAX_NAMES {
        let name = network.field(field);
        if name.str().len() > most {
            name.too_long(errors, most);
        }
    }
    claim_spec::validate_set(&network.field("ips"), MAX_ADDRESSES, "", errors, |address, errors| {
        address.format(errors, interface_address);
    });
}

/// An allocation that was not there before; a client cannot change one.
fn validate_allocation(allocation: &At<'_>, requests: &Value, errors: &mut ErrorList) {
    let devices = allocation.field("devices");
    claim_spec::validate_list(&devices.field("results"), MAX_RESULTS, errors, |result, errors| {
        validate_result(result, requests, errors);
    });
    claim_spec::validate_list(&devices.field("config"), MAX_CONFIGS, errors, |config, errors| {
        config.field("source").need_one_of(errors, &["FromClaim", "FromClass"]);
        claim_spec::validate_references(config, requests, errors);
        claim_spec::validate_opaque(config, errors);
    });
    let nodes = allocation.field("nodeSelector");
    if nodes.present() {
        node_selector::validate_node_selector(&nodes, errors);
    }
}

fn validate_result(result: &At<'_>, requests: &Value, errors: &mut ErrorList) {
    claim_spec::validate_reference(&result.field("request"), requests, errors);
    validate_driver_name(&result.field("driver"), errors);
    validate_pool_name(&result.field("pool"), errors);
    result.field("device").format(errors, names::dns1123_label);
    slice_devices::validate_bindings(result, errors);
    validate_share(&result.field("shareID"), errors);
}

fn validate_share(share: &At<'_>, errors: &mut ErrorList) {
    if share.present() {
        share.format(errors, share_id);
    }
}

/// A UUID, and that in its one form: what else can be read as one is not taken.
fn share_id(text: &str) -> Vec<String> {
    match uuid_error(text) {
        Some(why) => vec![format!("error validating uid: {why}")],
        None if text.len() == 36 && !text.bytes().any(|c| c.is_ascii_uppercase()) => Vec::new(),
        None => vec![
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
             hexadecimal characters"
                .to_owned(),
        ],
    }
}

/// Why a text cannot be read as a UUID: plain, as a URN, in braces, or without hyphens.
fn uuid_error(text: &str) -> Option<String> {
    let wrong = || Some("invalid UUID format".to_owned());
    let bytes = text.as_bytes();
    let plain = match bytes.len() {
        36 => bytes,
        32 if bytes.iter().all(u8::is_ascii_hexdigit) => return None,
        32 => return wrong(),
        38 if bytes.starts_with(b"{") && bytes.ends_with(b"}") => &bytes[1..37],
        38 => return Some("invalid bracketed UUID format".to_owned()),
        45 if bytes[..9].eq_ignore_ascii_case(b"urn:uuid:") => &bytes[9..],
        45 => return Some(format!("invalid urn prefix: {}", quoted(&String::from_utf8_lossy(&bytes[..9])))),
        length => return Some(format!("invalid UUID length: {length}")),
    };
    let fits = |(place, c): (usize, &u8)| match place {
        8 | 13 | 18 | 23 => *c == b'-',
        _ => c.is_ascii_hexdigit(),
    };
    if plain.iter().enumerate().all(fits) { None } else { wrong() }
}

/// `IsValidInterfaceAddress`: an address and the length of its prefix, in the one form that is printed.
fn interface_address(text: &str) -> Vec<String> {
    let Some((ip, length)) = text.split_once('/').and_then(|(address, length)| {
        let most = if address.contains(':') { 128 } else { 32 };
        let digits = Some(length).filter(|length| length.bytes().all(|c| c.is_ascii_digit()))?;
        let length = digits.parse::<i32>().ok().filter(|length| *length <= most)?;
        Some((formats::parse_ip(address)?, length))
    }) else {
        return vec!["must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned()];
    };
    // Of an IPv4 address that is written as an IPv6 one, the prefix is too.
    let length = if ip.is_ipv4() && length > 32 { length - 96 } else { length };
    let canonical = format!("{ip}/{length}");
    if text == canonical { Vec::new() } else { vec![format!("must be in canonical form ({canonical:?})")] }
}

#[cfg(test)]
mod tests {
    use api_machinery::ErrorList;
    use serde_json::json;

    use super::{interface_address, share_id, validate_devices};
    use crate::at::At;

    #[test]
    fn devices_that_are_told_of_twice() {
        let device = json!({"driver": "a.example", "pool": "p", "device": "d"});
        let status = json!({"devices": [device, device], "allocation": {"devices": {"results": [device]}}});
        let mut errors = ErrorList::new();
        validate_devices(&At::root(&status), &mut errors);
        let wanted = r#"Duplicate value: {"Driver":"a.example","Pool":"p","Device":"d","ShareID":""}"#;
        let told: Vec<&str> = errors.causes().iter().map(|cause| cause.message.as_str()).collect();
        assert_eq!(told, [wanted]);
    }

    #[test]
    fn shares() {
        assert!(share_id("0b5f1a7e-0000-4000-8000-000000000001").is_empty());
        let normal = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
                      hexadecimal characters";
        for (text, why) in [
            ("", "error validating uid: invalid UUID length: 0"),
            ("0b5f1a7e-0000-4000-8000-00000000000g", "error validating uid: invalid UUID format"),
            ("0b5f1a7e000040008000000000000001", normal),
            ("0B5F1A7E-0000-4000-8000-000000000001", normal),
            ("{0b5f1a7e-0000-4000-8000-000000000001}", normal),
            ("(0b5f1a7e-0000-4000-8000-000000000001)", "error validating uid: invalid bracketed UUID format"),
            ("urn:uuid:0b5f1a7e-0000-4000-8000-000000000001", normal),
            (
                "urn-uuid-0b5f1a7e-0000-4000-8000-000000000001",
                r#"error validating uid: invalid urn prefix: "urn-uuid-""#,
            ),
        ] {
            assert_eq!(share_id(text), [why], "{text}");
        }
    }

    #[test]
    fn addresses() {
        let invalid = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        for good in ["10.9.8.7/24", "2001:db8::1/64"] {
            assert!(interface_address(good).is_empty(), "{good}");
        }
        for (bad, why) in [
            ("10.9.8.7", invalid),
            ("10.9.8.7/33", invalid),
            ("10.9.8.7/", invalid),
            ("10.9.8.07/24", "must be in canonical form (\"10.9.8.7/24\")"),
            ("::ffff:10.9.8.7/120", "must be in canonical form (\"10.9.8.7/24\")"),
            ("2001:DB8::1/64", "must be in canonical form (\"2001:db8::1/64\")"),
        ] {
            assert_eq!(interface_address(bad), [why], "{bad}");
        }
    }
}
