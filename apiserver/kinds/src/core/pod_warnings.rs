//! Warnings about pods and pod templates: what is allowed, and yet hardly what its author wants.

use std::collections::HashSet;
use std::net::IpAddr;

use api_machinery::quote::quoted;
use api_machinery::{Value, names, object};

use crate::at::At;
use crate::formats;
use crate::list::{
    core_node_labels as node_labels, core_pod_annotations as annotations, core_pod_app_armor as app_armor,
    core_pod_container_warnings as container_warnings, core_pod_port_warnings as port_warnings,
    core_pod_volume_warnings as volume_warnings,
};

/// So many are kept: a response has room for few.
const MAX_TEXTS: usize = 256;
/// So many pairs are compared with each other: a body may hold hundreds of thousands of things of one kind.
const MAX_COMPARED: usize = 10_000;

const DEPRECATED_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
pub(crate) const USE_SECCOMP_FIELD: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// What a client is told, each thing once.
#[derive(Default)]
pub(crate) struct Warnings {
    texts: Vec<String>,
    seen: HashSet<String>,
    compared: usize,
}

impl Warnings {
    pub(crate) fn add(&mut self, text: String) {
        if self.texts.len() < MAX_TEXTS && self.seen.insert(text.clone()) {
            self.texts.push(text);
        }
    }
    /// `path: text`
    pub(crate) fn say(&mut self, at: &At<'_>, text: &str) {
        self.add(format!("{}: {text}", at.path()));
    }
    /// Whether two more things are compared.
    pub(crate) fn may_compare(&mut self) -> bool {
        self.compared += 1;
        self.compared <= MAX_COMPARED
    }
}

/// Of a new pod.
pub(crate) fn of_pod(pod: &Value) -> Vec<String> {
    let mut warnings = Warnings::default();
    let root = At::root(pod);
    app_armor::warn(&root, &mut warnings);
    let messages = names::dns1123_label(object::name(pod));
    if !messages.is_empty() {
        let messages = messages.join(" ");
        warnings.add(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label \
             is recommended: [{messages}]"
        ));
    }
    warn(&root, false, &mut warnings);
    warnings.texts
}

/// Of a pod template; its path is where it is in the object that holds it.
pub(crate) fn of_template(template: &At<'_>) -> Vec<String> {
    let mut warnings = Warnings::default();
    warn(template, true, &mut warnings);
    warnings.texts
}

/// In upstream's order. `holder` has metadata and a spec.
fn warn(holder: &At<'_>, is_template: bool, warnings: &mut Warnings) {
    let (notes, spec) = (holder.field("metadata.annotations"), holder.field("spec"));
    warn_of_labels(&spec, warnings);
    warn_of_spread(&spec.field("topologySpreadConstraints"), warnings);
    for (key, why) in DEPRECATED_ANNOTATIONS {
        let at = notes.key(key);
        if at.present() {
            warnings.say(&at, why);
        }
    }
    volume_warnings::warn(&spec.field("volumes"), warnings);
    warn_of_repeated(&spec.field("hostAliases"), "ip", warnings);
    let secrets = spec.field("imagePullSecrets");
    warn_of_repeated(&secrets, "name", warnings);
    for secret in secrets.items() {
        let name = secret.field("name");
        if name.is_empty() {
            warnings.say(&name, "invalid empty name \"\"");
        }
    }
    let overhead = spec.field("overhead");
    for resource in ["memory", "ephemeral-storage"] {
        warn_of_fraction(&overhead.key(resource), warnings);
    }
    let seccomp = notes.key(annotations::SECCOMP_OF_POD);
    if seccomp.present() && !spec.field("securityContext.seccompProfile").present() {
        warnings.say(&seccomp, USE_SECCOMP_FIELD);
    }
    container_warnings::warn(&spec, &notes, is_template, warnings);
    port_warnings::warn(&spec, warnings);
    let grace = spec.field("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|seconds| seconds < 0) {
        warnings.say(&grace, "must be >= 0; negative values are invalid and will be treated as 1");
    }
    warn_of_affinity(&spec.field("affinity"), warnings);
    for server in spec.field("dnsConfig.nameservers").items() {
        warn_of_ip(&server, warnings);
    }
    for alias in spec.field("hostAliases").items() {
        warn_of_ip(&alias.field("ip"), warnings);
    }
}

fn warn_of_labels(spec: &At<'_>, warnings: &mut Warnings) {
    for (key, at) in spec.field("nodeSelector").entries() {
        if let Some(why) = node_labels::deprecation(key) {
            warnings.say(&at, why);
        }
    }
    let affinity = spec.field("affinity.nodeAffinity");
    for term in affinity.field("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms").items() {
        warn_of_term(&term, false, warnings);
    }
    for term in affinity.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
        warn_of_term(&term.field("preference"), true, warnings);
    }
}

/// Of what is only preferred, values may be wrong.
fn warn_of_term(term: &At<'_>, of_values: bool, warnings: &mut Warnings) {
    for expression in term.field("matchExpressions").items() {
        let key = expression.field("key");
        if let Some(why) = node_labels::deprecation(key.str()) {
            warnings.say(&key, &format!("{} is {why}", key.str()));
        }
        for value in expression.field("values").items().filter(|_| of_values) {
            for message in names::label_value(value.str()) {
                warnings.say(&value, &format!("{} is invalid, {message}", value.str()));
            }
        }
    }
}

fn warn_of_spread(constraints: &At<'_>, warnings: &mut Warnings) {
    for constraint in constraints.items() {
        let (topology, selector) = (constraint.field("topologyKey"), constraint.field("labelSelector"));
        if let Some(why) = node_labels::deprecation(topology.str()) {
            warnings.say(&topology, &format!("{} is {why}", topology.str()));
        }
        if !selector.present() {
            warnings.say(&selector, NO_SELECTOR);
        }
    }
}

fn warn_of_repeated(list: &At<'_>, field: &str, warnings: &mut Warnings) {
    let mut seen = HashSet::new();
    for item in list.items() {
        let text = object::str_at(item.value, field);
        if !seen.insert(text) {
            warnings.say(&item.field(field), &format!("duplicate {field} {}", quoted(text)));
        }
    }
}

/// There are no parts of bytes.
pub(crate) fn warn_of_fraction(amount: &At<'_>, warnings: &mut Warnings) {
    let Some(quantity) = formats::quantity(amount) else { return };
    if quantity.milli_value() % 1000 != 0 {
        let shown = quoted(&quantity.to_string());
        warnings.say(amount, &format!("fractional byte value {shown} is invalid, must be an integer"));
    }
}

fn warn_of_affinity(affinity: &At<'_>, warnings: &mut Warnings) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let kind = affinity.field(kind);
        for term in kind.field("requiredDuringSchedulingIgnoredDuringExecution").items() {
            warn_of_no_selector(&term.field("labelSelector"), warnings);
        }
        for term in kind.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
            warn_of_no_selector(&term.field("podAffinityTerm.labelSelector"), warnings);
        }
    }
}

fn warn_of_no_selector(selector: &At<'_>, warnings: &mut Warnings) {
    if !selector.present() {
        warnings.say(selector, NO_SELECTOR);
    }
}

/// Of an address in another form than it is printed in.
fn warn_of_ip(ip: &At<'_>, warnings: &mut Warnings) {
    let Ok(IpAddr::V6(parsed)) = ip.str().parse::<IpAddr>() else { return };
    let canonical = parsed.to_string();
    if canonical != ip.str() {
        let (shown, canonical) = (quoted(ip.str()), quoted(&canonical));
        warnings.say(ip, &format!("IPv6 address {shown} should be in RFC 5952 canonical format ({canonical})"));
    }
}
