//! Defaults and validation of job specs: of jobs, and of the template in cron jobs.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::cells;
use crate::list::core_pod_spec as pod_spec;

const MAX_INDEXED_PARALLELISM: i64 = 100_000;
const MANY_COMPLETIONS: i64 = 100_000;
const MAX_FAILED_OF_MANY: i64 = 10_000;
const MAX_RULES: usize = 20;

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
    let conditions = spec.pointer_mut("/podFailurePolicy/rules").and_then(Value::as_array_mut);
    for rule in conditions.into_iter().flatten() {
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
    let indexed = validate_mode(spec, errors);
    validate_per_index(spec, indexed, errors);
    validate_failure_policy(spec, errors);
    validate_success_policy(spec, indexed, errors);
    validate_replacement(spec, errors);
    spec.field("managedBy").format_if_set(errors, crate::formats::domain_prefixed_path);
    let template = spec.field("template");
    pod_spec::validate_template(&template, errors);
    let restart = template.field("spec.restartPolicy");
    match restart.str() {
        "Never" => {}
        "OnFailure" if spec.field("podFailurePolicy").present() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            restart.invalid(errors, detail);
        }
        "OnFailure" => {}
        "" | "Always" => restart.required(errors, "valid values: \"OnFailure\", \"Never\""),
        _ => restart.unsupported(errors, &["OnFailure", "Never"]),
    }
}

fn validate_mode(spec: &At<'_>, errors: &mut ErrorList) -> bool {
    let (mode, completions, parallelism) =
        (spec.field("completionMode"), spec.field("completions"), spec.field("parallelism"));
    mode.one_of(errors, &["Indexed", "NonIndexed"]);
    let indexed = mode.str() == "Indexed";
    if !indexed {
        return false;
    }
    if !completions.present() {
        completions.required(errors, "when completion mode is Indexed");
    }
    if parallelism.int().unwrap_or(0) > MAX_INDEXED_PARALLELISM {
        let detail = format!("must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed");
        parallelism.invalid(errors, &detail);
    }
    true
}

fn validate_per_index(spec: &At<'_>, indexed: bool, errors: &mut ErrorList) {
    let (limit, most) = (spec.field("backoffLimitPerIndex"), spec.field("maxFailedIndexes"));
    if limit.present() && !indexed {
        limit.invalid(errors, "requires indexed completion mode");
    }
    if most.present() && !limit.present() {
        limit.required(errors, "when maxFailedIndexes is specified");
    }
    let completions = spec.field("completions").int();
    if let (Some(failed), Some(completions)) = (most.int(), completions)
        && failed > completions
    {
        most.invalid(errors, &format!("must be less than or equal to {completions}"));
    }
    if !limit.present() || completions.unwrap_or(0) <= MANY_COMPLETIONS {
        return;
    }
    let bound = format!(
        "must be less than or equal to {MAX_FAILED_OF_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
    );
    if spec.field("parallelism").int().unwrap_or(0) > MAX_FAILED_OF_MANY {
        spec.field("parallelism").invalid(errors, &bound);
    }
    match most.int() {
        None => most.required(
            errors,
            &format!("when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"),
        ),
        Some(failed) if failed > MAX_FAILED_OF_MANY => most.invalid(errors, &bound),
        Some(_) => {}
    }
}

fn validate_replacement(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.field("podReplacementPolicy");
    let supported: &[&str] =
        if spec.field("podFailurePolicy").present() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    policy.one_of(errors, supported);
}

fn validate_failure_policy(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.field("podFailurePolicy");
    let rules = policy.field("rules");
    if rules.list().len() > MAX_RULES {
        rules.too_many(errors, MAX_RULES);
    }
    for rule in rules.items() {
        let action = rule.field("action");
        let supported: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
        if action.need(errors) {
            if action.str() == "FailIndex" && !spec.field("backoffLimitPerIndex").present() {
                action.invalid(errors, "requires the backoffLimitPerIndex to be set");
            } else {
                action.one_of(errors, supported);
            }
        }
        let (codes, conditions) = (rule.field("onExitCodes"), rule.field("onPodConditions"));
        match (codes.present(), !conditions.is_empty()) {
            (false, false) => rule.invalid(errors, "specifying one of OnExitCodes and OnPodConditions is required"),
            (true, true) => {
                rule.invalid(errors, "specifying both OnExitCodes and OnPodConditions is not supported");
            }
            (true, false) => validate_exit_codes(&codes, spec.value, errors),
            (false, true) => {
                for pattern in conditions.items() {
                    pattern.field("type").format(errors, names::qualified_name);
                    pattern.field("status").need_one_of(errors, &["False", "True", "Unknown"]);
                }
            }
        }
    }
}

fn validate_exit_codes(codes: &At<'_>, spec: &Value, errors: &mut ErrorList) {
    codes.field("operator").need_one_of(errors, &["In", "NotIn"]);
    let container = codes.field("containerName");
    let all =
        cells::list(spec, "template.spec.containers").iter().chain(cells::list(spec, "template.spec.initContainers"));
    if container.present() && !all.into_iter().any(|one| object::str_at(one, "name") == container.str()) {
        container.invalid(errors, "must be one of the container or initContainer names in the pod template");
    }
    let values = codes.field("values");
    if values.is_empty() {
        values.invalid(errors, "at least one value is required");
    } else if values.list().len() > 255 {
        values.too_many(errors, 255);
    }
    let mut seen = HashSet::new();
    let mut last = i64::MIN;
    let mut ordered = true;
    for value in values.items() {
        let number = value.int().unwrap_or(0);
        if codes.field("operator").str() == "In" && number == 0 {
            value.invalid(errors, "must not be 0 for the In operator");
        }
        if seen.contains(&number) {
            value.duplicate(errors);
        }
        ordered &= number > last || seen.contains(&number);
        last = number;
        seen.insert(number);
    }
    if !ordered {
        values.invalid(errors, "must be ordered");
    }
}

fn validate_success_policy(spec: &At<'_>, indexed: bool, errors: &mut ErrorList) {
    let policy = spec.field("successPolicy");
    if !policy.present() {
        return;
    }
    if !indexed {
        return policy.invalid(errors, "requires indexed completion mode");
    }
    let rules = policy.field("rules");
    if rules.is_empty() {
        rules.required(errors, "at least one rules must be specified when the successPolicy is specified");
    } else if rules.list().len() > MAX_RULES {
        rules.too_many(errors, MAX_RULES);
    }
    let completions = spec.field("completions").int().unwrap_or(0);
    for rule in rules.items() {
        let (count, indexes) = (rule.field("succeededCount"), rule.field("succeededIndexes"));
        if !count.present() && !indexes.present() {
            rule.required(errors, "at least one of succeededCount or succeededIndexes must be specified");
        }
        count.at_least(errors, 1, crate::at::POSITIVE);
        if count.int().is_some_and(|wanted| wanted > completions) {
            let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
            count.invalid(errors, &detail);
        }
    }
}
