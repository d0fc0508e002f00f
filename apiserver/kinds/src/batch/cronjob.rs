//! CronJob.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::{apps_workload as workload, batch_cron as cron, batch_job_spec as job_spec, core_pod_default};
use crate::{Kind, cells, meta};

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
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.pointer_mut("/spec/jobTemplate/spec") {
            if let Some(pod) = spec.pointer_mut("/template/spec") {
                core_pod_default::pod_spec(pod);
            }
            job_spec::default_patterns(spec);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_schedule(&spec.field("schedule"), errors);
        spec.field("startingDeadlineSeconds").not_negative(errors);
        validate_zone(&spec.field("timeZone"), errors);
        spec.field("concurrencyPolicy").need_one_of(errors, &["Allow", "Forbid", "Replace"]);
        let job = spec.field("jobTemplate.spec");
        job_spec::validate(&job, errors);
        let (selector, manual) = (job.field("selector"), job.field("manualSelector"));
        if selector.present() {
            workload::invalid_selector(&selector, "`selector` will be auto-generated", errors);
        }
        if manual.flag() {
            errors.not_supported_listed(&manual.path(), manual.value, &["nil", "false"]);
        }
        for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
            spec.field(field).not_negative(errors);
        }
        let name = root.field("metadata.name");
        if meta::is_new(object) && name.str().len() > MAX_NAME {
            name.invalid(errors, &format!("must be no more than {MAX_NAME} characters"));
        }
    }
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        if object::generation(object) != object::generation(old) {
            warnings = job_spec::warnings(&At::root(object).field("spec.jobTemplate.spec"));
        }
        warnings.extend(self.warnings(object));
        warnings
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let root = At::root(object);
        let spec = root.field("spec");
        if meta::is_new(object) {
            let mut warnings = workload::name_warnings(object);
            warnings.extend(job_spec::warnings(&spec.field("jobTemplate.spec")));
            return warnings;
        }
        let zoned = spec.field("schedule").str().contains("TZ").then(|| {
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .to_owned()
        });
        zoned.into_iter().collect()
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

fn validate_schedule(schedule: &At<'_>, errors: &mut ErrorList) {
    if !schedule.need(errors) {
        return;
    }
    if let Err(message) = check_schedule(schedule.str()) {
        schedule.invalid(errors, &message);
    }
    if schedule.str().contains("TZ") {
        schedule.invalid(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
}

/// A zone may stand before the fields, as far as the parser is concerned.
fn check_schedule(schedule: &str) -> Result<(), String> {
    let Some(zoned) = ["TZ=", "CRON_TZ="].iter().find_map(|prefix| schedule.strip_prefix(prefix)) else {
        return cron::check(schedule);
    };
    let Some((zone, fields)) = zoned.split_once(' ') else {
        return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]".to_owned());
    };
    if !zone.is_empty() && zone != "Local" && !is_zone(zone) {
        return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
    }
    cron::check(fields.trim())
}

fn validate_zone(zone: &At<'_>, errors: &mut ErrorList) {
    if !zone.present() {
        return;
    }
    let text = zone.str();
    if text.is_empty() {
        return zone.invalid(errors, "timeZone must be nil or non-empty string");
    }
    let unknown = format!("unknown time zone {text}");
    if !text.split('/').all(is_part_of_zone) {
        return zone.invalid(errors, &unknown);
    }
    if text.eq_ignore_ascii_case("local") {
        zone.invalid(errors, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    if text != "Local" && !is_zone(text) {
        zone.invalid(errors, &unknown);
    }
}

fn is_part_of_zone(part: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b'+');
    (1..=14).contains(&part.len()) && part.bytes().all(inner) && !matches!(part, "." | "..") && !part.starts_with('-')
}

/// Asks the machine's time zone database, to the letter of the name; where there is none, every well-formed name is
/// believed.
fn is_zone(name: &str) -> bool {
    let database = jiff::tz::db();
    let exact = || database.get(name).is_ok_and(|zone| zone.iana_name().is_none_or(|found| found == name));
    name == "UTC" || exact() || database.available().next().is_none()
}
