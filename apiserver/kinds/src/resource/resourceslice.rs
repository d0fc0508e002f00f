//! ResourceSlice.

use api_machinery::quote::quoted;
use api_machinery::{ErrorList, GroupResource, Value, names, object, time};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{ABOVE_ZERO, At, child};
use crate::list::core_volume_source::validate_driver_name;
use crate::list::{
    core_affinity as affinity, core_internal_json as internal, resource_immutable as immutable,
    resource_slice_devices as slice_devices,
};
use crate::{Kind, cells, meta};

pub(crate) struct ResourceSlice;

/// Bytes of the name of a pool.
const MAX_POOL: usize = 253;

impl Kind for ResourceSlice {
    fn resource(&self) -> GroupResource {
        GroupResource::new("resource.k8s.io", "resourceslices")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "x"},
               "spec": {"driver": "d.example.com", "nodeName": "n",
                        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d0"}]}})
    }
    /// A taint is there since the slice is, if nobody says since when.
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        let created = child(object, "metadata.creationTimestamp").clone();
        date_taints(object, &created);
    }
    /// In an update a taint that says no time is a new one.
    fn stamp(&self, object: &mut Value, _old: &Value, now: Timestamp) {
        date_taints(object, &time::seconds(now).into());
    }
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        !immutable::means_the_same(child(object, "spec"), child(old, "spec"))
    }
    /// Of an update, what there was before counts as well.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_spec(object, &Value::Null, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validate_spec(object, child(old, "spec"), errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let driver = object::str_at(object, "spec.driver");
        if driver == driver.to_lowercase() {
            return Vec::new();
        }
        let shown = quoted(driver);
        vec![format!("spec.driver: driver names should be lowercase; {shown} contains uppercase characters")]
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        matches!(field, "spec.nodeName" | "spec.driver").then(|| object::str_at(object, field).to_owned())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let pool = cells::text(object, "spec.pool.name");
        let (node, driver) = (cells::text_or(object, "spec.nodeName", "<unset>"), cells::text(object, "spec.driver"));
        Some(vec![cells::name(object), node, driver, pool, cells::age(object, now)])
    }
}

/// Gives taints without a time this one.
fn date_taints(object: &mut Value, time: &Value) {
    let devices = object.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        let taints = device.get_mut("taints").and_then(Value::as_array_mut);
        for taint in taints.into_iter().flatten().filter(|taint| taint.is_object()) {
            if child(taint, "timeAdded").is_null() {
                taint["timeAdded"] = time.clone();
            }
        }
    }
}

/// `old`: the spec before, null when there was none.
fn validate_spec(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    validate_driver_name(&spec.field("driver"), errors);
    validate_pool(&spec.field("pool"), errors);
    for field in ["pool.name", "driver", "nodeName"].into_iter().filter(|_| !old.is_null()) {
        spec.field(field).unchanged(errors, child(old, field));
    }
    validate_nodes(&spec, errors);
    if spec.field("sharedCounters").present() && spec.field("devices").present() {
        let shown = Value::from("");
        errors.invalid(&spec.path(), &shown, "only one of `sharedCounters` or `devices` is allowed");
    }
    slice_devices::validate(&spec, old, errors);
}

/// Subdomains with slashes between them.
pub(crate) fn validate_pool_name(name: &At<'_>, errors: &mut ErrorList) {
    if !name.need(errors) {
        return;
    }
    if name.str().len() > MAX_POOL {
        name.too_long(errors, MAX_POOL);
    }
    for part in name.str().split('/') {
        for message in names::dns1123_subdomain(part) {
            errors.invalid(&name.path(), &Value::from(part), &message);
        }
    }
}

fn validate_pool(pool: &At<'_>, errors: &mut ErrorList) {
    validate_pool_name(&pool.field("name"), errors);
    let count = pool.field("resourceSliceCount");
    if count.int().unwrap_or(0) <= 0 {
        errors.invalid(&count.path(), &Value::from(count.int().unwrap_or(0)), ABOVE_ZERO);
    }
    pool.field("generation").at_least(errors, 0, "must be greater than or equal to zero");
}

/// Where the devices can be used: said in one of four ways.
fn validate_nodes(spec: &At<'_>, errors: &mut ErrorList) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut set = Vec::new();
    let (node, selector) = (spec.field("nodeName"), spec.field("nodeSelector"));
    if !node.is_empty() {
        set.push("`nodeName`");
        node.format(errors, names::dns1123_subdomain);
    } else if node.present() {
        node.invalid(errors, "must be either unset or set to a non-empty string");
    }
    if selector.present() {
        set.push("`nodeSelector`");
        affinity::validate_node_selector(&selector, errors);
        let terms = selector.field("nodeSelectorTerms");
        if terms.list().len() != 1 {
            let shown: Vec<String> =
                terms.list().iter().map(|term| internal::shown("NodeSelectorTerm", term)).collect();
            let shown = if shown.is_empty() { terms.value.to_string() } else { format!("[{}]", shown.join(",")) };
            errors.invalid_omitted(&terms.path(), &format!("{shown}: must have exactly one node selector term"));
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        let flag = spec.field(field);
        if flag.flag() {
            set.push(shown);
        } else if flag.present() {
            flag.invalid(errors, "must be either unset or set to true");
        }
    }
    match set.len() {
        0 => spec.required(errors, ONE),
        1 => {}
        _ => {
            let shown = Value::from(format!("{{{}}}", set.join(", ")));
            errors.invalid(&spec.path(), &shown, &format!("{ONE}, but multiple fields are set"));
        }
    }
}
