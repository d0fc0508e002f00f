//! DaemonSet.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, same_behind_pointers};
use crate::list::{apps_workload as workload, core_internal_json as internal};
use crate::{Kind, cells, formats, keep_field, meta};

/// Counts changes of the template and belongs to the server: a field of versions before v1 that lives on as an
/// annotation.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub(crate) struct DaemonSet;

impl Kind for DaemonSet {
    fn resource(&self) -> GroupResource {
        GroupResource::new("apps", "daemonsets")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"selector": {"matchLabels": {"a": "b"}},
                        "template": {"metadata": {"labels": {"a": "b"}},
                                     "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}}}})
    }
    fn default(&self, object: &mut Value) {
        workload::default_template(object);
        if object::annotation(object, TEMPLATE_GENERATION).is_none() {
            set_template_generation(object, 0);
        }
        let rolls = object::str_at(object, "spec.updateStrategy.type") == "RollingUpdate";
        if !rolls && !child(object, "spec.updateStrategy.rollingUpdate").is_object() {
            return;
        }
        // Numbers that mean nothing are there all the same: upstream has no unset ones inside.
        let strategy = &mut object["spec"]["updateStrategy"];
        for (field, value) in [("maxUnavailable", i64::from(rolls)), ("maxSurge", 0)] {
            if child(child(strategy, "rollingUpdate"), field).is_null() {
                strategy["rollingUpdate"][field] = value.into();
            }
        }
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        set_template_generation(object, template_generation(object).max(1));
    }
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        keep_field(object, old, "status");
        let changed = !same_behind_pointers(child(object, "spec.template"), child(old, "spec.template"));
        set_template_generation(object, template_generation(old) + i64::from(changed));
    }
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        keep_field(object, old, "spec");
        set_template_generation(object, template_generation(old));
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_spec(&At::root(object).field("spec"), errors);
        }
    }
    /// Here upstream looks first at what may not change.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        workload::validate_selector_unchanged(object, old, errors);
        validate_spec(&At::root(object).field("spec"), errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        const COUNTS: [&str; 9] = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        workload::validate_status_counts(object, &COUNTS, errors);
        workload::validate_collisions(object, old, errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        workload::template_warnings(object)
    }
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        workload::changed_template_warnings(object, old)
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let int = |field: &str| Value::from(cells::int(child(object, "status"), field));
        let [names, images, selector] = workload::wide_cells(object);
        Some(vec![
            cells::name(object),
            int("desiredNumberScheduled"),
            int("currentNumberScheduled"),
            int("numberReady"),
            int("updatedNumberScheduled"),
            int("numberAvailable"),
            cells::labels(child(object, "spec.template.spec.nodeSelector")).into(),
            cells::age(object, now),
            names,
            images,
            selector,
        ])
    }
}

/// How often the template changed, or was new; what is no number counts as never.
fn template_generation(object: &Value) -> i64 {
    object::annotation(object, TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn set_template_generation(object: &mut Value, generation: i64) {
    let annotations = object::meta_mut(object).entry("annotations").or_insert(Value::Null);
    annotations[TEMPLATE_GENERATION] = generation.to_string().into();
}

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    workload::validate_selector(spec, "daemonset", false, errors);
    workload::validate_template_selected(spec, errors);
    workload::validate_template(spec, "DaemonSet", errors);
    spec.field("minReadySeconds").not_negative(errors);
    validate_strategy(&spec.field("updateStrategy"), errors);
    spec.field("revisionHistoryLimit").not_negative(errors);
}

fn validate_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    let rolling = strategy.field("rollingUpdate");
    match object::str_at(strategy.value, "type") {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.present() => rolling.required(errors, ""),
        "RollingUpdate" => validate_rolling(&rolling, errors),
        _ => {
            let shown = internal::shown("DaemonSetUpdateStrategy", strategy.value);
            errors.not_supported_printed(&strategy.path(), &shown, &["RollingUpdate", "OnDelete"]);
        }
    }
}

fn validate_rolling(rolling: &At<'_>, errors: &mut ErrorList) {
    let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
    for check in [formats::count_or_percent, formats::at_most_100_percent] {
        check(&unavailable, errors);
        check(&surge, errors);
    }
    match (workload::is_zero(unavailable.value), workload::is_zero(surge.value)) {
        (true, true) => unavailable.required(errors, "cannot be 0 when maxSurge is 0"),
        (false, false) => surge.invalid(errors, "may not be set when maxUnavailable is non-zero"),
        _ => {}
    }
}
