//! Validation of pod specs: of pods, and of templates in everything that makes pods.

use std::collections::{HashMap, HashSet};

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::list::{
    core_affinity as affinity, core_container as container, core_resource_name as resource_name,
    core_security as security, core_volume as volume,
};
use crate::{formats, selectors};

/// What the spec is of; a template may leave some things open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Pod,
    Template,
}

/// What containers have to know of their pod.
pub(crate) struct Context<'a> {
    /// By name.
    pub(crate) volumes: HashMap<&'a str, &'a Value>,
    pub(crate) host_network: bool,
    /// Not `false`.
    pub(crate) host_users: bool,
    /// Seconds.
    pub(crate) grace_period: i64,
    pub(crate) claims: HashSet<&'a str>,
}

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;

pub(crate) fn validate(spec: &At<'_>, of: Of, errors: &mut ErrorList) {
    volume::validate(&spec.field("volumes"), of, errors);
    let context = context(spec);
    validate_claims(&spec.field("resourceClaims"), errors);
    container::validate_all(spec, &context, errors);
    resource_name::validate_requirements(&spec.field("resources"), true, errors);
    let restart = spec.field("restartPolicy");
    restart.need_one_of(errors, &["Always", "Never", "OnFailure"]);
    validate_dns(spec, errors);
    selectors::labels(&spec.field("nodeSelector"), errors);
    security::validate_pod(spec, errors);
    spec.field("terminationGracePeriodSeconds").not_negative(errors);
    affinity::validate(&spec.field("affinity"), errors);
    validate_names(spec, errors);
    affinity::validate_tolerations(&spec.field("tolerations"), errors);
    validate_host_aliases(&spec.field("hostAliases"), errors);
    validate_gates(spec, errors);
    affinity::validate_spread(&spec.field("topologySpreadConstraints"), errors);
    spec.field("activeDeadlineSeconds").between(errors, 1, i64::from(i32::MAX));
    spec.field("preemptionPolicy").one_of(errors, &["Never", "PreemptLowerPriority"]);
    for (name, amount) in spec.field("overhead").entries() {
        resource_name::validate_for_container(&amount, name, errors);
        resource_name::validate_amount(&amount, name, errors);
    }
    validate_os(&spec.field("os"), errors);
}

fn context<'a>(spec: &At<'a>) -> Context<'a> {
    let named = |list: &str| child(spec.value, list).as_array().map_or(&[][..], Vec::as_slice);
    Context {
        volumes: named("volumes").iter().map(|volume| (object::str_at(volume, "name"), volume)).collect(),
        host_network: child(spec.value, "hostNetwork") == &Value::Bool(true),
        host_users: child(spec.value, "hostUsers") != &Value::Bool(false),
        grace_period: child(spec.value, "terminationGracePeriodSeconds").as_i64().unwrap_or(30),
        claims: named("resourceClaims").iter().map(|claim| object::str_at(claim, "name")).collect(),
    }
}

fn validate_claims(claims: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for claim in claims.items() {
        let (name, text) = (claim.field("name"), object::str_at(claim.value, "name"));
        if name.need(errors) {
            if seen.contains(&text) {
                name.duplicate(errors);
            }
            name.format(errors, names::dns1123_label);
        }
        seen.insert(text);
        let (own, template) = (claim.field("resourceClaimName"), claim.field("resourceClaimTemplateName"));
        if own.present() == template.present() {
            let detail = match own.present() {
                true => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
                false => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            };
            claim.invalid(errors, detail);
        }
        own.format_if_set(errors, names::dns1123_subdomain);
        template.format_if_set(errors, names::dns1123_subdomain);
    }
}

fn validate_dns(spec: &At<'_>, errors: &mut ErrorList) {
    let (policy, config) = (spec.field("dnsPolicy"), spec.field("dnsConfig"));
    policy.need_one_of(errors, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    if policy.str() == "None" {
        if !config.present() {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            return config.required(errors, detail);
        }
        if config.field("nameservers").is_empty() {
            config
                .field("nameservers")
                .required(errors, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    let (servers, searches) = (config.field("nameservers"), config.field("searches"));
    if servers.list().len() > MAX_NAMESERVERS {
        servers.invalid(errors, &format!("must not have more than {MAX_NAMESERVERS} nameservers"));
    }
    for server in servers.items() {
        server.format(errors, formats::ip);
    }
    if searches.list().len() > MAX_SEARCHES {
        searches.invalid(errors, &format!("must not have more than {MAX_SEARCHES} search paths"));
    }
    let characters: usize = searches.list().iter().filter_map(Value::as_str).map(|one| one.len() + 1).sum();
    if characters > MAX_SEARCH_CHARACTERS + 1 {
        let detail =
            format!("must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list");
        searches.invalid(errors, &detail);
    }
    for search in searches.items() {
        search.format(errors, search_path);
    }
    for option in config.field("options").items() {
        if option.field("name").is_empty() {
            option.required(errors, "must not be empty");
        }
    }
}

/// A subdomain, `.`, and underscores as search paths may have since v1.34; a trailing dot is fine.
fn search_path(text: &str) -> Vec<String> {
    if text == "." {
        return Vec::new();
    }
    names::dns1123_subdomain(&text.strip_suffix('.').unwrap_or(text).replace('_', "-"))
}

fn validate_names(spec: &At<'_>, errors: &mut ErrorList) {
    spec.field("hostname").format_if_set(errors, names::dns1123_label);
    spec.field("subdomain").format_if_set(errors, names::dns1123_label);
    spec.field("serviceAccountName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("nodeName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("priorityClassName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("runtimeClassName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("hostnameOverride").format_if_set(errors, names::dns1123_subdomain);
}

fn validate_host_aliases(aliases: &At<'_>, errors: &mut ErrorList) {
    for alias in aliases.items() {
        alias.field("ip").format(errors, formats::ip);
        for hostname in alias.field("hostnames").items() {
            hostname.format(errors, names::dns1123_subdomain);
        }
    }
}

fn validate_gates(spec: &At<'_>, errors: &mut ErrorList) {
    for gate in spec.field("readinessGates").items() {
        gate.field("conditionType").format(errors, names::qualified_name);
    }
    let mut seen = HashSet::new();
    for gate in spec.field("schedulingGates").items() {
        let name = object::str_at(gate.value, "name");
        for message in names::qualified_name(name) {
            errors.invalid(&gate.path(), &Value::from(name), &message);
        }
        if seen.contains(&name) {
            errors.duplicate(&gate.path(), &Value::from(name));
        }
        seen.insert(name);
    }
}

fn validate_os(os: &At<'_>, errors: &mut ErrorList) {
    if !os.present() {
        return;
    }
    let name = os.field("name");
    if name.is_empty() {
        name.required(errors, "cannot be empty");
    } else if !["linux", "windows"].contains(&name.str()) {
        errors.not_supported(&os.path(), name.value, &["linux", "windows"]);
    }
}

/// Annotations with a meaning for pods: AppArmor and seccomp live in fields now, so sysctls and deletion cost remain.
pub(crate) fn validate_pod_annotations(root: &At<'_>, errors: &mut ErrorList) {
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    let metadata = root.field("metadata");
    let annotations = metadata.field("annotations");
    if let Some(cost) = annotations.value.get(COST).and_then(Value::as_str)
        && cost.parse::<i32>().is_err()
    {
        let place = annotations.key(COST);
        errors.invalid(&place.path(), place.value, "must be a 32bit integer");
    }
}

/// A pod template: labels, annotations, spec. The paths of the former have no `metadata`, as upstream's.
pub(crate) fn validate_template(template: &At<'_>, errors: &mut ErrorList) {
    let labels = child(template.value, "metadata.labels");
    selectors::labels(&template.field("labels").with(labels), errors);
    let annotations = child(template.value, "metadata.annotations");
    selectors::annotations(&template.field("annotations").with(annotations), errors);
    let spec = template.field("spec");
    validate(&spec, Of::Template, errors);
    let ephemeral = spec.field("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// The template of a workload whose pods are replaced when they end.
pub(crate) fn validate_template_of_workload(template: &At<'_>, errors: &mut ErrorList) {
    validate_template(template, errors);
    let restart = template.field("spec.restartPolicy");
    if restart.str() != "Always" {
        restart.unsupported(errors, &["Always"]);
    }
    let deadline = template.field("spec.activeDeadlineSeconds");
    if deadline.present() {
        deadline.forbidden(errors, "activeDeadlineSeconds in ReplicaSet is not Supported");
    }
}
