//! AppArmor, seccomp and SELinux.

use std::collections::BTreeSet;

use api_machinery::{Value, object};

use super::super::pods::{Pod, security};
use super::Finding;
use super::text::{containers, finding, names, plural, quoted, setters};

const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The type of a profile where one is set.
fn kind<'a>(holder: &'a Value, profile: &str) -> Option<&'a str> {
    Some(object::str_at(security(holder, profile)?, "type"))
}

fn is_good(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

/// Whether the pod, and which containers, set a bad type, and which types.
fn bad_kinds<'a>(pod: Pod<'a>, profile: &str) -> (bool, Vec<&'a str>, BTreeSet<&'a str>) {
    let bad = |holder: &'a Value| kind(holder, profile).filter(|kind| !is_good(kind));
    let mut kinds: BTreeSet<&str> = bad(pod.spec).into_iter().collect();
    let of_pod = !kinds.is_empty();
    let names = names(pod, |container| {
        kinds.extend(bad(container));
        bad(container).is_some()
    });
    (of_pod, names, kinds)
}

pub(super) fn app_armor(pod: Pod<'_>) -> Option<Finding> {
    let (of_pod, bad, kinds) = bad_kinds(pod, "appArmorProfile");
    let good = |profile: &str| profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/");
    let annotations = pod.annotations().filter(|(key, value)| key.starts_with(APP_ARMOR_ANNOTATION) && !good(value));
    let annotations: BTreeSet<String> = annotations.map(|(key, value)| format!("{key}={value:?}")).collect();
    let mut who: Vec<String> = setters(of_pod, &bad).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<&str> = kinds.into_iter().chain(annotations.iter().map(String::as_str)).collect();
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    finding(reason, format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)))
}

/// Before v1.19 profiles were annotations.
pub(super) fn seccomp_annotations(pod: Pod<'_>) -> Option<Finding> {
    let good =
        |profile: &str| matches!(profile, "runtime/default" | "docker/default") || profile.starts_with("localhost/");
    let keys: BTreeSet<String> = pod
        .containers()
        .map(|container| format!("{SECCOMP_OF_CONTAINER}{}", object::str_at(container, "name")))
        .chain([SECCOMP_ANNOTATION.to_owned()])
        .collect();
    let bad = pod.annotations().filter(|(key, value)| keys.contains(*key) && !good(value));
    let bad: BTreeSet<String> = bad.map(|(key, value)| format!("{key}={value:?}")).collect();
    if bad.is_empty() {
        return None;
    }
    let what = plural("annotation", "annotations", bad.len());
    finding("seccompProfile", format!("forbidden {what} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

pub(super) fn seccomp(pod: Pod<'_>) -> Option<Finding> {
    let (of_pod, bad, kinds) = bad_kinds(pod, "seccompProfile");
    let who = setters(of_pod, &bad)?;
    finding("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&kinds)))
}

pub(super) fn seccomp_required(pod: Pod<'_>) -> Option<Finding> {
    if let Some(found) = seccomp(pod) {
        return Some(found);
    }
    let for_all = kind(pod.spec, "seccompProfile").is_some();
    let silent = names(pod, |container| !for_all && kind(container, "seccompProfile").is_none());
    if silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&silent)
    );
    finding("seccompProfile", detail)
}

pub(super) fn seccomp_required_unless_windows(pod: Pod<'_>) -> Option<Finding> {
    if pod.is_windows() { None } else { seccomp_required(pod) }
}

const TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

pub(super) fn se_linux(pod: Pod<'_>) -> Option<Finding> {
    se_linux_of(pod, TYPES.split_last()?.1)
}

pub(super) fn se_linux_with_engine(pod: Pod<'_>) -> Option<Finding> {
    se_linux_of(pod, &TYPES)
}

#[derive(Default)]
struct Labels<'a> {
    types: BTreeSet<&'a str>,
    user: bool,
    role: bool,
}

impl<'a> Labels<'a> {
    /// Notes what is forbidden of these options; whether anything is.
    fn note(&mut self, options: &'a Value, allowed: &[&str]) -> bool {
        let kind = object::str_at(options, "type");
        let (bad_type, user, role) = (
            !allowed.contains(&kind),
            !object::str_at(options, "user").is_empty(),
            !object::str_at(options, "role").is_empty(),
        );
        self.types.extend(bad_type.then_some(kind));
        self.user |= user;
        self.role |= role;
        bad_type || user || role
    }

    fn told(&self) -> String {
        let types = &self.types;
        let types = (!types.is_empty()).then(|| format!("{} {}", plural("type", "types", types.len()), quoted(types)));
        let user = self.user.then(|| "user may not be set".to_owned());
        let role = self.role.then(|| "role may not be set".to_owned());
        types.into_iter().chain(user).chain(role).collect::<Vec<_>>().join("; ")
    }
}

fn se_linux_of(pod: Pod<'_>, allowed: &[&str]) -> Option<Finding> {
    let mut labels = Labels::default();
    let of_pod = pod.security("seLinuxOptions").is_some_and(|options| labels.note(options, allowed));
    let bad = names(pod, |container| {
        security(container, "seLinuxOptions").is_some_and(|options| labels.note(options, allowed))
    });
    let who = setters(of_pod, &bad)?;
    finding("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", labels.told()))
}
