//! Devices of a ResourceSlice, and the counters that they share.

use std::borrow::Cow;
use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child, same};
use crate::list::core_volume_source::validate_driver_name;
use crate::list::resource_claim_spec::{validate_list, validate_set};
use crate::list::{core_affinity as node_selector, resource_capacity_policy as capacity_policy};
use crate::{cells, formats};

const MAX_DEVICES: usize = 128;
/// Of devices with taints, counters or attributes that are lists, which cost more.
const MAX_ADVANCED: usize = 64;
/// Of attributes and capacities together.
const MAX_PROPERTIES: usize = 32;
const MAX_ATTRIBUTE_VALUES: usize = 48;
/// Bytes of a text or version, and of a name without its domain.
const MAX_VALUE: usize = 64;
const MAX_ID: usize = 32;
/// Bytes of a name of an attribute or a capacity as errors show it: domain, slash, and the rest.
const MAX_SHOWN: usize = 63 + 1 + MAX_ID;
const MAX_TAINTS: usize = 16;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const MAX_CONSUMED: usize = 2;
const MAX_BINDINGS: usize = 4;
/// Of taints.
pub(crate) const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// `old`: the spec before, null when there was none.
pub(crate) fn validate(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let devices = spec.field("devices");
    let most = if devices.list().iter().any(is_advanced) { MAX_ADVANCED } else { MAX_DEVICES };
    let per_device = spec.field("perDeviceNodeSelection").flag();
    validate_set(&devices, most, "name", errors, |device, errors| {
        validate_device(device, of_name(old, object::str_at(device.value, "name")), per_device, errors);
    });
    validate_set(&spec.field("sharedCounters"), MAX_COUNTER_SETS, "name", errors, |set, errors| {
        validate_counters(set, "name", MAX_COUNTERS, errors);
    });
}

/// The first device of a spec with that name, null when it has none.
fn of_name<'v>(spec: &'v Value, name: &str) -> &'v Value {
    let found = cells::list(spec, "devices").iter().find(|device| object::str_at(device, "name") == name);
    found.unwrap_or(&Value::Null)
}

fn is_advanced(device: &Value) -> bool {
    let attributes = child(device, "attributes").as_object().into_iter().flatten();
    ["taints", "consumesCounters"].iter().any(|field| !crate::at::is_empty(child(device, field)))
        || attributes.into_iter().any(|(_, one)| LISTS.iter().any(|list| !child(one, list).is_null()))
}

fn validate_device(device: &At<'_>, old: &Value, per_device: bool, errors: &mut ErrorList) {
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
        validate_attribute(&attributes.key(&shortened(name)).with(attribute.value), errors);
    }
    let shared = device.field("allowMultipleAllocations").flag();
    for (name, amount) in capacity.entries() {
        validate_qualified_name(&capacity, name, errors);
        capacity_policy::validate(&capacity.key(&shortened(name)).with(amount.value), shared, errors);
    }
    let taints = device.field("taints");
    if old.is_null() || !same(taints.value, child(old, "taints")) {
        validate_list(&taints, MAX_TAINTS, errors, validate_taint);
    }
    validate_set(&device.field("consumesCounters"), MAX_CONSUMED, "counterSet", errors, |set, errors| {
        validate_counters(set, "counterSet", MAX_COUNTERS, errors);
    });
    validate_nodes(device, per_device, errors);
    validate_bindings(device, errors);
}

/// A long name without its middle.
fn shortened(name: &str) -> Cow<'_, str> {
    const DOTS: &str = "...";
    if name.len() <= MAX_SHOWN {
        return name.into();
    }
    let (bytes, kept) = (name.as_bytes(), MAX_SHOWN - DOTS.len());
    let (head, tail) = (&bytes[..kept.div_ceil(2)], &bytes[bytes.len() - kept / 2..]);
    format!("{}{DOTS}{}", String::from_utf8_lossy(head), String::from_utf8_lossy(tail)).into()
}

/// What must and what may not come true of a device before a pod is bound: each once, and none without the other.
pub(crate) fn validate_bindings(holder: &At<'_>, errors: &mut ErrorList) {
    let (wanted, feared) = (holder.field("bindingConditions"), holder.field("bindingFailureConditions"));
    for list in [&wanted, &feared] {
        validate_list(list, MAX_BINDINGS, errors, |name, errors| name.format(errors, names::qualified_name));
    }
    let mut seen = HashSet::new();
    for name in wanted.items() {
        if !seen.insert(name.str()) {
            name.duplicate(errors);
        }
    }
    let mut failures = HashSet::new();
    for name in feared.items() {
        if !failures.insert(name.str()) {
            name.duplicate(errors);
        }
        if seen.contains(name.str()) {
            name.invalid(errors, "bindingFailureConditions must not overlap with bindingConditions");
        }
    }
    if seen.is_empty() && !failures.is_empty() {
        wanted.invalid(errors, "bindingConditions are required to use bindingFailureConditions");
    }
    if failures.is_empty() && !seen.is_empty() {
        feared.invalid(errors, "bindingFailureConditions are required to use bindingConditions");
    }
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

fn validate_taint(taint: &At<'_>, errors: &mut ErrorList) {
    taint.field("key").format(errors, names::qualified_name);
    taint.field("value").format_if_set(errors, names::label_value);
    taint.field("effect").need_one_of(errors, &EFFECTS);
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
    let (node, selector, all) = (device.field("nodeName"), device.field("nodeSelector"), device.field("allNodes"));
    if !per_device {
        if node.present() || selector.present() || all.present() {
            errors.invalid(&device.path(), &Value::Null, NONE);
        }
        return;
    }
    let mut set = Vec::new();
    if !node.is_empty() {
        set.push("`nodeName`");
        node.format(errors, names::dns1123_subdomain);
    } else if node.present() {
        node.invalid(errors, "must not be empty");
    }
    if selector.present() {
        set.push("`nodeSelector`");
        node_selector::validate_node_selector(&selector, errors);
    }
    if all.flag() {
        set.push("`allNodes`");
    } else if all.present() {
        all.invalid(errors, "must be either unset or set to true");
    }
    match set.len() {
        0 => device.required(errors, ONE),
        1 => {}
        _ => errors.invalid(&device.path(), &Value::from(format!("{{{}}}", set.join(", "))), ONE),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_semver, shortened};

    #[test]
    fn long_names() {
        let name = format!("{}{}", "a".repeat(60), "b".repeat(40));
        assert_eq!(shortened(&name), format!("{}...{}{}", "a".repeat(47), "a".repeat(6), "b".repeat(40)));
        assert_eq!(shortened("example.com/a"), "example.com/a");
    }

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
