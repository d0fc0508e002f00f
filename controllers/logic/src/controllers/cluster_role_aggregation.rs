//! ClusterRoles that gather the rules of others: `aggregationRule` chooses them by label, and their rules become its
//! own, by name of the role and each once.

use api_machinery::labels::Selector;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::controller::{Context, Controller};
use crate::meta::Meta;
use crate::plan::{Plan, to_value};
use crate::world::{Change, Key, Kind, World};

pub struct ClusterRoleAggregationController;

impl Controller for ClusterRoleAggregationController {
    fn name(&self) -> &'static str {
        "ClusterRoleAggregator"
    }
    fn account(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }
    /// Roles gather each other, and they are few: any change concerns all that gather.
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::ClusterRole => {
                world.cluster_roles.iter().filter(|role| gathers(role)).map(|role| Key::of(&**role)).collect()
            }
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, _context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(role) = world.cluster_roles.at(key).filter(|role| gathers(role) && !role.is_deleting()) else {
            return plan;
        };
        let rules = gathered(world, role);
        if role.rules.as_deref().unwrap_or(&[]) != rules.as_slice() {
            let changed = ClusterRole { rules: Some(rules), ..(**role).clone() };
            plan.change(&**role, &changed, "");
        }
        plan
    }
}

fn gathers(role: &ClusterRole) -> bool {
    role.aggregation_rule.is_some()
}

/// A selector that cannot be read keeps everything as it is: upstream tries it again and again.
fn gathered(world: &World, role: &ClusterRole) -> Vec<PolicyRule> {
    let selectors = role.aggregation_rule.iter().flat_map(|rule| rule.cluster_role_selectors.iter().flatten());
    let selectors: Option<Vec<Selector>> = selectors.map(selector).collect();
    let Some(selectors) = selectors else { return role.rules.clone().unwrap_or_default() };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        // The table is in order of names.
        let chosen = world.cluster_roles.iter().filter(|one| one.name() != role.name());
        for rule in chosen.filter(|one| selector.matches_map(one.labels())).flat_map(|one| one.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

fn selector(selector: &LabelSelector) -> Option<Selector> {
    Selector::from_object(Some(&to_value(selector))).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn role(value: Value) -> ClusterRole {
        serde_json::from_value(value).expect("a role")
    }

    fn plan(world: &World, name: &str) -> String {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let context = Context { now, failure: None, reads: &BTreeMap::new(), level: false, shown: 0 };
        ClusterRoleAggregationController.reconcile(world, &Key::new("", name), &context).to_string()
    }

    fn pods(verb: &str) -> Value {
        json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]})
    }

    #[test]
    fn rules_are_those_of_the_chosen_by_name_and_once() {
        let mut world = World::default();
        let label = json!({"to-view": "true"});
        let view = json!({"metadata": {"name": "view", "uid": "v", "labels": label},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": label}]}, "rules": [pods("delete")]});
        world.put(role(view.clone()));
        world.put(role(json!({"metadata": {"name": "b", "labels": label}, "rules": [pods("list"), pods("get")]})));
        let change = world.put(role(json!({"metadata": {"name": "a", "labels": label}, "rules": [pods("get")]})));
        world.put(role(json!({"metadata": {"name": "other"}, "rules": [pods("update")]})));
        assert_eq!(ClusterRoleAggregationController.keys(&world, &change.view()), [Key::new("", "view")]);
        let rules = json!([pods("get"), pods("list")]);
        let body = json!({"metadata": {"uid": "v"}, "rules": rules});
        assert_eq!(plan(&world, "view"), format!("patch clusterroles.rbac.authorization.k8s.io view {body}\n"));
        let mut done = view;
        done["rules"] = rules;
        world.put(role(done));
        assert_eq!(plan(&world, "view"), "nothing\n");
        assert_eq!(plan(&world, "a"), "nothing\n", "gathers nothing");
        // What was chosen and is no more takes its rules along.
        world.remove::<ClusterRole>(Key::new("", "b"));
        assert!(plan(&world, "view").contains(r#""rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]"#));
    }
}
