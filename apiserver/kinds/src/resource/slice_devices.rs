//! Devices of a ResourceSlice, and the counters that they share.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::formats;
use crate::list::core_volume_source::validate_driver_name;
use crate::list::resource_claim_spec::validate_set;

const MAX_DEVICES: usize = 128;
/// Of devices with taints, counters or attributes that are lists, which cost more.
const MAX_ADVANCED: usize = 64;
/// Of attributes and capacities together.
const MAX_PROPERTIES: usize = 32;
const MAX_ATTRIBUTE_VALUES: usize = 48;
/// Bytes of a text or version, and of a name without its domain.
const MAX_VALUE: usize = 64;
const MAX_ID: usize = 32;
const MAX_TAINTS: usize = 16;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const MAX_CONSUMED: usize = 2;
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

pub(crate) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    let devices = spec.field("devices");
    let most = if devices.list().iter().any(is_advanced) { MAX_ADVANCED } else { MAX_DEVICES };
    let per_device = spec.field("perDeviceNodeSelection").flag();
    validate_set(&devices, most, "name", errors, |device, errors| validate_device(device, per_device, errors));
    validate_set(&spec.field("sharedCounters"), MAX_COUNTER_SETS, "name", errors, |set, errors| {
        validate_counters(set, "name", MAX_COUNTERS, errors);
    });
}

fn is_advanced(device: &Value) -> bool {
    let attributes = child(device, "attributes").as_object().into_iter().flatten();
    ["taints", "consumesCounters"].iter().any(|field| !crate::at::is_empty(child(device, field)))
        || attributes.into_iter().any(|(_, one)| LISTS.iter().any(|list| !child(one, list).is_null()))
}

fn validate_device(device: &At<'_>, per_device: bool, errors: &mut ErrorList) {
    device.field("name").format(errors, names::dns1123_label);
    let (attributes, capacity) = (device.field("attributes"), device.field("capacity"));
    let count = attributes.entries().count() + capacity.entries().count();
    if count > MAX_PROPERTIES {
        let detail = format!("the total number of attributes and capacities must not exceed {MAX_PROPERTIES}");
        errors.invalid(&device.path(), &Value::from(count), &detail);
    }
    let values: usize = attributes.entries().map(|(_, one)| values(&one)).sum();
    if values > MAX_ATTRIBUTE_VALUES {
        let detail = format!("the total number of attribute values must not exceed {MAX_ATTRIBUTE_VALUES}");
        errors.invalid(&device.path(), &Value::from(values), &detail);
    }
    for (name, attribute) in attributes.entries() {
        validate_qualified_name(&attributes, name, errors);
        validate_attribute(&attribute, errors);
    }
    for (name, _) in capacity.entries() {
        validate_qualified_name(&capacity, name, errors);
    }
    validate_taints(&device.field("taints"), errors);
    validate_set(&device.field("consumesCounters"), MAX_CONSUMED, "counterSet", errors, |set, errors| {
        validate_counters(set, "counterSet", MAX_COUNTERS, errors);
    });
    validate_nodes(device, per_device, errors);
}

fn values(attribute: &At<'_>) -> usize {
    let many: usize = LISTS.iter().map(|list| attribute.field(list).list().len()).sum();
    many.max(1)
}

/// `name` or `domain/name`; errors name the map.
pub(crate) fn validate_qualified_name(map: &At<'_>, name: &str, errors: &mut ErrorList) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => validate_id(map, id, errors),
        [domain, id] => {
            let (shown, domain) = (Value::from(""), Value::from(domain));
            if domain == shown {
                errors.invalid(&map.path(), &shown, "the domain must not be empty");
            } else {
                validate_driver_name(&map.with(&domain), errors);
            }
            if id.is_empty() {
                errors.invalid(&map.path(), &shown, "the name must not be empty");
            } else {
                validate_id(map, id, errors);
            }
        }
        _ => {}
    }
}

fn validate_id(map: &At<'_>, id: &str, errors: &mut ErrorList) {
    if id.len() > MAX_ID {
        map.too_long(errors, MAX_ID);
    }
    if !formats::c_identifier(id) {
        let detail = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                      alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for \
                      validation is '[A-Za-z_][A-Za-z0-9_]*')";
        errors.invalid(&map.path(), &Value::from(id), detail);
    }
}

fn validate_attribute(attribute: &At<'_>, errors: &mut ErrorList) {
    const KINDS: [&str; 8] = ["bool", "int", "string", "version", "bools", "ints", "strings", "versions"];
    validate_text(&attribute.field("string"), errors);
    validate_version(&attribute.field("version"), errors);
    for list in LISTS {
        let at = attribute.field(list);
        if at.present() && at.is_empty() {
            at.invalid(errors, "must not be empty if specified");
        }
        for item in at.items() {
            match list {
                "strings" => validate_text(&item, errors),
                "versions" => validate_version(&item, errors),
                _ => {}
            }
        }
    }
    match KINDS.iter().filter(|kind| attribute.field(kind).present()).count() {
        0 => errors.invalid(&attribute.path(), &Value::from(""), "exactly one value must be specified"),
        1 => {}
        _ => attribute.invalid(errors, "exactly one value must be specified"),
    }
}

fn validate_text(at: &At<'_>, errors: &mut ErrorList) {
    if at.str().len() > MAX_VALUE {
        at.too_long(errors, MAX_VALUE);
    }
}

fn validate_version(at: &At<'_>, errors: &mut ErrorList) {
    if at.present() && !is_semver(at.str()) {
        at.invalid(errors, "must be a string compatible with semver.org spec 2.0.0");
    }
    validate_text(at, errors);
}

/// `1.2.3-rc.1+build`: numbers without leading zeros.
fn is_semver(text: &str) -> bool {
    let is_number = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let is_pre = |part: &str| is_word(part) && (is_number(part) || !part.bytes().all(|c| c.is_ascii_digit()));
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre.is_none_or(|pre| pre.split('.').all(is_pre))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

fn validate_taints(taints: &At<'_>, errors: &mut ErrorList) {
    if taints.list().len() > MAX_TAINTS {
        return taints.too_many(errors, MAX_TAINTS);
    }
    for taint in taints.items() {
        let (key, effect) = (taint.field("key"), taint.field("effect"));
        key.format(errors, names::qualified_name);
        taint.field("value").format_if_set(errors, names::label_value);
        if effect.need(errors) {
            effect.one_of(errors, &["NoExecute", "NoSchedule", "None"]);
        }
    }
}

fn validate_counters(set: &At<'_>, name: &str, most: usize, errors: &mut ErrorList) {
    let (name, counters) = (set.field(name), set.field("counters"));
    if name.need(errors) {
        name.format(errors, names::dns1123_label);
    }
    if !counters.need(errors) {
        return;
    }
    if counters.entries().count() > most {
        return errors.too_many(&counters.path(), counters.entries().count(), most);
    }
    for (key, _) in counters.entries() {
        for message in names::dns1123_label(key) {
            errors.invalid(&counters.path(), &Value::from(key), &message);
        }
    }
}

/// Each device says where it can be used only if the slice leaves that to devices.
fn validate_nodes(device: &At<'_>, per_device: bool, errors: &mut ErrorList) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
                       `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    const NONE: &str = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to \
                        true in the ResourceSlice spec";
    let set: HashSet<&str> =
        ["nodeName", "nodeSelector", "allNodes"].into_iter().filter(|field| device.field(field).present()).collect();
    if !per_device {
        if !set.is_empty() {
            errors.invalid(&device.path(), &Value::Null, NONE);
        }
        return;
    }
    let (node, all) = (device.field("nodeName"), device.field("allNodes"));
    if node.present() && node.is_empty() {
        node.invalid(errors, "must not be empty");
    }
    node.format_if_set(errors, names::dns1123_subdomain);
    if all.present() && !all.flag() {
        all.invalid(errors, "must be either unset or set to true");
    }
    match set.len() {
        0 => device.required(errors, ONE),
        1 => {}
        _ => errors.invalid(&device.path(), &Value::from(object::str_at(device.value, "name")), ONE),
    }
}

#[cfg(test)]
mod tests {
    use super::is_semver;

    #[test]
    fn versions() {
        for good in ["1.2.3", "0.0.0-rc.1+b-1", "1.0.0-a-b.0"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["1.2", "01.2.3", "1.2.3-", "1.2.3-01", "v1.2.3", "1.2.3+"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
