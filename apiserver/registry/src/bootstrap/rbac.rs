//! What an existing role or binding lacks of what every cluster has (`k8s.io/component-helpers/auth/rbac/reconciliation`):
//! it is added again at each start, and what an operator added stays. Pure.

use std::collections::HashSet;

use api_machinery::{Value, object};
use serde_json::{Map, json};

use crate::policy_rule::{self, PolicyRule};

/// Of roles and bindings: `false` keeps them as they are.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Fills in the rules of aggregated cluster roles, so that a new cluster need not wait for the controller. They
/// aggregate each other (view into edit into admin), so it is done until nothing changes.
pub(super) fn aggregate(all: &mut [Value]) {
    let selectors: Vec<(usize, Vec<Value>)> = all
        .iter()
        .enumerate()
        .filter_map(|(index, role)| {
            let selectors = selectors(role)?;
            Some((index, selectors.iter().filter_map(|one| one.get("matchLabels")).cloned().collect()))
        })
        .collect();
    for _ in 0..=selectors.len() {
        for (index, labels) in &selectors {
            let chosen =
                |role: &&Value| role["kind"] == "ClusterRole" && labels.iter().any(|labels| has_labels(role, labels));
            let rules: Vec<Value> =
                all.iter().filter(chosen).filter_map(|role| role["rules"].as_array()).flatten().cloned().collect();
            let mut seen = HashSet::new();
            all[*index]["rules"] = rules.into_iter().filter(|rule| seen.insert(rule.to_string())).collect();
        }
    }
}

fn has_labels(role: &Value, labels: &Value) -> bool {
    let labels = labels.as_object();
    labels.into_iter().flatten().all(|(key, value)| object::label(role, key) == value.as_str())
}

fn selectors(role: &Value) -> Option<&Vec<Value>> {
    object::at(role, "aggregationRule.clusterRoleSelectors")?.as_array()
}

fn is_rbac(wanted: &Value) -> bool {
    object::str_at(wanted, "apiVersion").starts_with("rbac.authorization.k8s.io/")
}

fn is_protected(old: &Value) -> bool {
    object::annotation(old, AUTOUPDATE) == Some("false")
}

/// Whether a binding is to another role than it should be: what it binds to cannot be changed, so it is made anew.
pub(super) fn binds_elsewhere(old: &Value, wanted: &Value) -> bool {
    let differs = |path: &str| object::str_at(old, path) != object::str_at(wanted, path);
    is_rbac(wanted)
        && !is_protected(old)
        && wanted.get("roleRef").is_some()
        && (differs("roleRef.kind") || differs("roleRef.name"))
}

/// The object with everything that was missing.
pub(super) fn reconcile(old: &Value, wanted: &Value) -> Value {
    let mut new = old.clone();
    if !is_rbac(wanted) || is_protected(old) {
        return new;
    }
    for field in ["labels", "annotations"] {
        add_missing_keys(&mut new, wanted, field);
    }
    match object::str_at(wanted, "kind") {
        "ClusterRole" | "Role" => reconcile_role(&mut new, wanted),
        _ => add_missing(&mut new, wanted, "subjects", |have, one| have.iter().any(|own| same_subject(own, one))),
    }
    new
}

/// What is there counts more.
fn add_missing_keys(new: &mut Value, wanted: &Value, field: &str) {
    let Some(wanted) = object::meta(wanted).and_then(|meta| meta.get(field)).and_then(Value::as_object) else { return };
    let own = object::meta_mut(new).entry(field).or_insert_with(|| json!({}));
    if let Some(own) = own.as_object_mut() {
        for (key, value) in wanted {
            own.entry(key).or_insert_with(|| value.clone());
        }
    }
}

fn add_missing(new: &mut Value, wanted: &Value, field: &str, has: impl Fn(&[Value], &Value) -> bool) {
    let Some(wanted) = wanted.get(field).and_then(Value::as_array) else { return };
    let mut have = new.get(field).and_then(Value::as_array).cloned().unwrap_or_else(Vec::new);
    let count = have.len();
    for one in wanted {
        if !has(&have, one) {
            have.push(one.clone());
        }
    }
    if have.len() > count {
        new[field] = have.into();
    }
}

/// The rules of a role that gathers are the controller's.
fn reconcile_role(new: &mut Value, wanted: &Value) {
    let Some(wanted_selectors) = selectors(wanted) else {
        if let Some(map) = new.as_object_mut() {
            map.remove("aggregationRule");
        }
        return add_missing(new, wanted, "rules", covers);
    };
    let mut have = selectors(new).cloned().unwrap_or_else(Vec::new);
    for one in wanted_selectors {
        if !have.contains(one) {
            have.push(one.clone());
        }
    }
    if selectors(new) != Some(&have) {
        new["aggregationRule"] = json!({"clusterRoleSelectors": have});
    }
}

/// Whether rules grant all that one does, be it in several.
fn covers(have: &[Value], wanted: &Value) -> bool {
    let owned: Vec<PolicyRule<'_>> = have.iter().map(PolicyRule::from_json).collect();
    policy_rule::check_covered(&owned, &[PolicyRule::from_json(wanted)]).is_ok()
}

/// Kind, group, namespace and name; what is absent is empty, as in upstream's type.
fn same_subject(own: &Value, wanted: &Value) -> bool {
    let empty = Map::new();
    let of = |subject: &Value, field: &str| {
        let map = subject.as_object().unwrap_or(&empty);
        map.get(field).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    ["kind", "namespace", "name"].iter().all(|field| of(own, field) == of(wanted, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(rules: Value, more: Value) -> Value {
        let mut role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "r", "labels": {"a": "b"}}, "rules": rules});
        for (field, value) in more.as_object().expect("an object") {
            role[field] = value.clone();
        }
        role
    }

    fn pods(verbs: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": [""], "resources": ["pods"]})
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_else() {
        let wanted = role(json!([pods(&["get", "list"])]), json!({}));
        let same = |old: &Value| reconcile(old, &wanted) == *old;
        assert!(same(&role(json!([pods(&["get"]), pods(&["list", "delete"])]), json!({}))), "in several, and more");
        assert!(same(&role(json!([pods(&["*"])]), json!({}))));
        let less = role(json!([pods(&["get"])]), json!({}));
        assert_eq!(reconcile(&less, &wanted)["rules"], json!([pods(&["get"]), pods(&["get", "list"])]));
        let mut bare = wanted.clone();
        bare["metadata"] = json!({"name": "r", "labels": {"a": "own"}, "annotations": {"x": "y"}});
        let mut marked = wanted.clone();
        marked["metadata"]["annotations"] = json!({AUTOUPDATE: "true"});
        let metadata = &reconcile(&bare, &marked)["metadata"];
        assert_eq!((&metadata["labels"]["a"], &metadata["annotations"][AUTOUPDATE]), (&json!("own"), &json!("true")));
        let mut kept = less;
        kept["metadata"]["annotations"] = json!({AUTOUPDATE: "false"});
        assert!(same(&kept), "an operator keeps it as it is");
    }

    #[test]
    fn aggregation_is_kept_where_it_belongs() {
        let selector = |label: &str| json!({"matchLabels": {label: "true"}});
        let gathers = |labels: &[&str]| {
            let all: Vec<Value> = labels.iter().map(|label| selector(label)).collect();
            json!({"aggregationRule": {"clusterRoleSelectors": all}})
        };
        let wanted = role(json!([pods(&["get"])]), gathers(&["to-view"]));
        let found = reconcile(&role(json!([]), gathers(&["own"])), &wanted);
        assert_eq!(found["aggregationRule"], gathers(&["own", "to-view"])["aggregationRule"]);
        assert_eq!(found["rules"], json!([]), "they are gathered");
        let plain = reconcile(&role(json!([]), gathers(&["own"])), &role(json!([]), json!({})));
        assert_eq!(plain.get("aggregationRule"), None);
    }

    #[test]
    fn bindings() {
        let binding = |role: &str, names: &[&str]| {
            let subject = |name: &&str| json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name});
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "b"},
                "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": names.iter().map(subject).collect::<Vec<_>>()})
        };
        let wanted = binding("r", &["a"]);
        assert_eq!(reconcile(&binding("r", &["b"]), &wanted)["subjects"], binding("r", &["b", "a"])["subjects"]);
        assert!(!binds_elsewhere(&binding("r", &[]), &wanted) && binds_elsewhere(&binding("other", &["a"]), &wanted));
        let mut kept = binding("other", &["a"]);
        kept["metadata"]["annotations"] = json!({AUTOUPDATE: "false"});
        assert!(!binds_elsewhere(&kept, &wanted));
    }
}
