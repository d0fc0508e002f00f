//! DeviceTaintRule: a taint for every device that it selects.

use api_machinery::{ErrorList, GroupResource, Value, names, object, time};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::core_volume_source::validate_driver_name;
use crate::list::resource_immutable::means_the_same;
use crate::list::resource_resourceslice::validate_pool_name;
use crate::list::resource_slice_devices::EFFECTS;
use crate::{Kind, cells, conditions, meta};

pub(crate) struct DeviceTaintRule;

const MAX_CONDITIONS: usize = 8;

impl Kind for DeviceTaintRule {
    fn resource(&self) -> GroupResource {
        GroupResource::new("resource.k8s.io", "devicetaintrules")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "resource.k8s.io/v1alpha3", "kind": "DeviceTaintRule", "metadata": {"name": "x"},
               "spec": {"deviceSelector": {"driver": "d.example.com", "pool": "p", "device": "d0"},
                        "taint": {"key": "example.com/broken", "value": "yes", "effect": "NoExecute"}}})
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        let created = child(object, "metadata.creationTimestamp").clone();
        date(object, created, false);
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
    }
    /// The time is that of the effect: another effect is a new taint, unless the client says another time.
    fn stamp(&self, object: &mut Value, old: &Value, now: Timestamp) {
        let is_same = |field: &str| child(object, field) == child(old, field);
        let renewed = !is_same("spec.taint.effect") && is_same("spec.taint.timeAdded");
        date(object, time::seconds(now).into(), renewed);
    }
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        !means_the_same(child(object, "spec"), child(old, "spec"))
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_spec(object, &Value::Null, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validate_spec(object, old, errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let list = root.field("status.conditions");
        conditions::validate(&list, errors);
        if list.list().len() > MAX_CONDITIONS {
            list.too_many(errors, MAX_CONDITIONS);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let text = |field: &str| cells::text(object, field);
        let added = child(object, "spec.taint.timeAdded").as_str();
        let added = added.map_or_else(String::new, |time| cells::since(time, now));
        let taint = [text("spec.taint.key"), text("spec.taint.value"), text("spec.taint.effect")];
        let times = [added.into(), cells::age(object, now)];
        Some([cells::name(object)].into_iter().chain(taint).chain(times).collect())
    }
}

/// Gives the taint this time where it has none, or another.
fn date(object: &mut Value, time: Value, anew: bool) {
    let taint = object.pointer_mut("/spec/taint").filter(|taint| taint.is_object());
    if let Some(taint) = taint.filter(|taint| anew || child(taint, "timeAdded").is_null()) {
        taint["timeAdded"] = time;
    }
}

fn validate_spec(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let (selector, taint) = (root.field("spec.deviceSelector"), root.field("spec.taint"));
    let (driver, pool, device) = (selector.field("driver"), selector.field("pool"), selector.field("device"));
    if driver.present() {
        validate_driver_name(&driver, errors);
    }
    if pool.present() {
        validate_pool_name(&pool, errors);
    }
    if device.present() {
        device.format(errors, names::dns1123_label);
    }
    let (value, effect) = (taint.field("value"), taint.field("effect"));
    taint.field("key").format(errors, names::qualified_name);
    value.format_if_set(errors, names::label_value);
    if effect.str() != object::str_at(old, "spec.taint.effect") || old.is_null() {
        effect.need_one_of(errors, &EFFECTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taint_is_as_old_as_its_effect() {
        let at =
            |effect: &str, time: Value| json!({"spec": {"taint": {"key": "k", "effect": effect, "timeAdded": time}}});
        let now: Timestamp = "2024-05-06T07:08:09.5Z".parse().expect("a time");
        let stamped = |mut new: Value, old: &Value| {
            DeviceTaintRule.stamp(&mut new, old, now);
            child(&new, "spec.taint.timeAdded").clone()
        };
        let old = at("NoSchedule", json!("2020-01-01T00:00:00Z"));
        assert_eq!(stamped(old.clone(), &old), "2020-01-01T00:00:00Z");
        let changed = at("NoExecute", json!("2020-01-01T00:00:00Z"));
        assert_eq!(stamped(changed, &old), "2024-05-06T07:08:09Z");
        let said = at("NoExecute", json!("2021-01-01T00:00:00Z"));
        assert_eq!(stamped(said, &old), "2021-01-01T00:00:00Z");
        assert_eq!(stamped(at("NoSchedule", Value::Null), &old), "2024-05-06T07:08:09Z");
    }

    #[test]
    fn rules() {
        let told = |spec: Value| {
            let mut errors = ErrorList::new();
            DeviceTaintRule.validate(&json!({"spec": spec}), &mut errors);
            errors.causes().iter().map(|cause| cause.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(told(child(&DeviceTaintRule.sample(), "spec").clone()), [""; 0]);
        assert_eq!(
            told(
                json!({"deviceSelector": {"driver": "", "pool": "A", "device": "-"}, "taint": {"key": "-", "value": "-"}})
            ),
            [
                "spec.deviceSelector.driver",
                "spec.deviceSelector.pool",
                "spec.deviceSelector.device",
                "spec.taint.key",
                "spec.taint.value",
                "spec.taint.effect",
            ]
        );
    }
}
