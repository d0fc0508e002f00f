//! Devices in `resource.k8s.io/v1beta1`, both ways: what is asked for stands in the request itself and not in
//! `exactly`, and what a device is stands in `basic`.

use api_machinery::{Value, object};
use serde_json::{Map, json};

/// Of a request that is for one kind of device.
const ASKED: [&str; 7] =
    ["deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity"];

pub(crate) fn to_v1(value: &mut Value) {
    if object::str_at(value, "kind") == "ResourceSlice" {
        return slice_to_v1(value);
    }
    for request in requests(value) {
        let asked = ASKED.iter().filter_map(|field| Some(((*field).to_owned(), request.remove(*field)?)));
        let asked: Map<String, Value> = asked.collect();
        if asked.values().any(says_something) {
            request.insert("exactly".to_owned(), Value::Object(asked));
        }
    }
}

pub(crate) fn to_v1beta1(value: &mut Value) {
    if object::str_at(value, "kind") == "ResourceSlice" {
        for device in devices(value) {
            let is = device.keys().filter(|field| *field != "name").cloned().collect::<Vec<_>>();
            let basic: Map<String, Value> = is.into_iter().filter_map(|field| device.remove_entry(&field)).collect();
            device.insert("basic".to_owned(), Value::Object(basic));
        }
        return;
    }
    for request in requests(value) {
        if let Some(Value::Object(asked)) = request.remove("exactly") {
            request.extend(asked);
        }
        // It is never left out there.
        request.entry("deviceClassName").or_insert_with(|| Value::from(""));
    }
}

/// Whether Go would see more in a field than its zero value.
fn says_something(value: &Value) -> bool {
    !value.is_null() && value != &json!("") && value != &json!(0)
}

fn slice_to_v1(value: &mut Value) {
    for device in devices(value) {
        if let Some(Value::Object(basic)) = device.remove("basic") {
            device.extend(basic);
        }
    }
    // An empty name and `false` stand for none.
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|field, value| match field.as_str() {
            "nodeName" => *value != "",
            "allNodes" => *value != false,
            _ => true,
        });
    }
}

fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn devices(value: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    objects(value.pointer_mut("/spec/devices"))
}

/// Of a claim, or of a template of claims.
fn requests(value: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let of_template = object::str_at(value, "kind") == "ResourceClaimTemplate";
    objects(value.pointer_mut(if of_template { "/spec/spec/devices/requests" } else { "/spec/devices/requests" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_ways(early: &Value, stable: &Value) {
        let mut value = early.clone();
        to_v1(&mut value);
        assert_eq!(value, *stable);
        to_v1beta1(&mut value);
        assert_eq!(value, *early);
    }

    #[test]
    fn requests_and_devices_both_ways() {
        let exact = json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 2, "adminAccess": false});
        let stable = json!({"name": "b", "firstAvailable": [{"name": "s", "deviceClassName": "c"}]});
        let mut early = stable.clone();
        early["deviceClassName"] = "".into();
        let mut flat = exact.clone();
        flat["name"] = "a".into();
        let nested = json!({"name": "a", "exactly": exact});
        let spec =
            |request: &Value, other: &Value| json!({"devices": {"requests": [request, other], "constraints": []}});
        let claim = |spec: Value| json!({"kind": "ResourceClaim", "spec": spec});
        both_ways(&claim(spec(&flat, &early)), &claim(spec(&nested, &stable)));
        let template = |spec: Value| json!({"kind": "ResourceClaimTemplate", "spec": {"spec": spec}});
        both_ways(&template(spec(&flat, &early)), &template(spec(&nested, &stable)));
        let slice = |device: Value| json!({"kind": "ResourceSlice", "spec": {"nodeName": "n", "devices": [device]}});
        let early = json!({"name": "d", "basic": {"attributes": {"x": {"int": 1}}, "allNodes": true}});
        both_ways(&slice(early), &slice(json!({"name": "d", "attributes": {"x": {"int": 1}}, "allNodes": true})));
        both_ways(&json!({"kind": "DeviceClass", "spec": {}}), &json!({"kind": "DeviceClass", "spec": {}}));
    }

    #[test]
    fn nothing_said_is_nothing_asked_for() {
        let mut claim = json!({"kind": "ResourceClaim", "spec": {"devices": {"requests": [{"name": "a", "count": 0, "deviceClassName": ""}]}}});
        to_v1(&mut claim);
        assert_eq!(claim["spec"]["devices"]["requests"], json!([{"name": "a"}]));
        let mut slice = json!({"kind": "ResourceSlice", "spec": {"nodeName": "", "allNodes": false, "driver": "d"}});
        to_v1(&mut slice);
        assert_eq!(slice["spec"], json!({"driver": "d"}));
    }
}
