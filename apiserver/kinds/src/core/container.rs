//! Validation of containers, init containers and ephemeral containers.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::list::core_pod_spec::{Context, need_one_listed};
use crate::list::{
    core_container_ports as ports, core_env as env, core_mount as mount, core_probe as probe,
    core_resource_name as resource_name, core_security as security,
};

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const TERMINATION_POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
/// Rules of when a container is started again, and exit codes in one of them.
const MAX_RESTART_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;

pub(crate) fn validate_all(spec: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let (containers, init, ephemeral) =
        (spec.field("containers"), spec.field("initContainers"), spec.field("ephemeralContainers"));
    if containers.is_empty() {
        containers.required(errors, "");
    }
    let mut seen = HashSet::new();
    for container in containers.items() {
        validate_common(&container, context, errors);
        validate_unique(&container, &mut seen, errors);
        validate_regular(&container, context, errors);
    }
    ports::validate_conflicts(&containers, containers.list(), errors);
    for container in init.items() {
        validate_common(&container, context, errors);
        validate_init_restart(&container, errors);
        // A second one without a name is not said to be one too many.
        if !container.field("name").is_empty() || seen.contains("") {
            validate_unique(&container, &mut seen, errors);
        }
        // Upstream gives each the first one's index.
        ports::validate_conflicts(&init, std::slice::from_ref(container.value), errors);
        validate_init(&container, context, errors);
    }
    for container in ephemeral.items() {
        validate_common(&container, context, errors);
        validate_image_is_trimmed(&container, errors);
        validate_unique(&container, &mut seen, errors);
        validate_ephemeral(&container, &containers, &init, errors);
    }
}

/// What holds of all three.
fn validate_common(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let name = container.field("name");
    if name.need(errors) {
        name.format(errors, names::dns1123_label);
    }
    container.field("image").need(errors);
    need_one_listed(&container.field("terminationMessagePolicy"), &TERMINATION_POLICIES, errors);
    ports::validate(&container.field("ports"), errors);
    env::validate(&container.field("env"), errors);
    env::validate_from(&container.field("envFrom"), errors);
    mount::validate(container, context, errors);
    container.field("imagePullPolicy").need_one_of(errors, &PULL_POLICIES);
    let resources = container.field("resources");
    resource_name::validate_requirements(&resources, errors);
    resource_name::validate_claims(&resources.field("claims"), &context.claims, errors);
    validate_resize_policies(&container.field("resizePolicy"), context, errors);
    security::validate_container(&container.field("securityContext"), context.host_users, errors);
}

fn validate_unique<'a>(container: &At<'a>, seen: &mut HashSet<&'a str>, errors: &mut ErrorList) {
    if !seen.insert(object::str_at(container.value, "name")) {
        let name = container.field("name");
        errors.duplicate(&name.path(), &Value::from(name.str()));
    }
}

/// Of pods only; a template may still be filled in.
pub(crate) fn validate_image_is_trimmed(container: &At<'_>, errors: &mut ErrorList) {
    let image = container.field("image");
    if image.str().trim() != image.str() {
        image.invalid(errors, "must not have leading or trailing whitespace");
    }
}

/// Most errors name the list, not the item, as upstream's.
fn validate_resize_policies(policies: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    const RESOURCES: [&str; 2] = ["cpu", "memory"];
    const RESTARTS: [&str; 2] = ["NotRequired", "RestartContainer"];
    let mut seen = HashSet::new();
    for policy in policies.items() {
        let (resource, restart) = (policy.field("resourceName"), policy.field("restartPolicy"));
        if !seen.insert(object::str_at(policy.value, "resourceName")) {
            errors.duplicate(&policy.path(), &Value::from(resource.str()));
        }
        policies.with(resource.value).need_one_of(errors, &RESOURCES);
        policies.with(restart.value).need_one_of(errors, &RESTARTS);
        if context.never_restarts && restart.str() != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            policies.with(restart.value).invalid(errors, detail);
        }
    }
}

fn validate_regular(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    validate_probes(container, context, errors);
    validate_restart(container, errors);
}

fn validate_probes(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    probe::validate_lifecycle(&container.field("lifecycle"), context.grace_period, errors);
    probe::validate_restarting(&container.field("livenessProbe"), errors);
    probe::validate_readiness(&container.field("readinessProbe"), errors);
    probe::validate_restarting(&container.field("startupProbe"), errors);
}

/// A container's own restart policy and rules.
fn validate_restart(container: &At<'_>, errors: &mut ErrorList) {
    let (policy, rules) = (container.field("restartPolicy"), container.field("restartPolicyRules"));
    if policy.present() {
        policy.exactly_one_of(errors, &["Always", "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        policy.required(errors, "must specify restartPolicy when restart rules are used");
    }
    if rules.list().len() > MAX_RESTART_RULES {
        rules.too_many(errors, MAX_RESTART_RULES);
    }
    for rule in rules.items() {
        rule.field("action").exactly_one_of(errors, &["Restart", "RestartAllContainers"]);
        let codes = rule.field("exitCodes");
        if !codes.present() {
            codes.required(errors, "must be specified");
            continue;
        }
        codes.field("operator").exactly_one_of(errors, &["In", "NotIn"]);
        let values = codes.field("values");
        if values.list().len() > MAX_EXIT_CODES {
            values.too_many(errors, MAX_EXIT_CODES);
        }
    }
}

/// Without a policy, nothing is looked at but that rules want one.
fn validate_init_restart(container: &At<'_>, errors: &mut ErrorList) {
    let policy = container.field("restartPolicy");
    if policy.present() {
        validate_restart(container, errors);
    } else if !container.field("restartPolicyRules").is_empty() {
        policy.required(errors, "must specify restartPolicy when restart rules are used");
    }
}

/// Init containers have no probes, unless they keep running.
fn validate_init(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    if child(container.value, "restartPolicy") == "Always" {
        return validate_probes(container, context, errors);
    }
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        let at = container.field(field);
        if at.present() {
            at.forbidden(errors, "may not be set for init containers without restartPolicy=Always");
        }
    }
    for policy in container.field("resizePolicy").items() {
        let restart = policy.field("restartPolicy");
        if restart.str() == "RestartContainer" {
            restart.invalid(errors, "must not be set to 'RestartContainer' for non-sidecar initContainers");
        }
    }
}

fn validate_ephemeral(container: &At<'_>, containers: &At<'_>, init: &At<'_>, errors: &mut ErrorList) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    const FORBIDDEN: [&str; 9] = [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let target = container.field("targetContainerName");
    let mut all = containers.list().iter().chain(init.list());
    if !target.is_empty() && !all.any(|one| object::str_at(one, "name") == target.str()) {
        errors.not_found(&target.path(), target.value);
    }
    for field in FORBIDDEN {
        let at = container.field(field);
        // Resources are always there. Of the rest, empty lists are something, too.
        if at.present() && (field != "resources" || !at.is_empty()) {
            at.forbidden(errors, DETAIL);
        }
    }
    for mount in container.field("volumeMounts").items() {
        for field in ["subPath", "subPathExpr"] {
            let at = mount.field(field);
            if !at.is_empty() {
                at.forbidden(errors, DETAIL);
            }
        }
    }
}

/// `fileKeyRef` of all containers: the volume is one of the pod's, and empty at first.
pub(crate) fn validate_file_volumes(spec: &At<'_>, errors: &mut ErrorList) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.field(list).items() {
            for one in container.field("env").items() {
                let volume = one.field("valueFrom.fileKeyRef.volumeName");
                if one.field("valueFrom.fileKeyRef").present() {
                    validate_file_volume(spec, &volume, errors);
                }
            }
        }
    }
}

fn validate_file_volume(spec: &At<'_>, name: &At<'_>, errors: &mut ErrorList) {
    let volumes = child(spec.value, "volumes").as_array().map_or(&[][..], Vec::as_slice);
    // As upstream's map, the last of one name counts.
    match volumes.iter().rev().find(|volume| object::str_at(volume, "name") == name.str()) {
        None => errors.not_found(&name.path(), &Value::from(name.str())),
        Some(volume) if child(volume, "emptyDir").is_null() => {
            name.invalid(errors, "referenced volume must be of type emptyDir");
        }
        Some(_) => {}
    }
}
