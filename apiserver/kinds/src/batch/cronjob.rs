//! CronJob.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::{batch_cron as cron, batch_job_spec as job_spec, core_pod_default};
use crate::{Kind, cells};

/// The controller appends 11 characters to make names of jobs.
const MAX_NAME: usize = 52;

pub(crate) struct CronJob;

impl Kind for CronJob {
    fn resource(&self) -> GroupResource {
        GroupResource::new("batch", "cronjobs")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": {"spec": {
                   "restartPolicy": "Never", "containers": [{"name": "c", "image": "registry.example/x:1"}]}}}}}})
    }
    fn validate_name(&self, name: &str) -> Vec<String> {
        let mut messages = names::dns1123_subdomain(name);
        if messages.is_empty() && name.len() > MAX_NAME {
            messages.push(format!("must be no more than {MAX_NAME} characters"));
        }
        messages
    }
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.pointer_mut("/spec/jobTemplate/spec") {
            if let Some(pod) = spec.pointer_mut("/template/spec") {
                core_pod_default::pod_spec(pod);
            }
            job_spec::default(spec);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_schedule(&spec, errors);
        for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
            spec.field(field).not_negative(errors);
        }
        spec.field("concurrencyPolicy").need_one_of(errors, &["Allow", "Forbid", "Replace"]);
        let job = spec.field("jobTemplate.spec");
        let (selector, manual) = (job.field("selector"), job.field("manualSelector"));
        if selector.present() {
            selector.invalid(errors, "`selector` will be auto-generated");
        }
        if manual.flag() {
            errors.not_supported(&manual.path(), manual.value, &["nil", "false"]);
        }
        job_spec::validate(&job, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let last = object::str_at(object, "status.lastScheduleTime");
        let job = child(object, "spec.jobTemplate");
        let [names, images] = cells::containers(job, "spec.template.spec");
        Some(vec![
            cells::name(object),
            cells::text(object, "spec.schedule"),
            cells::text_or(object, "spec.timeZone", "<none>"),
            cells::flag(child(object, "spec.suspend")),
            cells::len(object, "status.active").into(),
            if last.is_empty() { "<none>".into() } else { cells::since(last, now).into() },
            cells::age(object, now),
            names,
            images,
            cells::selector(child(job, "spec.selector")).into(),
        ])
    }
}

fn validate_schedule(spec: &At<'_>, errors: &mut ErrorList) {
    let (schedule, zone) = (spec.field("schedule"), spec.field("timeZone"));
    if schedule.is_empty() {
        schedule.required(errors, "");
    } else if schedule.str().contains("TZ") {
        schedule.invalid(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if let Err(message) = cron::check(schedule.str()) {
        schedule.invalid(errors, &message);
    }
    if !zone.present() {
        return;
    }
    if zone.str().is_empty() {
        zone.invalid(errors, "timeZone must be nil or non-empty string");
    } else if zone.str().eq_ignore_ascii_case("local") {
        zone.invalid(errors, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    } else if !is_zone(zone.str()) {
        zone.invalid(errors, &format!("unknown time zone {}", zone.str()));
    }
}

/// Asks the machine's time zone database; where there is none, every well-formed name is believed.
fn is_zone(name: &str) -> bool {
    let well_formed = !name.starts_with('/') && !name.split('/').any(|part| part.is_empty() || part == "..");
    let database = jiff::tz::db();
    well_formed && (name == "UTC" || database.get(name).is_ok() || database.available().next().is_none())
}
