//! Validation of probes and lifecycle hooks.

use api_machinery::{ErrorList, Value};

use crate::at::{At, NOT_NEGATIVE, POSITIVE};
use crate::formats;

const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

fn validate(probe: &At<'_>, errors: &mut ErrorList) {
    validate_handler(probe, &HANDLERS, 0, errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        probe.field(field).at_least(errors, 0, NOT_NEGATIVE);
    }
    probe.field("terminationGracePeriodSeconds").at_least(errors, 1, POSITIVE);
}

/// Liveness and startup: one success is enough for a probe whose failure restarts.
pub(crate) fn validate_restarting(probe: &At<'_>, errors: &mut ErrorList) {
    if !probe.present() {
        return;
    }
    validate(probe, errors);
    let threshold = probe.field("successThreshold");
    if threshold.int() != Some(1) {
        errors.invalid(&threshold.path(), &threshold.int().unwrap_or(0).into(), "must be 1");
    }
}

pub(crate) fn validate_readiness(probe: &At<'_>, errors: &mut ErrorList) {
    if !probe.present() {
        return;
    }
    validate(probe, errors);
    let grace = probe.field("terminationGracePeriodSeconds");
    if grace.present() {
        grace.invalid(errors, "must not be set for readinessProbes");
    }
}

pub(crate) fn validate_lifecycle(lifecycle: &At<'_>, grace_period: i64, errors: &mut ErrorList) {
    for hook in ["postStart", "preStop"] {
        let hook = lifecycle.field(hook);
        if hook.present() {
            validate_handler(&hook, &HOOKS, grace_period, errors);
        }
    }
}

/// Exactly one handler; one too many is forbidden at its place.
fn validate_handler(holder: &At<'_>, handlers: &[&str], grace_period: i64, errors: &mut ErrorList) {
    let mut found = false;
    for name in handlers {
        let handler = holder.field(name);
        if !handler.present() {
            continue;
        }
        if found {
            handler.forbidden(errors, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *name {
            "exec" => {
                let command = handler.field("command");
                if command.is_empty() {
                    command.required(errors, "");
                }
            }
            "httpGet" => validate_http(&handler, errors),
            "tcpSocket" => formats::port_or_name(&handler.field("port"), errors),
            "grpc" => formats::port(&handler.field("port"), errors),
            _ => validate_sleep(&handler, grace_period, errors),
        }
    }
    if !found {
        holder.required(errors, "must specify a handler type");
    }
}

fn validate_http(http: &At<'_>, errors: &mut ErrorList) {
    let path = http.field("path");
    if path.is_empty() {
        path.required(errors, "");
    }
    formats::port_or_name(&http.field("port"), errors);
    http.field("scheme").exactly_one_of(errors, &["HTTP", "HTTPS"]);
    let headers = http.field("httpHeaders");
    for header in headers.items() {
        let name = api_machinery::object::str_at(header.value, "name");
        for message in formats::http_header_name(name) {
            errors.invalid(&headers.path(), &Value::from(name), &message);
        }
    }
}

fn validate_sleep(sleep: &At<'_>, grace_period: i64, errors: &mut ErrorList) {
    let seconds = sleep.field("seconds").int().unwrap_or(0);
    if seconds < 0 || seconds > grace_period {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_period})");
        errors.invalid(&sleep.path(), &Value::from(seconds), &detail);
    }
}
