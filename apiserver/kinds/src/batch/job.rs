//! Job.

use api_machinery::{ErrorList, GroupResource, Value, object, time};
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::at::{At, IMMUTABLE, child, is_empty, same};
use crate::list::{apps_workload as workload, batch_job_spec as job_spec};
use crate::{Kind, cells, selectors};

pub(crate) struct Job;

const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

impl Kind for Job {
    fn resource(&self) -> GroupResource {
        GroupResource::new("batch", "jobs")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"template": {"spec": {"restartPolicy": "Never",
                                              "containers": [{"name": "c", "image": "registry.example/x:1"}]}}}})
    }
    fn default(&self, object: &mut Value) {
        workload::default_template(object);
        if let Some(spec) = object.get_mut("spec") {
            job_spec::default(spec);
        }
        let labels = child(object, "spec.template.metadata.labels").clone();
        if is_empty(child(object, "metadata.labels")) && !is_empty(&labels) {
            object::meta_mut(object).insert("labels".to_owned(), labels);
        }
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        generate_selector(object);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_generated(&root, &spec, errors);
        let selector = spec.field("selector");
        if !selector.present() {
            selector.required(errors, "");
        } else {
            selectors::label_selector(&selector, errors);
        }
        let labels = spec.field("template.metadata.labels");
        let selected = selector.present() && selectors::takes(selector.value, labels.value);
        selectors::template_is_selected(&labels, selected, errors);
        job_spec::validate(&spec, errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (spec, old_spec) = (root.field("spec"), child(old, "spec"));
        for field in
            ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
        {
            let at = spec.field(field);
            if !same(at.value, child(old_spec, field)) {
                at.invalid(errors, IMMUTABLE);
            }
        }
        validate_completions(&spec, old_spec, errors);
        let template = spec.field("template");
        if !same_template(template.value, old) {
            template.invalid(errors, IMMUTABLE);
        }
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "status.successful").then(|| cells::int(object, "status.succeeded").to_string())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let [names, images, selector] = workload::wide_cells(object);
        Some(vec![
            cells::name(object),
            status(object).into(),
            completions(object).into(),
            duration(object, now).into(),
            cells::age(object, now),
            names,
            images,
            selector,
        ])
    }
}

fn is_manual(object: &Value) -> bool {
    child(object, "spec.manualSelector") == &Value::Bool(true)
}

/// Pods of a job are found by its uid. Labels of the job that are the template's get the same additions.
fn generate_selector(object: &mut Value) {
    if is_manual(object) || !object["spec"].is_object() {
        return;
    }
    let (uid, name) = (object::uid(object).to_owned(), object::name(object).to_owned());
    let own = child(object, "metadata.labels").clone();
    let shared = !is_empty(&own) && own == *child(object, "spec.template.metadata.labels");
    let mut add = |path: [&str; 4], keys: &[&str], value: &str| {
        let mut place = &mut *object;
        for field in path.into_iter().filter(|field| !field.is_empty()) {
            if !place[field].is_object() {
                place[field] = Value::Object(Map::new());
            }
            place = &mut place[field];
        }
        if let Some(map) = place.as_object_mut() {
            for key in keys {
                map.entry(*key).or_insert_with(|| value.into());
            }
        }
    };
    let template = ["spec", "template", "metadata", "labels"];
    add(template, &UID_LABELS, &uid);
    add(template, &NAME_LABELS, &name);
    if shared {
        add(["metadata", "labels", "", ""], &UID_LABELS, &uid);
        add(["metadata", "labels", "", ""], &NAME_LABELS, &name);
    }
    add(["spec", "selector", "matchLabels", ""], &UID_LABELS[..1], &uid);
}

fn validate_generated(root: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if is_manual(root.value) {
        return;
    }
    let uid = object::uid(root.value);
    let selector = spec.field("selector");
    let expected = json!({"matchLabels": {UID_LABELS[0]: uid}});
    let legacy = json!({"matchLabels": {UID_LABELS[1]: uid}});
    if !same(selector.value, &expected) && !same(selector.value, &legacy) {
        selector.invalid(errors, "`selector` not auto-generated");
    }
    let labels = spec.field("template.metadata.labels");
    for key in UID_LABELS {
        let label = labels.key(key);
        if label.present() && label.str() != uid {
            errors.invalid(&labels.path(), label.value, &format!("must be '{uid}'"));
        }
    }
}

/// The number of an indexed job may change together with its parallelism.
fn validate_completions(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let at = spec.field("completions");
    if same(at.value, child(old, "completions")) {
        return;
    }
    let indexed = spec.field("completionMode").str() == "Indexed";
    if !indexed {
        return at.invalid(errors, IMMUTABLE);
    }
    if at.int() != spec.field("parallelism").int() {
        at.invalid(errors, "can only be modified in tandem with spec.parallelism");
    }
}

/// A suspended job that never started may be given other scheduling directives.
fn same_template(new: &Value, old: &Value) -> bool {
    let old_template = child(old, "spec.template");
    let suspended = child(old, "spec.suspend") == &Value::Bool(true) && child(old, "status.startTime").is_null();
    if !suspended {
        return same(new, old_template);
    }
    let stripped = |template: &Value| {
        let mut template = template.clone();
        if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
            for field in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
                spec.remove(field);
            }
        }
        template.as_object_mut().map(|template| template.remove("metadata"));
        template
    };
    same(&stripped(new), &stripped(old_template))
}

fn status(object: &Value) -> &'static str {
    let has = |kind: &str| cells::condition_true(object, kind);
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if object::deletion_timestamp(object).is_some() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(object: &Value) -> String {
    let succeeded = cells::int(object, "status.succeeded");
    if let Some(wanted) = child(object, "spec.completions").as_i64() {
        return format!("{succeeded}/{wanted}");
    }
    match cells::int(object, "spec.parallelism") {
        parallelism if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    }
}

fn duration(object: &Value, now: Timestamp) -> String {
    let at = |field: &str| time::parse(object::str_at(child(object, "status"), field));
    let Some(start) = at("startTime") else { return String::new() };
    let end = at("completionTime").unwrap_or(now);
    time::human_duration(end.as_second() - start.as_second())
}
