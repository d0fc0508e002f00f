//! What may be said of a job's progress. Most rules are asked only where what they are about changes, as a spec that
//! changed a moment ago may contradict a status that was right.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, object, time};

use crate::at::{At, child, same};
use crate::cells;
use crate::list::batch_indexes as indexes;

pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let status = root.field("status");
    let change = Change { object, old };
    validate_numbers(&status, errors);
    validate_uncounted(&status, errors);
    validate_ends(&status, &change, errors);
    validate_finished(&status, &change, errors);
    validate_indexes(&status, &change, errors);
    validate_pods(&status, &change, errors);
    validate_criteria(&status, &change, errors);
    validate_transition(&status, &change, errors);
}

struct Change<'v> {
    object: &'v Value,
    old: &'v Value,
}

impl Change<'_> {
    fn of(&self, field: &str) -> bool {
        let path = format!("status.{field}");
        !same(child(self.object, &path), child(self.old, &path))
    }
    /// Whether there are failed indexes: to say that there are none is not to say nothing.
    fn of_failed_indexes(&self) -> bool {
        child(self.object, "status.failedIndexes") != child(self.old, "status.failedIndexes")
    }
    fn of_condition(&self, kind: &str) -> bool {
        self.is(kind) != self.was(kind)
    }
    fn of_end(&self) -> bool {
        self.is_finished() != (self.was("Complete") || self.was("Failed"))
    }
    fn is(&self, kind: &str) -> bool {
        cells::condition_true(self.object, kind)
    }
    fn was(&self, kind: &str) -> bool {
        cells::condition_true(self.old, kind)
    }
    fn is_finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }
    fn is_indexed(&self) -> bool {
        object::str_at(self.object, "spec.completionMode") == "Indexed"
    }
    fn completions(&self) -> Option<i64> {
        child(self.object, "spec.completions").as_i64()
    }
    fn count(&self, field: &str) -> i64 {
        cells::int(self.object, &format!("status.{field}"))
    }
}

fn wrong_conditions(status: &At<'_>, errors: &mut ErrorList, detail: &str) {
    errors.invalid_omitted(&status.field("conditions").path(), detail);
}

fn validate_numbers(status: &At<'_>, errors: &mut ErrorList) {
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        status.field(field).not_negative(errors);
    }
}

fn validate_uncounted(status: &At<'_>, errors: &mut ErrorList) {
    let uncounted = status.field("uncountedTerminatedPods");
    let mut seen = HashSet::new();
    for list in ["succeeded", "failed"] {
        for uid in uncounted.field(list).items() {
            if uid.is_empty() {
                uid.invalid(errors, "must not be empty");
            } else if !seen.insert(uid.str().to_owned()) {
                uid.duplicate(errors);
            }
        }
    }
}

/// Conditions of an end against each other, and against the times.
fn validate_ends(status: &At<'_>, change: &Change<'_>, errors: &mut ErrorList) {
    let completed = change.of_condition("Complete");
    if change.is("Complete") && change.is("Failed") && (completed || change.of_condition("Failed")) {
        wrong_conditions(status, errors, "cannot set Complete=True and Failed=true conditions");
    }
    if change.is("Complete") && change.is("FailureTarget") && (completed || change.of_condition("FailureTarget")) {
        wrong_conditions(status, errors, "cannot set Complete=True and FailureTarget=true conditions");
    }
    let (end, start) = (status.field("completionTime"), status.field("startTime"));
    if completed || change.of("completionTime") {
        match (end.present(), change.is("Complete")) {
            (true, false) => {
                end.invalid(errors, "cannot set completionTime when there is no Complete=True condition");
            }
            (false, true) => end.required(errors, "completionTime is required for Complete jobs"),
            _ => {}
        }
    }
    let changed = change.of("startTime") || change.of("completionTime");
    if changed
        && let (Some(start), Some(last)) = (time::parse(start.str()), time::parse(end.str()))
        && last < start
    {
        end.invalid(errors, "must be equal to or after `startTime`");
    }
    let failed = change.of_condition("Failed") || change.of_failed_indexes();
    if failed && change.is("Failed") && !change.is("FailureTarget") {
        wrong_conditions(status, errors, "cannot set Failed=True condition without the FailureTarget=true condition");
    }
    let met = completed || change.of_condition("SuccessCriteriaMet");
    if met && change.is("Complete") && !change.is("SuccessCriteriaMet") {
        let detail = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        wrong_conditions(status, errors, detail);
    }
}

fn validate_finished(status: &At<'_>, change: &Change<'_>, errors: &mut ErrorList) {
    if !change.is_finished() {
        return;
    }
    if (change.of_end() || change.of("active")) && change.count("active") > 0 {
        status.field("active").invalid(errors, "active>0 is invalid for finished job");
    }
    let start = status.field("startTime");
    let nothing_to_do = child(change.object, "spec.suspend") == &Value::Bool(true) && change.completions() == Some(0);
    if (change.of_end() || change.of("startTime")) && !nothing_to_do && !start.present() {
        start.required(errors, "startTime is required for finished job");
    }
    let uncounted = status.field("uncountedTerminatedPods");
    let some = ["failed", "succeeded"].iter().any(|list| !uncounted.field(list).is_empty());
    if (change.of_end() || change.of("uncountedTerminatedPods")) && some {
        // As upstream shows it, whose own fields have other names.
        let (succeeded, failed) = (uncounted.field("succeeded"), uncounted.field("failed"));
        let shown = format!(r#"{{"Succeeded":{},"Failed":{}}}"#, succeeded.value, failed.value);
        errors.invalid_omitted(&uncounted.path(), &format!("{shown}: must be empty for finished job"));
    }
}

fn validate_indexes(status: &At<'_>, change: &Change<'_>, errors: &mut ErrorList) {
    let (done, failed) = (status.field("completedIndexes"), status.field("failedIndexes"));
    let (done_changed, failed_changed) = (change.of("completedIndexes"), change.of_failed_indexes());
    let per_index = !child(change.object, "spec.backoffLimitPerIndex").is_null();
    for (at, name, asked) in
        [(&done, "completedIndexes", done_changed), (&failed, "failedIndexes", failed_changed && per_index)]
    {
        if asked
            && let Some(completions) = change.completions()
            && let Err(error) = indexes::count(at.str(), completions)
        {
            at.invalid(errors, &format!("error parsing {name}: {error}"));
        }
    }
    if done_changed && !done.is_empty() && !change.is_indexed() {
        done.invalid(errors, "cannot set non-empty completedIndexes when non-indexed completion mode");
    }
    if failed_changed && !per_index && failed.present() {
        failed.invalid(errors, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if (done_changed || failed_changed)
        && failed.present()
        && let Some(completions) = change.completions()
        && let Some(index) = indexes::overlap(done.str(), failed.str(), completions)
    {
        failed.invalid(errors, &format!("failedIndexes and completedIndexes overlap at index: {index}"));
    }
}

fn validate_pods(status: &At<'_>, change: &Change<'_>, errors: &mut ErrorList) {
    if (change.of_end() || change.of("terminating")) && change.is_finished() && change.count("terminating") > 0 {
        status.field("terminating").invalid(errors, "terminating>0 is invalid for finished job");
    }
    let (ready, changed) = (status.field("ready"), change.of("ready") || change.of("active"));
    if changed && ready.present() && change.count("ready") > change.count("active") {
        ready.invalid(errors, "cannot set more ready pods than active");
    }
}

fn validate_criteria(status: &At<'_>, change: &Change<'_>, errors: &mut ErrorList) {
    let met = change.is("SuccessCriteriaMet");
    for (other, detail) in [
        ("Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        ("FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
    ] {
        if met && change.is(other) {
            wrong_conditions(status, errors, detail);
        }
    }
    if !child(change.object, "spec.successPolicy").is_null() && !met && change.is("Complete") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        wrong_conditions(status, errors, detail);
    }
}

/// What was said once is not taken back.
fn validate_transition(status: &At<'_>, change: &Change<'_>, errors: &mut ErrorList) {
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if change.was(kind) && !change.is(kind) {
            wrong_conditions(status, errors, &format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    let scales =
        change.is_indexed() && same(child(change.object, "spec.completions"), child(change.object, "spec.parallelism"));
    for (field, may_shrink) in [("failed", false), ("succeeded", scales)] {
        if !may_shrink && change.count(field) < cells::int(change.old, &format!("status.{field}")) {
            let shown = change.count(field).into();
            errors.invalid(&status.field(field).path(), &shown, &format!("cannot decrease the {field} counter"));
        }
    }
    let end = status.field("completionTime");
    if end.present() && !child(change.old, "status.completionTime").is_null() && change.of("completionTime") {
        end.invalid(errors, crate::at::IMMUTABLE);
    }
    validate_start(status, change, errors);
    if change.was("SuccessCriteriaMet") && !change.is("SuccessCriteriaMet") {
        wrong_conditions(status, errors, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if change.was("Complete") && !change.was("SuccessCriteriaMet") && change.is("SuccessCriteriaMet") {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        wrong_conditions(status, errors, detail);
    }
}

/// A job starts again only when it is resumed.
fn validate_start(status: &At<'_>, change: &Change<'_>, errors: &mut ErrorList) {
    let resumes = change.was("Suspended")
        && cells::condition(change.object, "Suspended")
            .is_some_and(|condition| object::str_at(condition, "status") == "False");
    let runs = child(change.object, "spec.suspend") != &Value::Bool(true);
    let had = !child(change.old, "status.startTime").is_null();
    if had && change.of("startTime") && runs && !resumes {
        status.field("startTime").invalid(errors, "field is immutable for unsuspended job once set");
    }
}
