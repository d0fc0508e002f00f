//! Validation of pod specs: of pods, and of templates in everything that makes pods.

use std::collections::{BTreeSet, HashSet};

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, child};
use crate::list::{
    core_affinity as affinity, core_container as container, core_container_ports as ports,
    core_internal_json as internal, core_pod_annotations as annotations, core_pod_resources as pod_resources,
    core_resource_name as resource_name, core_security as security, core_volume as volume, core_windows as windows,
};
use crate::{formats, selectors};

/// What the spec is of; a template may leave some things open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of<'a> {
    /// The whole pod.
    Pod(&'a Value),
    Template,
}

/// What containers have to know of their pod.
pub(crate) struct Context<'a> {
    pub(crate) volumes: volume::Volumes<'a>,
    /// Not `false`.
    pub(crate) host_users: bool,
    /// Seconds.
    pub(crate) grace_period: i64,
    pub(crate) claims: BTreeSet<&'a str>,
    /// Its restart policy is `Never`.
    pub(crate) never_restarts: bool,
}

/// How upstream writes the path of what concerns a pod as a whole.
pub(crate) const NOWHERE: &str = "[]";
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;
/// Characters of what a pod is called instead of its hostname.
const MAX_HOSTNAME: usize = 64;

/// The group that the pod is scheduled with.
fn validate_group(group: &At<'_>, errors: &mut ErrorList) {
    let name = group.field("podGroupName");
    if group.present() && !name.present() {
        name.invalid(errors, "must specify one of: `podGroupName`");
    } else if group.present() {
        name.format(errors, names::dns1123_subdomain);
    }
}

/// In upstream's order.
pub(crate) fn validate(spec: &At<'_>, of: Of<'_>, errors: &mut ErrorList) {
    let volumes = spec.field("volumes");
    let context = context(spec, volume::validate(&volumes, of, errors));
    validate_claims(&spec.field("resourceClaims"), of, errors);
    container::validate_all(spec, &context, errors);
    pod_resources::validate(spec, &context.claims, errors);
    let host_network = spec.field("hostNetwork");
    if host_network.flag() {
        ports::validate_in_host_network(spec, matches!(of, Of::Pod(_)), errors);
    }
    need_one_listed(&spec.field("restartPolicy"), &["Always", "OnFailure", "Never"], errors);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    need_one_listed(&spec.field("dnsPolicy"), &policies, errors);
    selectors::labels(&spec.field("nodeSelector"), errors);
    security::validate_pod(spec, errors);
    affinity::validate(&spec.field("affinity"), errors);
    validate_dns(spec, errors);
    validate_gates(spec, errors);
    affinity::validate_spread(&spec.field("topologySpreadConstraints"), errors);
    windows::validate_host_process(spec, errors);
    validate_host_users(spec, errors);
    validate_override(spec, errors);
    validate_names(spec, errors);
    windows::validate_os(spec, errors);
    validate_group(&spec.field("schedulingGroup"), errors);
    container::validate_file_volumes(spec, errors);
}

/// [`At::need_one_of`], where upstream lists them in an order of its own.
pub(crate) fn need_one_listed(at: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    if at.need(errors) && !supported.contains(&at.str()) {
        at.unsupported_listed(errors, supported);
    }
}

fn context<'a>(spec: &At<'a>, volumes: volume::Volumes<'a>) -> Context<'a> {
    let claims = child(spec.value, "resourceClaims").as_array().map_or(&[][..], Vec::as_slice);
    let claims = claims.iter().map(|claim| object::str_at(claim, "name"));
    Context {
        volumes,
        host_users: child(spec.value, "hostUsers") != &Value::Bool(false),
        grace_period: child(spec.value, "terminationGracePeriodSeconds").as_i64().unwrap_or(30),
        claims: claims.filter(|name| !name.is_empty()).collect(),
        never_restarts: object::str_at(spec.value, "restartPolicy") == "Never",
    }
}

fn validate_claims(claims: &At<'_>, of: Of<'_>, errors: &mut ErrorList) {
    let mirror = matches!(of, Of::Pod(pod) if object::annotation(pod, annotations::MIRROR).is_some());
    let mut seen = HashSet::new();
    for claim in claims.items() {
        if mirror {
            errors.forbidden(&api_machinery::Path::new(NOWHERE), "static pods do not support resource claims");
            continue;
        }
        let (name, text) = (claim.field("name"), object::str_at(claim.value, "name"));
        if name.need(errors) {
            if seen.insert(text) {
                name.format(errors, names::dns1123_label);
            } else {
                name.duplicate(errors);
            }
        }
        let (own, template) = (claim.field("resourceClaimName"), claim.field("resourceClaimTemplateName"));
        if own.present() == template.present() {
            let detail = match own.present() {
                true => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
                false => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            };
            let shown = internal::shown("PodResourceClaim", claim.value);
            errors.invalid_printed(&claim.path(), &shown, detail);
        }
        for name in [own, template].iter().filter(|name| name.present()) {
            name.format(errors, names::dns1123_subdomain);
        }
    }
}

fn validate_dns(spec: &At<'_>, errors: &mut ErrorList) {
    let config = spec.field("dnsConfig");
    let (servers, searches) = (config.field("nameservers"), config.field("searches"));
    if spec.field("dnsPolicy").str() == "None" {
        if !config.present() {
            return config.required(errors, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            return servers.required(errors, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
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
    // A subdomain, with underscores as search paths may have since v1.34; a trailing dot is neither wrong nor shown.
    for search in searches.items().filter(|search| search.str() != ".") {
        let text = Value::from(search.str().strip_suffix('.').unwrap_or(search.str()));
        search.with(&text).format(errors, names::dns1123_subdomain_with_underscore);
    }
    for option in config.field("options").items() {
        if option.field("name").is_empty() {
            option.required(errors, "must not be empty");
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
        if !seen.insert(name) {
            errors.duplicate(&gate.path(), &Value::from(name));
        }
    }
}

/// A pod with users of its own shares nothing with the host that knows users. Two paths are upstream's.
fn validate_host_users(spec: &At<'_>, errors: &mut ErrorList) {
    const DETAIL: &str = "when `hostUsers` is false";
    if spec.field("hostUsers").value != &Value::Bool(false) {
        return;
    }
    for (field, called) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.field(field).flag() {
            spec.field(called).forbidden(errors, DETAIL);
        }
    }
    windows::each_container(spec, &mut |container| {
        let devices = container.field("volumeDevices");
        if !devices.is_empty() {
            devices.forbidden(errors, DETAIL);
        }
    });
}

fn validate_override(spec: &At<'_>, errors: &mut ErrorList) {
    let hostname = spec.field("hostnameOverride");
    if !hostname.present() {
        return;
    }
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.field(field).flag() {
            hostname.forbidden(errors, &format!("may not be specified when {field} is true"));
        }
    }
    if hostname.str().len() > MAX_HOSTNAME {
        hostname.too_long(errors, MAX_HOSTNAME);
    }
    hostname.format(errors, names::dns1123_subdomain);
}

fn validate_names(spec: &At<'_>, errors: &mut ErrorList) {
    spec.field("serviceAccountName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("nodeName").format_if_set(errors, names::dns1123_subdomain);
    spec.field("activeDeadlineSeconds").between(errors, 1, i64::from(i32::MAX));
    spec.field("hostname").format_if_set(errors, names::dns1123_label);
    spec.field("subdomain").format_if_set(errors, names::dns1123_label);
    affinity::validate_tolerations(&spec.field("tolerations"), errors);
    validate_host_aliases(&spec.field("hostAliases"), errors);
    spec.field("priorityClassName").format_if_set(errors, names::dns1123_subdomain);
    let class = spec.field("runtimeClassName");
    if class.present() {
        class.format(errors, names::dns1123_subdomain);
    }
    let preemption = spec.field("preemptionPolicy");
    if preemption.present() {
        need_one_listed(&preemption, &["PreemptLowerPriority", "Never"], errors);
    }
    let overhead = spec.field("overhead");
    if overhead.present() {
        resource_name::validate_overhead(&overhead, errors);
    }
}

fn validate_host_aliases(aliases: &At<'_>, errors: &mut ErrorList) {
    for alias in aliases.items() {
        alias.field("ip").format(errors, formats::ip);
        for hostname in alias.field("hostnames").items() {
            hostname.format(errors, names::dns1123_subdomain);
        }
    }
}

/// What holds of a whole pod besides its spec, whether it is new or changed.
pub(crate) fn validate_pod(root: &At<'_>, errors: &mut ErrorList) {
    let spec = root.field("spec");
    let notes = root.field("metadata.annotations");
    annotations::validate(&notes, &spec, errors);
    validate(&spec, Of::Pod(root.value), errors);
    if spec.field("serviceAccountName").is_empty() {
        for volume in spec.field("volumes").items() {
            for source in volume.field("projected.sources").items() {
                let token = source.field("serviceAccountToken");
                if token.present() {
                    token.forbidden(errors, "must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let containers = spec.field(list);
        containers.items().for_each(|container| container::validate_image_is_trimmed(&container, errors));
    }
}

/// A pod template: labels, annotations, spec. The paths of the former have no `metadata`, as upstream's.
pub(crate) fn validate_template(template: &At<'_>, errors: &mut ErrorList) {
    let labels = child(template.value, "metadata.labels");
    selectors::labels(&template.field("labels").with(labels), errors);
    let notes = template.field("annotations").with(child(template.value, "metadata.annotations"));
    selectors::annotations(&notes, errors);
    let spec = template.field("spec");
    annotations::validate(&notes, &spec, errors);
    validate(&spec, Of::Template, errors);
    annotations::validate_agreement(&notes, &spec, errors);
    let ephemeral = spec.field("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// The template of a workload whose pods are replaced when they end; `workload` is its kind, as errors name it.
pub(crate) fn validate_template_of_workload(template: &At<'_>, workload: &str, errors: &mut ErrorList) {
    validate_template(template, errors);
    template.field("spec.restartPolicy").exactly_one_of(errors, &["Always"]);
    let deadline = template.field("spec.activeDeadlineSeconds");
    if deadline.present() {
        deadline.forbidden(errors, &format!("activeDeadlineSeconds in {workload} is not Supported"));
    }
}
