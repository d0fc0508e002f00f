//! Job.

use api_machinery::{ErrorList, GroupResource, Value, names, object, time};
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::at::{At, child, is_empty};
use crate::list::{
    apps_workload as workload, batch_job_spec as job_spec, batch_job_status as job_status,
    batch_job_update as job_update,
};
use crate::{Kind, cells, meta, selectors};

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
        default_labels(object);
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        generate_selector(object);
        // Those that the template has only now.
        default_labels(object);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_job(&At::root(object), true, errors);
        }
    }
    /// Upstream looks at the metadata of a changed one as if it was new, and at the spec once more when it compares it.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        meta::validate(self, object, true, errors);
        validate_job(&At::root(object), has_prefixed_labels(old), errors);
        validate_spec(&At::root(object).field("spec"), errors);
        job_update::validate(object, old, errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        job_status::validate(object, old, errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        if !meta::is_new(object) {
            return Vec::new();
        }
        let mut warnings = workload::name_warnings(object);
        warnings.extend(job_spec::warnings(&At::root(object).field("spec")));
        warnings
    }
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        if object::generation(object) == object::generation(old) {
            return Vec::new();
        }
        job_spec::warnings(&At::root(object).field("spec"))
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

/// A job without labels has those of its pods.
fn default_labels(object: &mut Value) {
    let labels = child(object, "spec.template.metadata.labels").clone();
    if is_empty(child(object, "metadata.labels")) && !is_empty(&labels) {
        object::meta_mut(object).insert("labels".to_owned(), labels);
    }
}

/// Whether pods of a job have the labels that came later.
fn has_prefixed_labels(job: &Value) -> bool {
    let labels = child(job, "spec.template.metadata.labels");
    [UID_LABELS[0], NAME_LABELS[0]].iter().all(|key| labels.get(*key).is_some())
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

/// `prefixed`: whether the labels that came later must be there.
fn validate_job(root: &At<'_>, prefixed: bool, errors: &mut ErrorList) {
    let spec = root.field("spec");
    validate_generated(root, &spec, prefixed, errors);
    validate_spec(&spec, errors);
    validate_host_names(root, &spec, errors);
}

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    job_spec::validate(spec, errors);
    let selector = spec.field("selector");
    if selector.present() {
        selectors::label_selector(&selector, errors);
    } else {
        selector.required(errors, "");
    }
    let labels = spec.field("template.metadata.labels");
    let selected = selector.present() && selectors::takes(selector.value, labels.value);
    workload::validate_selected(&labels, selected, errors);
}

/// What the server adds so that a job finds its own pods and no others must be there as it was added.
fn validate_generated(root: &At<'_>, spec: &At<'_>, prefixed: bool, errors: &mut ErrorList) {
    let selector = spec.field("selector");
    if is_manual(root.value) || !selector.present() {
        return;
    }
    let (uid, name) = (object::uid(root.value), object::name(root.value));
    let template = spec.field("template");
    let (metadata, empty) = (template.field("metadata"), Value::Object(Map::new()));
    let labels = metadata.field("labels");
    let shown = if labels.present() { labels.value } else { &empty };
    let all = [(UID_LABELS[1], uid), (NAME_LABELS[1], name), (UID_LABELS[0], uid), (NAME_LABELS[0], name)];
    let expected = if prefixed { &all[..] } else { &all[..2] };
    for (key, value) in expected {
        let label = labels.key(key);
        let detail = format!("must be '{value}'");
        if !label.present() {
            label.required(errors, &detail);
        } else if label.str() != *value {
            errors.invalid(&label.path(), shown, &detail);
        }
    }
    let expected: Map<String, Value> =
        expected.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
    if !selectors::takes(selector.value, &Value::Object(expected)) {
        workload::invalid_selector(&selector, "`selector` not auto-generated", errors);
    }
}

/// Pods of an indexed job are hosts named after it.
fn validate_host_names(root: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let completions = spec.field("completions").int().unwrap_or(0);
    if spec.field("completionMode").str() != "Indexed" || completions <= 0 {
        return;
    }
    let (metadata, last) = (root.field("metadata"), completions - 1);
    let host = format!("{}-{last}", object::name(root.value));
    if !names::dns1123_label(&host).is_empty() {
        let detail = format!("will not able to create pod with invalid DNS label: {host}");
        metadata.field("name").invalid(errors, &detail);
    }
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
