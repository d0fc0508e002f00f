//! Warnings about containers of pods and pod templates, but for their ports.

use std::collections::HashSet;

use api_machinery::object;
use api_machinery::quote::quoted;

use crate::at::{At, same};
use crate::list::core_pod_annotations::{APP_ARMOR, SECCOMP_OF_CONTAINER};
use crate::list::core_pod_app_armor as app_armor;
use crate::list::core_pod_warnings::{USE_SECCOMP_FIELD, Warnings, warn_of_fraction};
use crate::list::core_windows as windows;

/// `notes`: the annotations.
pub(crate) fn warn(spec: &At<'_>, notes: &At<'_>, is_template: bool, warnings: &mut Warnings) {
    let of_pod = spec.field("securityContext.appArmorProfile");
    windows::each_container(spec, &mut |container| {
        warn_of_seccomp(container, notes, warnings);
        // Those of pods become fields.
        if is_template {
            warn_of_app_armor(container, &of_pod, notes, warnings);
        }
        for resource in ["memory", "ephemeral-storage"] {
            for list in ["resources.limits", "resources.requests"] {
                warn_of_fraction(&container.field(list).key(resource), warnings);
            }
        }
        warn_of_hidden(&container.field("env"), warnings);
    });
}

fn warn_of_seccomp(container: &At<'_>, notes: &At<'_>, warnings: &mut Warnings) {
    let key = format!("{SECCOMP_OF_CONTAINER}{}", container.field("name").str());
    let note = notes.key(&key);
    if note.present() && !container.field("securityContext.seccompProfile").present() {
        warnings.say(&note, USE_SECCOMP_FIELD);
    }
}

/// An annotation that says what the pod says is no harm.
fn warn_of_app_armor(container: &At<'_>, of_pod: &At<'_>, notes: &At<'_>, warnings: &mut Warnings) {
    let key = format!("{APP_ARMOR}{}", container.field("name").str());
    let note = notes.key(&key);
    if !note.present() || container.field("securityContext.appArmorProfile").present() {
        return;
    }
    let says_the_same = app_armor::profile_of(note.str()).is_some_and(|profile| same(of_pod.value, &profile));
    if !says_the_same {
        warnings.say(&note, app_armor::USE_FIELD);
    }
}

/// A variable that is defined again is lost, unless the later definition builds on it.
fn warn_of_hidden(env: &At<'_>, warnings: &mut Warnings) {
    let mut seen = HashSet::new();
    for one in env.items() {
        let name = object::str_at(one.value, "name");
        if seen.insert(name) {
            continue;
        }
        let (reference, value) = (format!("$({name})"), one.field("value"));
        let builds_on_it = value.str() != reference && value.str().contains(&reference);
        if !builds_on_it || one.field("valueFrom").present() {
            let name = quoted(name);
            let text = format!("hides previous definition of {name}, which may be dropped when using apply");
            warnings.say(&one, &text);
        }
    }
}
