//! The evaluator against one that knows no index: every binding, every subject, every rule, as upstream's text has it.

use std::sync::Arc;

use api_auth::authz::rbac::{Index, Objects, Rbac};
use api_auth::authz::{Authorizer, AuthzAttributes};
use api_machinery::{UserInfo, Value};
use serde_json::json;

/// A small generator whose numbers depend on the seed only.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
    fn some(&mut self, from: &[&str], most: usize) -> Vec<String> {
        (0..self.below(most + 1)).map(|_| self.pick(from).to_owned()).collect()
    }
}

const VERBS: [&str; 4] = ["get", "list", "delete", "*"];
const GROUPS: [&str; 3] = ["", "apps", "*"];
const RESOURCES: [&str; 9] = ["pods", "pods/log", "pods/", "*/log", "*", "secrets", "*/*", "deployments", "pods/*"];
const NAMES: [&str; 3] = ["a", "b", "*"];
const PATHS: [&str; 6] = ["/healthz", "/healthz/*", "*", "/a*", "/a/**", "/*/b"];
const NAMESPACES: [&str; 2] = ["x", "y"];
const ROLES: [&str; 3] = ["one", "two", "gone"];

fn rule(dice: &mut Dice) -> Value {
    json!({"verbs": dice.some(&VERBS, 2), "apiGroups": dice.some(&GROUPS, 2), "resources": dice.some(&RESOURCES, 3),
        "resourceNames": dice.some(&NAMES, 1), "nonResourceURLs": dice.some(&PATHS, 1)})
}

fn role(dice: &mut Dice, name: &str, namespace: &str) -> Arc<Value> {
    let rules: Vec<Value> = (0..dice.below(3)).map(|_| rule(dice)).collect();
    Arc::new(json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules}))
}

fn subject(dice: &mut Dice) -> Value {
    match dice.below(4) {
        0 => json!({"kind": "User", "name": dice.pick(&["ann", "bob", "system:serviceaccount:x:web"])}),
        1 => json!({"kind": "Group", "name": dice.pick(&["dev", "ops", "ann"])}),
        2 => json!({"kind": "ServiceAccount", "name": "web", "namespace": dice.pick(&["x", "y", ""])}),
        _ => json!({"kind": "ServiceAccount", "name": "web"}),
    }
}

fn binding(dice: &mut Dice, number: usize, namespace: &str) -> Arc<Value> {
    let kind = if namespace.is_empty() { "ClusterRole" } else { dice.pick(&["ClusterRole", "Role"]) };
    let subjects: Vec<Value> = (0..=dice.below(2)).map(|_| subject(dice)).collect();
    Arc::new(json!({"metadata": {"name": format!("b{number}"), "namespace": namespace},
        "roleRef": {"kind": kind, "name": dice.pick(&ROLES)}, "subjects": subjects}))
}

fn world(dice: &mut Dice) -> Objects {
    let mut objects = Objects::default();
    for name in &ROLES[..2] {
        objects.cluster_roles.push(role(dice, name, ""));
        for namespace in NAMESPACES {
            objects.roles.push(role(dice, name, namespace));
        }
    }
    for number in 0..4 {
        objects.cluster_role_bindings.push(binding(dice, number, ""));
        let namespace = dice.pick(&NAMESPACES);
        objects.role_bindings.push(binding(dice, number, namespace));
    }
    objects
}

fn asked(dice: &mut Dice) -> AuthzAttributes {
    let name = dice.pick(&["ann", "bob", "eve", "system:serviceaccount:x:web", "system:serviceaccount:y:web"]);
    let user = UserInfo { name: name.to_owned(), groups: dice.some(&["dev", "ops"], 2), ..UserInfo::default() };
    let verb = dice.pick(&["get", "list", "delete", "create"]).to_owned();
    if dice.below(4) == 0 {
        let path = dice.pick(&["/healthz", "/healthz/x", "/a", "/a/b", "/", "/x/b"]).to_owned();
        return AuthzAttributes { user, verb, path, ..AuthzAttributes::default() };
    }
    AuthzAttributes {
        user,
        verb,
        resource_request: true,
        group: dice.pick(&["", "apps"]).to_owned(),
        resource: dice.pick(&["pods", "secrets", "deployments"]).to_owned(),
        subresource: dice.pick(&["", "", "log", "exec"]).to_owned(),
        namespace: dice.pick(&["x", "y", ""]).to_owned(),
        name: dice.pick(&["", "a", "c"]).to_owned(),
        ..AuthzAttributes::default()
    }
}

fn list<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

/// `RuleAllows` of upstream, word by word.
fn rule_allows(rule: &Value, asked: &AuthzAttributes) -> bool {
    let verb = list(rule, "verbs").iter().any(|own| *own == "*" || *own == asked.verb);
    if !asked.resource_request {
        return verb
            && list(rule, "nonResourceURLs").iter().any(|own| {
                *own == "*"
                    || *own == asked.path
                    || own.ends_with('*') && asked.path.starts_with(own.trim_end_matches('*'))
            });
    }
    let combined = match asked.subresource.as_str() {
        "" => asked.resource.clone(),
        subresource => format!("{}/{subresource}", asked.resource),
    };
    let group = list(rule, "apiGroups").iter().any(|own| *own == "*" || *own == asked.group);
    let resource = list(rule, "resources").iter().any(|own| {
        *own == "*" || *own == combined || !asked.subresource.is_empty() && *own == format!("*/{}", asked.subresource)
    });
    let names = list(rule, "resourceNames");
    verb && group && resource && (names.is_empty() || names.contains(&asked.name.as_str()))
}

fn applies(subject: &Value, user: &UserInfo, binding_namespace: &str) -> bool {
    let name = text(subject, "/name");
    match text(subject, "/kind") {
        "User" => user.name == name,
        "Group" => user.groups.iter().any(|group| group == name),
        _ => {
            let own = text(subject, "/namespace");
            let namespace = if own.is_empty() { binding_namespace } else { own };
            !namespace.is_empty() && user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
    }
}

fn bound_allows(objects: &Objects, binding: &Value, asked: &AuthzAttributes) -> bool {
    let namespace = text(binding, "/metadata/namespace");
    let subjects = binding["subjects"].as_array().expect("subjects");
    if !subjects.iter().any(|subject| applies(subject, &asked.user, namespace)) {
        return false;
    }
    let (roles, place) = match text(binding, "/roleRef/kind") {
        "Role" => (&objects.roles, namespace),
        _ => (&objects.cluster_roles, ""),
    };
    let name = text(binding, "/roleRef/name");
    let is = |role: &&Arc<Value>| text(role, "/metadata/name") == name && text(role, "/metadata/namespace") == place;
    let role = roles.iter().find(is);
    role.is_some_and(|role| role["rules"].as_array().expect("rules").iter().any(|rule| rule_allows(rule, asked)))
}

fn reference(objects: &Objects, asked: &AuthzAttributes) -> bool {
    let everywhere = objects.cluster_role_bindings.iter();
    let here = objects
        .role_bindings
        .iter()
        .filter(|binding| !asked.namespace.is_empty() && text(binding, "/metadata/namespace") == asked.namespace);
    everywhere.chain(here).any(|binding| bound_allows(objects, binding, asked))
}

#[tokio::test]
async fn f14_the_index_answers_as_upstreams_loops_do() {
    let (mut allowed, mut refused) = (0, 0);
    for seed in 1..=300 {
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let objects = world(&mut dice);
        let rbac = Arc::new(Rbac::default());
        rbac.update(Index::build(&objects));
        for _ in 0..100 {
            let asked = asked(&mut dice);
            let wanted = reference(&objects, &asked);
            let found = rbac.authorize(&asked).await.allowed();
            assert_eq!(found, wanted, "seed {seed}: {asked:?}\n{:?}\n{:?}", objects.cluster_roles, objects.roles);
            if wanted { allowed += 1 } else { refused += 1 }
        }
    }
    assert!(allowed > 500 && refused > 500, "the worlds must be worth asking: {allowed} allowed, {refused} refused");
}
