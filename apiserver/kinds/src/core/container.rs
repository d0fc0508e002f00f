//! Validation of containers, init containers and ephemeral containers.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::formats;
use crate::list::core_pod_spec::Context;
use crate::list::{
    core_env as env, core_mount as mount, core_probe as probe, core_resource_name as resource_name,
    core_security as security,
};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const TERMINATION_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];

pub(crate) fn validate_all(spec: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let (containers, init, ephemeral) =
        (spec.field("containers"), spec.field("initContainers"), spec.field("ephemeralContainers"));
    if containers.is_empty() {
        containers.required(errors, "");
    }
    let mut names_seen = HashSet::new();
    for container in containers.items() {
        validate_common(&container, context, &mut names_seen, errors);
        validate_regular(&container, context, errors);
    }
    host_port_conflicts(containers.items(), errors);
    for container in init.items() {
        validate_common(&container, context, &mut names_seen, errors);
        validate_init(&container, context, errors);
        host_port_conflicts(std::iter::once(container), errors);
    }
    for container in ephemeral.items() {
        validate_common(&container, context, &mut names_seen, errors);
        validate_ephemeral(&container, &containers, &init, errors);
    }
}

/// What holds of all three.
fn validate_common<'a>(
    container: &At<'a>,
    context: &Context<'_>,
    names_seen: &mut HashSet<&'a str>,
    errors: &mut ErrorList,
) {
    let name = container.field("name");
    if name.need(errors) {
        name.format(errors, names::dns1123_label);
        let text = object::str_at(container.value, "name");
        if names_seen.contains(&text) {
            name.duplicate(errors);
        }
        names_seen.insert(text);
    }
    validate_image(&container.field("image"), errors);
    container.field("terminationMessagePolicy").need_one_of(errors, &TERMINATION_POLICIES);
    validate_ports(&container.field("ports"), context, errors);
    env::validate(&container.field("env"), errors);
    env::validate_from(&container.field("envFrom"), errors);
    mount::validate(container, context, errors);
    container.field("imagePullPolicy").need_one_of(errors, &PULL_POLICIES);
    resource_name::validate_requirements(&container.field("resources"), false, errors);
    validate_claims(&container.field("resources.claims"), context, errors);
    for policy in container.field("resizePolicy").items() {
        policy.field("resourceName").one_of(errors, &["cpu", "memory"]);
        policy.field("restartPolicy").need_one_of(errors, &["NotRequired", "RestartContainer"]);
    }
    security::validate_container(&container.field("securityContext"), context.host_users, errors);
}

fn validate_image(image: &At<'_>, errors: &mut ErrorList) {
    if image.is_empty() {
        return image.required(errors, "");
    }
    if image.str().trim() != image.str() {
        image.invalid(errors, "must not have leading or trailing whitespace");
    }
}

fn validate_claims(claims: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for claim in claims.items() {
        let name = object::str_at(claim.value, "name");
        let request = object::str_at(claim.value, "request");
        if name.is_empty() {
            claim.field("name").required(errors, "");
        } else if seen.contains(&(name, request)) {
            claim.duplicate(errors);
        } else if !context.claims.contains(&name) {
            errors.not_found(&claim.path(), &Value::from(name));
        }
        seen.insert((name, request));
    }
}

fn validate_ports(ports: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for port in ports.items() {
        let (name, number, host) = (port.field("name"), port.field("containerPort"), port.field("hostPort"));
        if !name.is_empty() {
            name.format(errors, names::port_name);
            let text = object::str_at(port.value, "name");
            if names::port_name(text).is_empty() && seen.contains(&text) {
                name.duplicate(errors);
            }
            seen.insert(text);
        }
        if number.int().unwrap_or(0) == 0 {
            number.required(errors, "");
        } else {
            formats::port(&number, errors);
        }
        if host.int().unwrap_or(0) != 0 {
            formats::port(&host, errors);
            if context.host_network && host.int() != number.int() {
                host.invalid(errors, "must match `containerPort` when `hostNetwork` is true");
            }
        }
        port.field("protocol").need_one_of(errors, &PROTOCOLS);
    }
}

/// No two containers of a pod may take one port of the host.
fn host_port_conflicts<'a>(containers: impl Iterator<Item = At<'a>>, errors: &mut ErrorList) {
    let mut taken: HashSet<(String, String, i64)> = HashSet::new();
    for container in containers {
        for port in container.field("ports").items() {
            let host = port.field("hostPort");
            let Some(number) = host.int().filter(|number| *number != 0) else { continue };
            let text = |field: &str| object::str_at(port.value, field).to_owned();
            let key = (text("protocol"), text("hostIP"), number);
            if taken.contains(&key) {
                let shown = format!("{}/{}/{}", key.0, key.1, key.2);
                errors.duplicate(&host.path(), &Value::from(shown));
            } else {
                taken.insert(key);
            }
        }
    }
}

fn validate_regular(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    probe::validate_lifecycle(&container.field("lifecycle"), context.grace_period, errors);
    probe::validate_liveness(&container.field("livenessProbe"), context.grace_period, errors);
    probe::validate_readiness(&container.field("readinessProbe"), errors);
    probe::validate_startup(&container.field("startupProbe"), errors);
    validate_restart(container, false, errors);
}

/// A container's own restart policy and rules.
fn validate_restart(container: &At<'_>, init: bool, errors: &mut ErrorList) {
    let policy = container.field("restartPolicy");
    let rules = container.field("restartPolicyRules");
    let supported: &[&str] = &["Always", "Never", "OnFailure"];
    if policy.present() && !supported.contains(&policy.str()) {
        policy.unsupported(errors, supported);
    }
    if rules.is_empty() {
        return;
    }
    if init && policy.str() == "Always" {
        rules.forbidden(errors, "restartPolicyRules cannot be set for restartable init containers");
    }
    if !policy.present() {
        policy.required(errors, "must specify restartPolicy when restart rules are used");
    }
    for rule in rules.items() {
        rule.field("action").need_one_of(errors, &["Restart", "RestartAllContainers"]);
        let codes = rule.field("exitCodes");
        if !codes.present() {
            codes.required(errors, "must specify exitCodes");
            continue;
        }
        codes.field("operator").need_one_of(errors, &["In", "NotIn"]);
    }
}

/// Init containers have no probes, unless they keep running.
fn validate_init(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    validate_restart(container, true, errors);
    let sidecar = child(container.value, "restartPolicy") == "Always";
    if sidecar {
        probe::validate_lifecycle(&container.field("lifecycle"), context.grace_period, errors);
        probe::validate_liveness(&container.field("livenessProbe"), context.grace_period, errors);
        probe::validate_readiness(&container.field("readinessProbe"), errors);
        return probe::validate_startup(&container.field("startupProbe"), errors);
    }
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        let at = container.field(field);
        if at.present() {
            at.forbidden(errors, "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn validate_ephemeral(container: &At<'_>, containers: &At<'_>, init: &At<'_>, errors: &mut ErrorList) {
    const FORBIDDEN: [&str; 6] =
        ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "ports", "resizePolicy"];
    for field in FORBIDDEN {
        let at = container.field(field);
        if !at.is_empty() {
            at.forbidden(errors, "cannot be set for an Ephemeral Container");
        }
    }
    let resources = container.field("resources");
    if !resources.is_empty() && !crate::at::same(resources.value, &Value::Null) {
        resources.forbidden(errors, "cannot be set for an Ephemeral Container");
    }
    if container.field("restartPolicy").present() {
        container.field("restartPolicy").forbidden(errors, "cannot be set for an Ephemeral Container");
    }
    let target = container.field("targetContainerName");
    let all = containers.list().iter().chain(init.list());
    if !target.is_empty() && !all.into_iter().any(|one| object::str_at(one, "name") == target.str()) {
        errors.not_found(&target.path(), target.value);
    }
}
