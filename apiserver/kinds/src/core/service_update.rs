//! What may change of a Service.

use api_machinery::{ErrorList, Value, object};

use crate::at::{At, IMMUTABLE, child, is_empty};
use crate::cells;
use crate::list::{core_service_families as families, core_service_validation as validation};

pub(crate) fn validate(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.field("spec");
    let old_spec = child(old, "spec");
    let kinds = [spec.field("type").str(), object::str_at(old_spec, "type")];
    if !kinds.contains(&"ExternalName") {
        let headless = [families::is_headless(spec.value), families::is_headless(old_spec)];
        if headless != [true, true] {
            validate_ips_kept(&spec, old_spec, errors);
        }
        if headless == [false, false] {
            validate_families_kept(&spec, old_spec, errors);
        }
    }
    let class = spec.field("loadBalancerClass");
    if kinds == ["LoadBalancer", "LoadBalancer"] && class.value != child(old_spec, "loadBalancerClass") {
        class.invalid(errors, "may not change once set");
    }
    // What holds for new ones is said here as well as there.
    validation::validate_class(&spec, errors);
    let needs_health = |spec: &Value| {
        object::str_at(spec, "type") == "LoadBalancer" && object::str_at(spec, "externalTrafficPolicy") == "Local"
    };
    let health = spec.field("healthCheckNodePort");
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let changed = number(health.value) != number(child(old_spec, "healthCheckNodePort"));
    if needs_health(spec.value) && needs_health(old_spec) && changed {
        health.forbidden(errors, IMMUTABLE);
    }
}

/// The first address stays; a second one may come, and go with the policy that wants one.
fn validate_ips_kept(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let ips = spec.field("clusterIPs");
    let (new, old) = (ips.list(), cells::list(old, "clusterIPs"));
    let say = |index: usize, detail: &str, errors: &mut ErrorList| {
        errors.invalid(&ips.path().index(index), ips.value, detail);
    };
    if new.len() == old.len() {
        for (index, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new != old) {
            say(index, "may not change once set", errors);
        }
        return;
    }
    if new.is_empty() {
        say(0, "primary clusterIP can not be unset", errors);
    }
    if let (Some(first), Some(before)) = (new.first(), old.first())
        && first != before
    {
        say(0, "may not change once set", errors);
    }
    if new.len() == 1 && old.len() > 1 {
        validate_single(spec, "must be set to 'SingleStack' when releasing the secondary clusterIP", errors);
    }
}

fn validate_single(spec: &At<'_>, detail: &str, errors: &mut ErrorList) {
    let policy = spec.field("ipFamilyPolicy");
    if policy.str() != "SingleStack" {
        policy.invalid(errors, detail);
    }
}

/// As for addresses; upstream names the first one in all errors.
fn validate_families_kept(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let families = spec.field("ipFamilies");
    let (new, old) = (families.list(), cells::list(old, "ipFamilies"));
    let path = || families.path().index(0);
    if new.len() == old.len() {
        for _ in new.iter().zip(old).filter(|(new, old)| new != old) {
            errors.invalid(&path(), families.value, "may not change once set");
        }
        return;
    }
    let ips = child(spec.value, "clusterIPs");
    if new.len() < old.len() && is_empty(ips) {
        errors.invalid(&path(), families.value, "primary ipFamily can not be unset");
    }
    if let (Some(first), Some(before)) = (new.first(), old.first())
        && first != before
    {
        errors.invalid(&path(), ips, "may not change once set");
    }
    if new.len() == 1 && old.len() > 1 {
        validate_single(spec, "must be set to 'SingleStack' when releasing the secondary ipFamily", errors);
    }
}
