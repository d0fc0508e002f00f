//! CSIDriver.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, is_empty, same};
use crate::{Kind, cells};

pub(crate) struct CSIDriver;

/// Seconds a token may live at least and at most.
const TOKEN_SECONDS: (i64, i64) = (600, 1 << 32);
const MODES: [&str; 2] = ["Persistent", "Ephemeral"];
/// Seconds between two counts of what can still be attached.
const MIN_UPDATE_PERIOD: i64 = 10;

impl Kind for CSIDriver {
    fn resource(&self) -> GroupResource {
        GroupResource::new("storage.k8s.io", "csidrivers")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "x.example.com"}, "spec": {}})
    }
    /// Changes of the spec are counted from the first one on: a new driver has no generation.
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        object::meta_mut(object).remove("generation");
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        // The first name is upstream's own spelling.
        for (field, called) in [
            ("attachRequired", "attachedRequired"),
            ("podInfoOnMount", "podInfoOnMount"),
            ("storageCapacity", "storageCapacity"),
        ] {
            if !spec.field(field).present() {
                spec.field(called).required(errors, "");
            }
        }
        spec.field("fsGroupPolicy").one_of_if_present(errors, &["File", "None", "ReadWriteOnceWithFSType"]);
        let mut seen = HashSet::new();
        for request in spec.field("tokenRequests").items() {
            let audience = object::str_at(request.value, "audience");
            if !seen.insert(audience) {
                let at = request.field("audience");
                errors.duplicate(&at.path(), &Value::from(audience));
                continue;
            }
            let seconds = request.field("expirationSeconds");
            seconds.at_least(errors, TOKEN_SECONDS.0, "may not specify a duration less than 10 minutes");
            if seconds.int().is_some_and(|value| value > TOKEN_SECONDS.1) {
                seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
            }
        }
        let modes = spec.field("volumeLifecycleModes");
        for mode in modes.items() {
            if !MODES.contains(&mode.str()) {
                modes.with(mode.value).unsupported_listed(errors, &MODES);
            }
        }
        if !spec.field("seLinuxMount").present() {
            spec.field("seLinuxMount").required(errors, "");
        }
        let period = spec.field("nodeAllocatableUpdatePeriodSeconds");
        period.at_least(errors, MIN_UPDATE_PERIOD, "must be greater than or equal to 10 seconds");
        let in_secrets = spec.field("serviceAccountTokenInSecrets");
        if in_secrets.present() && spec.field("tokenRequests").is_empty() {
            in_secrets.invalid(errors, "serviceAccountTokenInSecrets is set but no tokenRequests are specified");
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let old = child(old, "spec");
        // The first path is upstream's own spelling.
        for (field, path) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            let at = spec.field(path).with(child(spec.value, field));
            if !same(at.value, child(old, field)) {
                at.invalid(errors, IMMUTABLE);
            }
        }
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let spec = child(object, "spec");
        let in_secrets = child(spec, "serviceAccountTokenInSecrets");
        if is_empty(child(spec, "tokenRequests")) || !in_secrets.is_null() {
            return Vec::new();
        }
        vec![
            "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
             possible logging of tokens in volume attributes"
                .to_owned(),
        ]
    }
    /// Of one whose requests of tokens stay as they were nothing is told.
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let path = "spec.tokenRequests";
        if same(child(object, path), child(old, path)) { Vec::new() } else { self.warnings(object) }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let flag = |field: &str| (child(child(object, "spec"), field) == &Value::Bool(true)).into();
        let or_unset = |text: String| if text.is_empty() { Value::from("<unset>") } else { text.into() };
        let audiences = cells::joined_field(cells::list(object, "spec.tokenRequests"), "audience");
        let modes = cells::joined(object, "spec.volumeLifecycleModes", ",");
        Some(vec![
            cells::name(object),
            flag("attachRequired"),
            flag("podInfoOnMount"),
            flag("storageCapacity"),
            or_unset(audiences),
            flag("requiresRepublish"),
            if modes.is_empty() { "<none>".into() } else { modes.into() },
            cells::age(object, now),
        ])
    }
}
