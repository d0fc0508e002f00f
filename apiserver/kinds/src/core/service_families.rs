//! Addresses of Services and the families they are of: what follows from what a client wrote, and what does not go
//! together. This cluster has one family.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, object};

use crate::at::{At, child, is_empty};
use crate::{cells, formats};

/// The family of this cluster, and the one it has not.
const FAMILY: &str = "IPv4";
const OTHER: &str = "IPv6";
/// The lists that come in pairs, with their items as errors name them.
const LISTS: [(&str, &str, &str); 2] =
    [("clusterIPs", "cluster IP", "cluster IPs"), ("ipFamilies", "IP family", "IP families")];

/// Fills in policy and families. What does not go together stays as it is, to be refused.
pub(crate) fn settle(object: &mut Value, old: Option<&Value>) {
    if !child(object, "spec").is_object() || is_without(object) || stays_preferred(object, old) {
        return;
    }
    if child(object, "spec.ipFamilyPolicy").is_null() {
        let policy = default_policy(child(object, "spec"), old);
        object["spec"]["ipFamilyPolicy"] = policy;
    }
    if let Some(old) = old {
        release_second(object, old);
    }
    let mut errors = ErrorList::new();
    validate(object, old, &mut errors);
    if errors.is_empty() {
        settle_families(&mut object["spec"]);
    }
}

/// Names of elsewhere have no addresses.
fn is_without(object: &Value) -> bool {
    object::str_at(object, "spec.type") == "ExternalName"
}

/// Headless and without a selector: of which families the endpoints are, only who makes them knows.
fn is_for_any_family(spec: &Value) -> bool {
    object::str_at(spec, "clusterIP") == "None" && is_empty(child(spec, "selector"))
}

fn default_policy(spec: &Value, old: Option<&Value>) -> Value {
    match old.map(|old| child(old, "spec.ipFamilyPolicy")).filter(|policy| !policy.is_null()) {
        Some(policy) => policy.clone(),
        None if is_for_any_family(spec) => "RequireDualStack".into(),
        None => "SingleStack".into(),
    }
}

/// A Service that prefers two families stays with what it has while nothing of that changes.
fn stays_preferred(object: &Value, old: Option<&Value>) -> bool {
    let Some(old) = old else { return false };
    let (new, old) = (child(object, "spec"), child(old, "spec"));
    object::str_at(new, "ipFamilyPolicy") == "PreferDualStack"
        && matches!(child(old, "ipFamilyPolicy").as_str(), None | Some("PreferDualStack"))
        && matches!(object::str_at(new, "type"), "ClusterIP" | "NodePort" | "LoadBalancer")
        && child(new, "type") == child(old, "type")
        && LISTS.iter().all(|(list, ..)| child(new, list) == child(old, list))
}

/// Who asks for one family, and leaves two as they are, gives the second one back.
fn release_second(object: &mut Value, old: &Value) {
    let old = child(old, "spec");
    let spec = &mut object["spec"];
    if object::str_at(spec, "ipFamilyPolicy") != "SingleStack" {
        return;
    }
    for (list, ..) in LISTS {
        let untouched = child(spec, list) == child(old, list);
        if untouched && let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) {
            items.truncate(1);
        }
    }
}

/// Families that are not said are those of the addresses, else the cluster's.
fn settle_families(spec: &mut Value) {
    let mut families = cells::list(spec, "ipFamilies").to_vec();
    let ips = cells::list(spec, "clusterIPs").iter().skip(families.len()).filter_map(Value::as_str);
    families.extend(ips.take_while(|ip| *ip != "None").map(|ip| Value::from(family_of(ip))));
    if families.is_empty() {
        families.push(FAMILY.into());
    }
    let single = object::str_at(spec, "ipFamilyPolicy") == "SingleStack";
    if is_for_any_family(spec) && families.len() < 2 && !single {
        let second = if families[0] == FAMILY { OTHER } else { FAMILY };
        families.push(second.into());
    }
    spec["ipFamilies"] = families.into();
}

fn family_of(ip: &str) -> &'static str {
    if formats::parse_ip(ip).is_some_and(|ip| ip.is_ipv6()) { OTHER } else { FAMILY }
}

/// What is found out before anything is given, and said alone.
pub(crate) fn validate(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    if is_without(object) || stays_preferred(object, old) {
        return;
    }
    let root = At::root(object);
    let spec = root.field("spec");
    let before = errors.len();
    validate_related(&spec, old, errors);
    if errors.len() == before {
        validate_policy(&spec, old, errors);
    }
    if errors.len() == before && !is_for_any_family(spec.value) {
        validate_configured(&spec, errors);
    }
}

/// One address and one family go with a policy for one; an address is of the cluster's family.
fn validate_policy(spec: &At<'_>, old: Option<&Value>, errors: &mut ErrorList) {
    let policy = spec.field("ipFamilyPolicy");
    let single = policy.str() == "SingleStack";
    let old_spec = old.map_or(&Value::Null, |old| child(old, "spec"));
    for (list, one, several) in LISTS {
        let (now, before) = (cells::list(spec.value, list).len(), cells::list(old_spec, list).len());
        if !single && (1..before).contains(&now) {
            policy.invalid(errors, &format!("must be 'SingleStack' to release the secondary {one}"));
        }
        if single && now == 2 {
            let detail =
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {several} are specified");
            policy.invalid(errors, &detail);
        }
    }
    let (ips, families) = (spec.field("clusterIPs"), cells::list(spec.value, "ipFamilies"));
    let unsaid = ips.list().iter().enumerate().skip(families.len());
    for (index, ip) in unsaid.take_while(|(_, ip)| **ip != "None") {
        if family_of(ip.as_str().unwrap_or("")) == OTHER {
            errors.invalid(&ips.path().index(index), ips.value, "IPv6 is not configured on this cluster");
        }
    }
}

fn validate_configured(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.field("ipFamilyPolicy");
    if policy.str() == "RequireDualStack" {
        policy.invalid(errors, "this cluster is not configured for dual-stack services");
    }
    for family in spec.field("ipFamilies").items().filter(|family| family.str() == OTHER) {
        family.invalid(errors, "not configured on this cluster");
    }
}

/// Addresses, families and policy by themselves; whether addresses are free is decided where they are claimed.
pub(crate) fn validate_related(spec: &At<'_>, old: Option<&Value>, errors: &mut ErrorList) {
    if spec.field("type").str() == "ExternalName" {
        return;
    }
    let (ip, ips) = (spec.field("clusterIP"), spec.field("clusterIPs"));
    validate_first(&ip, &ips, errors);
    validate_families(spec, errors);
    let known = old.map_or(&[][..], |old| cells::list(old, "spec.clusterIPs"));
    let invalid = validate_addresses(&ips, known, errors);
    if ips.list().len() > 2 {
        ips.invalid(errors, "may only hold up to 2 values");
    }
    if invalid {
        return;
    }
    let families: HashSet<bool> =
        ips.list().iter().filter_map(|ip| formats::parse_ip(ip.as_str()?)).map(|ip| ip.is_ipv4()).collect();
    if ips.list().len() > 1 && families.len() < 2 {
        ips.invalid(errors, "may specify no more than one IP for each IP family");
    }
    validate_ips_fit_families(spec, &ips, errors);
}

/// The list begins with the address.
fn validate_first(ip: &At<'_>, ips: &At<'_>, errors: &mut ErrorList) {
    let first = ips.list().first().and_then(Value::as_str);
    match (ip.str(), first) {
        ("", Some(_)) => ips.invalid(errors, "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => ips.required(errors, ""),
        (ip, Some(first)) if ip != first => ips.invalid(errors, "first value must match `clusterIP`"),
        _ => {}
    }
}

/// Answers whether some are none. What was stored may stay.
fn validate_addresses(ips: &At<'_>, known: &[Value], errors: &mut ErrorList) -> bool {
    let before = errors.len();
    for (index, ip) in ips.items().enumerate() {
        if index > 0 || ip.str() != "None" {
            if !known.contains(ip.value) {
                ip.format(errors, formats::ip);
            }
        } else if ips.list().len() > 1 {
            ips.invalid(errors, "'None' must be the first and only value");
        }
    }
    errors.len() > before
}

fn validate_families(spec: &At<'_>, errors: &mut ErrorList) {
    let families = spec.field("ipFamilies");
    let mut seen = HashSet::new();
    for family in families.items() {
        family.exactly_one_of(errors, &[FAMILY, OTHER]);
        if !seen.insert(family.str()) {
            family.duplicate(errors);
        }
    }
    let policy = spec.field("ipFamilyPolicy");
    policy.one_of_if_present(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
}

fn validate_ips_fit_families(spec: &At<'_>, ips: &At<'_>, errors: &mut ErrorList) {
    if is_headless(spec.value) {
        return;
    }
    let families = spec.field("ipFamilies");
    for (index, (ip, family)) in ips.list().iter().zip(families.list()).enumerate() {
        let Some(parsed) = ip.as_str().and_then(formats::parse_ip) else { continue };
        let wanted = family.as_str().unwrap_or("");
        if matches!(wanted, "IPv4" | "IPv6") && parsed.is_ipv4() != (wanted == "IPv4") {
            let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&ips.path().index(index), ip, &detail);
        }
    }
}

/// Without an address of its own.
pub(crate) fn is_headless(spec: &Value) -> bool {
    matches!(child(spec, "clusterIPs").as_array().map(Vec::as_slice), Some([only]) if only == "None")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settled(spec: Value, old: Option<Value>) -> (Value, String) {
        let mut service = json!({"spec": spec});
        let old = old.map(|old| json!({"spec": old}));
        settle(&mut service, old.as_ref());
        let mut errors = ErrorList::new();
        validate(&service, old.as_ref(), &mut errors);
        let text = if errors.is_empty() { String::new() } else { errors.message() };
        (json!([service["spec"]["ipFamilyPolicy"], service["spec"]["ipFamilies"]]), text)
    }

    #[test]
    fn families_follow() {
        let none = json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]});
        let mut selecting = none.clone();
        selecting["selector"] = json!({"a": "b"});
        let one = json!(["SingleStack", ["IPv4"]]);
        assert_eq!(settled(json!({"type": "ClusterIP"}), None), (one.clone(), String::new()));
        assert_eq!(settled(selecting, None), (one, String::new()));
        let any = json!(["RequireDualStack", ["IPv4", "IPv6"]]);
        assert_eq!(settled(none.clone(), None), (any, String::new()));
        let mut stored = none.clone();
        stored["ipFamilyPolicy"] = "RequireDualStack".into();
        stored["ipFamilies"] = json!(["IPv4", "IPv6"]);
        let mut single = stored.clone();
        single["ipFamilyPolicy"] = "SingleStack".into();
        assert_eq!(settled(single, Some(stored)), (json!(["SingleStack", ["IPv4"]]), String::new()));
    }

    #[test]
    fn what_this_cluster_has_not() {
        let text = |spec: Value| settled(spec, None).1;
        assert_eq!(
            text(json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"})),
            r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#
        );
        assert_eq!(
            text(json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]})),
            r#"spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#
        );
        assert_eq!(
            text(json!({"type": "ClusterIP", "clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]})),
            r#"spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster"#
        );
    }
}
