//! Defaults and validation of job specs: of jobs, and of the template in cron jobs.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::cells;
use crate::list::{
    batch_indexes as indexes, core_internal_json as internal, core_pod_spec as pod_spec,
    core_pod_warnings as pod_warnings,
};

const MAX_INDEXED_PARALLELISM: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
const MAX_OF_MANY: i64 = 10_000;
const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_PATTERNS: usize = 20;
/// Bytes of the name of who manages a job, and of a list of indexes.
const MAX_MANAGER: usize = 63;
const MAX_INDEXES: usize = 64 * 1024;

/// Of jobs; the template of a cron job has only [`default_patterns`], as the rest is its jobs' own.
pub(crate) fn default(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    let unset = |spec: &Value, field: &str| child(spec, field).is_null();
    if unset(spec, "completions") && unset(spec, "parallelism") {
        spec["completions"] = 1.into();
    }
    if unset(spec, "parallelism") {
        spec["parallelism"] = 1.into();
    }
    if unset(spec, "backoffLimit") {
        let limit = if unset(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
        spec["backoffLimit"] = limit.into();
    }
    if unset(spec, "podReplacementPolicy") {
        let failed = !unset(spec, "podFailurePolicy");
        spec["podReplacementPolicy"] = if failed { "Failed" } else { "TerminatingOrFailed" }.into();
    }
    default_patterns(spec);
}

pub(crate) fn default_patterns(spec: &mut Value) {
    let rules = spec.pointer_mut("/podFailurePolicy/rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        for pattern in rule.get_mut("onPodConditions").and_then(Value::as_array_mut).into_iter().flatten() {
            if object::str_at(pattern, "status").is_empty() {
                pattern["status"] = "True".into();
            }
        }
    }
}

pub(crate) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    const COUNTS: [&str; 7] = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    for field in COUNTS {
        spec.field(field).not_negative(errors);
    }
    let limit = spec.field("backoffLimitPerIndex");
    if spec.field("maxFailedIndexes").present() && !limit.present() {
        limit.required(errors, "when maxFailedIndexes is specified");
    }
    let manager = spec.field("managedBy");
    if manager.present() {
        crate::formats::domain_prefixed_path(&manager, errors);
        if manager.str().len() > MAX_MANAGER {
            manager.too_long(errors, MAX_MANAGER);
        }
    }
    let indexed = validate_mode(spec, errors);
    validate_failure_policy(spec, errors);
    validate_success_policy(spec, indexed, errors);
    validate_replacement(spec, errors);
    let template = spec.field("template");
    pod_spec::validate_template(&template, errors);
    let restart = template.field("spec.restartPolicy");
    match restart.str() {
        "" | "Always" => restart.required(errors, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" if spec.field("podFailurePolicy").present() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            restart.invalid(errors, detail);
        }
        "OnFailure" => {}
        _ => restart.unsupported_listed(errors, &["OnFailure", "Never"]),
    }
}

/// A job so large that not all of it may be followed, and its pods.
pub(crate) fn warnings(spec: &At<'_>) -> Vec<String> {
    let count = |field: &str| spec.field(field).int().unwrap_or(0);
    let indexed = spec.field("completionMode").str() == "Indexed";
    let large = indexed && count("completions") > MANY_COMPLETIONS && count("parallelism") > MAX_OF_MANY;
    let of_size = large.then(|| {
        format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path()
        )
    });
    let of_pods = pod_warnings::of_template(&spec.field("template"));
    of_size.into_iter().chain(of_pods).collect()
}

/// Answers whether each of the pods has an index.
fn validate_mode(spec: &At<'_>, errors: &mut ErrorList) -> bool {
    let mode = spec.field("completionMode");
    if mode.present() && !["NonIndexed", "Indexed"].contains(&mode.str()) {
        mode.unsupported_listed(errors, &["NonIndexed", "Indexed"]);
    }
    if mode.str() == "Indexed" {
        validate_indexed(spec, errors);
        return true;
    }
    if !mode.present() || mode.str() == "NonIndexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            let at = spec.field(field);
            if at.present() {
                at.invalid(errors, "requires indexed completion mode");
            }
        }
    }
    false
}

fn validate_indexed(spec: &At<'_>, errors: &mut ErrorList) {
    let (completions, parallelism) = (spec.field("completions"), spec.field("parallelism"));
    let failed = spec.field("maxFailedIndexes");
    if !completions.present() {
        completions.required(errors, "when completion mode is Indexed");
    }
    if parallelism.int().unwrap_or(0) > MAX_INDEXED_PARALLELISM {
        let detail = format!("must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed");
        parallelism.invalid(errors, &detail);
    }
    if let (Some(most), Some(completions)) = (failed.int(), completions.int())
        && most > completions
    {
        failed.invalid(errors, "must be less than or equal to completions");
    }
    if failed.int().is_some_and(|most| most > MAX_FAILED_INDEXES) {
        failed.invalid(errors, &format!("must be less than or equal to {MAX_FAILED_INDEXES}"));
    }
    if completions.int().unwrap_or(0) <= MANY_COMPLETIONS || !spec.field("backoffLimitPerIndex").present() {
        return;
    }
    if !failed.present() {
        failed.required(errors, &format!("must be specified when completions is above {MANY_COMPLETIONS}"));
    }
    for at in [parallelism, failed] {
        if at.int().unwrap_or(0) > MAX_OF_MANY {
            let detail = format!(
                "must be less than or equal to {MAX_OF_MANY} when completions are above {MANY_COMPLETIONS} and used \
                 with backoff limit per index"
            );
            at.invalid(errors, &detail);
        }
    }
}

fn validate_replacement(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.field("podReplacementPolicy");
    let supported: &[&str] =
        if spec.field("podFailurePolicy").present() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    policy.one_of_if_present(errors, supported);
}

fn validate_failure_policy(spec: &At<'_>, errors: &mut ErrorList) {
    let rules = spec.field("podFailurePolicy.rules");
    if rules.list().len() > MAX_RULES {
        rules.too_many(errors, MAX_RULES);
    }
    for rule in rules.items() {
        let action = rule.field("action");
        match action.str() {
            "" => action.required(errors, r#"valid values: ["Count" "FailIndex" "FailJob" "Ignore"]"#),
            "FailIndex" if !spec.field("backoffLimitPerIndex").present() => {
                action.invalid(errors, "requires the backoffLimitPerIndex to be set");
            }
            _ => action.one_of(errors, &["Count", "FailIndex", "FailJob", "Ignore"]),
        }
        let (codes, conditions) = (rule.field("onExitCodes"), rule.field("onPodConditions"));
        if codes.present() {
            validate_exit_codes(&codes, spec.value, errors);
        }
        validate_patterns(&conditions, errors);
        match (codes.present(), !conditions.is_empty()) {
            (true, true) => {
                errors
                    .invalid_omitted(&rule.path(), "specifying both OnExitCodes and OnPodConditions is not supported");
            }
            (false, false) => {
                errors.invalid_omitted(&rule.path(), "specifying one of OnExitCodes and OnPodConditions is required");
            }
            _ => {}
        }
    }
}

fn validate_patterns(conditions: &At<'_>, errors: &mut ErrorList) {
    if conditions.list().len() > MAX_PATTERNS {
        conditions.too_many(errors, MAX_PATTERNS);
    }
    for pattern in conditions.items() {
        pattern.field("type").format(errors, names::qualified_name);
        let status = pattern.field("status");
        if status.is_empty() {
            status.required(errors, r#"valid values: ["False" "True" "Unknown"]"#);
        }
        status.one_of(errors, &["False", "True", "Unknown"]);
    }
}

fn validate_exit_codes(codes: &At<'_>, spec: &Value, errors: &mut ErrorList) {
    let operator = codes.field("operator");
    if operator.is_empty() {
        operator.required(errors, r#"valid values: ["In" "NotIn"]"#);
    }
    operator.one_of(errors, &["In", "NotIn"]);
    let container = codes.field("containerName");
    let all =
        cells::list(spec, "template.spec.containers").iter().chain(cells::list(spec, "template.spec.initContainers"));
    if container.present() && !all.into_iter().any(|one| object::str_at(one, "name") == container.str()) {
        container.invalid(errors, "must be one of the container or initContainer names in the pod template");
    }
    let values = codes.field("values");
    if values.is_empty() {
        values.invalid(errors, "at least one value is required");
    } else if values.list().len() > MAX_EXIT_CODES {
        values.too_many(errors, MAX_EXIT_CODES);
    }
    let mut seen = HashSet::new();
    for value in values.items() {
        let number = value.int().unwrap_or(0);
        if operator.str() == "In" && number == 0 {
            value.invalid(errors, "must not be 0 for the In operator");
        }
        if !seen.insert(number) {
            value.duplicate(errors);
        }
    }
    if !values.list().is_sorted_by_key(|value| value.as_i64()) {
        values.invalid(errors, "must be ordered");
    }
}

fn validate_success_policy(spec: &At<'_>, indexed: bool, errors: &mut ErrorList) {
    let policy = spec.field("successPolicy");
    if !policy.present() {
        return;
    }
    let rules = policy.field("rules");
    if !indexed {
        let shown = internal::shown("SuccessPolicy", policy.value);
        return errors.invalid_printed(&policy.path(), &shown, "requires indexed completion mode");
    }
    if rules.is_empty() {
        rules.required(errors, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.list().len() > MAX_RULES {
        rules.too_many(errors, MAX_RULES);
    }
    let completions = spec.field("completions").int().unwrap_or(0);
    for rule in rules.items() {
        validate_success_rule(&rule, completions, errors);
    }
}

fn validate_success_rule(rule: &At<'_>, completions: i64, errors: &mut ErrorList) {
    let (count, list) = (rule.field("succeededCount"), rule.field("succeededIndexes"));
    if !count.present() && !list.present() {
        rule.required(errors, "at least one of succeededCount or succeededIndexes must be specified");
    }
    if list.str().len() > MAX_INDEXES {
        list.too_long(errors, MAX_INDEXES);
    }
    let total = match indexes::count(list.str(), completions) {
        Ok(total) => total,
        Err(error) => {
            list.invalid(errors, &format!("error parsing succeededIndexes: {error}"));
            0
        }
    };
    count.not_negative(errors);
    let Some(wanted) = count.int() else { return };
    if wanted > completions {
        let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
        count.invalid(errors, &detail);
    }
    if list.present() && wanted > total {
        let detail = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        count.invalid(errors, &detail);
    }
}
