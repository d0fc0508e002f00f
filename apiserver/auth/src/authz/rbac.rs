//! RBAC: roles and bindings compiled into an index by subject.
//!
//! [`Rbac`] answers from the last [`Index`] it was given; whoever follows the four RBAC resources
//! builds a new one on change. Semantics are upstream's (`k8s.io/kubernetes/pkg/apis/rbac/v1`).

use std::collections::HashMap;
use std::sync::Arc;

use api_machinery::{UserInfo, Value, object};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use serde_json::json;

use super::{Authorizer, AuthzAttributes, Decision, Incomplete, aggregated};

/// One `PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    paths: Vec<String>,
}

fn strings(value: &Value, field: &str) -> Vec<String> {
    let list = value.get(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Rule {
    pub fn from_json(rule: &Value) -> Self {
        Self {
            verbs: strings(rule, "verbs"),
            groups: strings(rule, "apiGroups"),
            resources: strings(rule, "resources"),
            names: strings(rule, "resourceNames"),
            paths: strings(rule, "nonResourceURLs"),
        }
    }

    pub fn allows(&self, asked: &AuthzAttributes) -> bool {
        if !has(&self.verbs, &asked.verb) {
            return false;
        }
        if !asked.resource_request {
            return self.paths.iter().any(|path| path_matches(path, &asked.path));
        }
        has(&self.groups, &asked.group)
            && self.resources.iter().any(|resource| resource_matches(resource, asked))
            && (self.names.is_empty() || self.names.contains(&asked.name))
    }

    fn resource_json(&self) -> Value {
        let mut out = json!({"verbs": self.verbs});
        let lists = [("apiGroups", &self.groups), ("resources", &self.resources), ("resourceNames", &self.names)];
        for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            out[field] = json!(list);
        }
        out
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == "*" || own == wanted)
}

/// `*`, `pods`, `pods/log`, `*/scale`.
fn resource_matches(rule: &str, asked: &AuthzAttributes) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => asked.subresource.is_empty() && rule == asked.resource,
        Some((resource, subresource)) => {
            !subresource.is_empty()
                && subresource == asked.subresource
                && (resource == "*" || resource == asked.resource)
        }
    }
}

/// `*`, `/healthz`, `/healthz/*`; stars at the end are one.
fn path_matches(rule: &str, path: &str) -> bool {
    rule == path || rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*'))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
    /// Namespace and name.
    Account(String, String),
}

impl Subject {
    /// `None` for a kind we do not know.
    fn from_json(subject: &Value, binding_namespace: &str) -> Option<Self> {
        let name = subject.get("name")?.as_str()?.to_owned();
        match subject.get("kind")?.as_str()? {
            "User" => Some(Self::User(name)),
            "Group" => Some(Self::Group(name)),
            "ServiceAccount" => {
                let own = subject.get("namespace").and_then(Value::as_str).filter(|own| !own.is_empty());
                let namespace = Some(own.unwrap_or(binding_namespace)).filter(|namespace| !namespace.is_empty())?;
                Some(Self::Account(namespace.to_owned(), name))
            }
            _ => None,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::User(name) => format!("User {name:?}"),
            Self::Group(name) => format!("Group {name:?}"),
            Self::Account(namespace, name) => format!("ServiceAccount \"{name}/{namespace}\""),
        }
    }
}

/// What one binding grants to one subject.
#[derive(Debug)]
struct Grant {
    /// The binding's among all, and the subject's in the binding.
    place: (usize, usize),
    /// `None`: everywhere.
    namespace: Option<String>,
    /// `Err`: why there are none.
    rules: Result<Arc<Vec<Rule>>, String>,
    /// `ClusterRoleBinding "x" of ClusterRole "y"`
    via: String,
}

impl Grant {
    fn rules(&self) -> &[Rule] {
        self.rules.as_ref().map_or(&[], |rules| rules.as_slice())
    }
}

/// All bindings, by subject.
#[derive(Debug, Default)]
pub struct Index {
    grants: HashMap<Subject, Vec<Grant>>,
}

/// The four resources as they are.
#[derive(Default)]
pub struct Objects {
    pub cluster_roles: Vec<Arc<Value>>,
    pub roles: Vec<Arc<Value>>,
    pub cluster_role_bindings: Vec<Arc<Value>>,
    pub role_bindings: Vec<Arc<Value>>,
}

impl Index {
    /// A binding whose role does not exist grants nothing, and says so where nothing else does.
    pub fn build(objects: &Objects) -> Self {
        let mut index = Self::default();
        let cluster_roles = rules_by_key(&objects.cluster_roles);
        let roles = rules_by_key(&objects.roles);
        for (number, binding) in objects.cluster_role_bindings.iter().enumerate() {
            let role = cluster_roles.get(&(String::new(), role_name(binding).to_owned()));
            index.add(number, binding, None, role, "ClusterRoleBinding");
        }
        for (number, binding) in (objects.cluster_role_bindings.len()..).zip(&objects.role_bindings) {
            let namespace = object::namespace(binding).to_owned();
            let role = match object::str_at(binding, "roleRef.kind") {
                "Role" => roles.get(&(namespace.clone(), role_name(binding).to_owned())),
                _ => cluster_roles.get(&(String::new(), role_name(binding).to_owned())),
            };
            index.add(number, binding, Some(namespace), role, "RoleBinding");
        }
        index
    }

    fn add(
        &mut self,
        number: usize,
        binding: &Value,
        namespace: Option<String>,
        role: Option<&Arc<Vec<Rule>>>,
        kind: &str,
    ) {
        let missing = || {
            let kind = object::str_at(binding, "roleRef.kind").to_lowercase();
            format!("{kind}.rbac.authorization.k8s.io {:?} not found", role_name(binding))
        };
        let rules = role.cloned().ok_or_else(missing);
        let shown = match &namespace {
            Some(namespace) => format!("{}/{namespace}", object::name(binding)),
            None => object::name(binding).to_owned(),
        };
        let via = format!("{kind} {shown:?} of {} {:?}", object::str_at(binding, "roleRef.kind"), role_name(binding));
        let subjects = binding.get("subjects").and_then(Value::as_array);
        for (index, subject) in subjects.into_iter().flatten().enumerate() {
            if let Some(subject) = Subject::from_json(subject, object::namespace(binding)) {
                let (place, namespace) = ((number, index), namespace.clone());
                let grant = Grant { place, namespace, rules: rules.clone(), via: via.clone() };
                self.grants.entry(subject).or_default().push(grant);
            }
        }
    }

    /// Every grant of a user that holds in `namespace` (empty: only those that hold everywhere), in the order of the
    /// bindings, those of the whole cluster first. A binding of more than one of the user's subjects is the first
    /// one's.
    fn grants(&self, user: &UserInfo, namespace: &str) -> Vec<(&Subject, &Grant)> {
        let mut subjects = vec![Subject::User(user.name.clone())];
        subjects.extend(user.groups.iter().cloned().map(Subject::Group));
        if let Some(account) = user.name.strip_prefix("system:serviceaccount:")
            && let Some((namespace, name)) = account.split_once(':')
        {
            subjects.push(Subject::Account(namespace.to_owned(), name.to_owned()));
        }
        let known = subjects.iter().filter_map(|subject| self.grants.get_key_value(subject));
        let mut found: Vec<(&Subject, &Grant)> = known
            .flat_map(|(subject, grants)| {
                let holds = move |grant: &&Grant| grant.namespace.as_deref().is_none_or(|own| own == namespace);
                grants.iter().filter(holds).map(move |grant| (subject, grant))
            })
            .collect();
        found.sort_unstable_by_key(|(_, grant)| grant.place);
        found.dedup_by_key(|(_, grant)| grant.place.0);
        found
    }
}

fn role_name(binding: &Value) -> &str {
    object::str_at(binding, "roleRef.name")
}

/// (namespace, name) to rules.
fn rules_by_key(roles: &[Arc<Value>]) -> HashMap<(String, String), Arc<Vec<Rule>>> {
    let rules = |role: &Value| {
        let list = role.get("rules").and_then(Value::as_array);
        Arc::new(list.into_iter().flatten().map(Rule::from_json).collect())
    };
    let key = |role: &Value| (object::namespace(role).to_owned(), object::name(role).to_owned());
    roles.iter().map(|role| (key(role), rules(role))).collect()
}

/// The authorizer.
#[derive(Default)]
pub struct Rbac {
    index: ArcSwap<Index>,
}

impl Rbac {
    /// From now on answers come from this index.
    pub fn update(&self, index: Index) {
        self.index.store(Arc::new(index));
    }
}

#[async_trait]
impl Authorizer for Arc<Rbac> {
    async fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        self.decide(attributes)
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Value>, Vec<Value>) {
        let index = self.index.load();
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in index.grants(user, namespace).into_iter().flat_map(|(_, grant)| grant.rules()) {
            if !rule.resources.is_empty() {
                resources.push(rule.resource_json());
            }
            if !rule.paths.is_empty() {
                paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths}));
            }
        }
        (resources, paths)
    }

    fn rules_incomplete(&self, user: &UserInfo, namespace: &str) -> Incomplete {
        let index = self.index.load();
        let grants = index.grants(user, namespace).into_iter();
        let errors = grants.filter_map(|(_, grant)| grant.rules.as_ref().err().cloned()).collect();
        Incomplete { incomplete: false, errors }
    }
}

impl Rbac {
    fn decide(&self, attributes: &AuthzAttributes) -> Decision {
        let index = self.index.load();
        let mut missing = Vec::new();
        for (subject, grant) in index.grants(&attributes.user, &attributes.namespace) {
            if grant.rules().iter().any(|rule| rule.allows(attributes)) {
                return Decision::Allow { reason: format!("RBAC: allowed by {} to {}", grant.via, subject.shown()) };
            }
            missing.extend(grant.rules.as_ref().err().cloned());
        }
        match missing.is_empty() {
            true => Decision::no_opinion(),
            false => Decision::NoOpinion { reason: format!("RBAC: {}", aggregated(&missing)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Arc<Rbac> {
        let role = |name: &str, namespace: &str, rules: Value| {
            Arc::new(json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules}))
        };
        let binding = |name: &str, namespace: &str, kind: &str, role: &str, subject: Value| {
            Arc::new(json!({"metadata": {"name": name, "namespace": namespace},
                "roleRef": {"kind": kind, "name": role}, "subjects": [subject]}))
        };
        let objects = Objects {
            cluster_roles: vec![
                role(
                    "view",
                    "",
                    json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]),
                ),
                role("scaler", "", json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"]}])),
                role("health", "", json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez/*"]}])),
            ],
            roles: vec![role(
                "one",
                "a",
                json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["s"]}]),
            )],
            cluster_role_bindings: vec![
                binding("b1", "", "ClusterRole", "scaler", json!({"kind": "User", "name": "hpa"})),
                binding("b2", "", "ClusterRole", "health", json!({"kind": "Group", "name": "system:unauthenticated"})),
                binding("b3", "", "ClusterRole", "gone", json!({"kind": "User", "name": "ann"})),
            ],
            role_bindings: vec![
                binding("b4", "a", "ClusterRole", "view", json!({"kind": "User", "name": "ann"})),
                binding("b5", "a", "Role", "one", json!({"kind": "ServiceAccount", "name": "web", "namespace": "b"})),
            ],
        };
        let rbac = Arc::new(Rbac::default());
        rbac.update(Index::build(&objects));
        rbac
    }

    /// user, verb, group, resource[/sub], namespace, name -> allowed
    #[test]
    fn allows_what_rules_say_and_nothing_more() {
        let rbac = index();
        let cases = [
            ("ann", "get", "", "pods", "a", "x", true),
            ("ann", "get", "", "pods/log", "a", "x", true),
            ("ann", "get", "", "pods/exec", "a", "x", false),
            ("ann", "delete", "", "pods", "a", "x", false),
            ("ann", "get", "", "pods", "b", "x", false),
            ("ann", "list", "", "pods", "", "", false),
            ("ann", "get", "apps", "pods", "a", "x", false),
            ("hpa", "update", "apps", "deployments/scale", "z", "d", true),
            ("hpa", "update", "apps", "deployments", "z", "d", false),
            ("system:serviceaccount:b:web", "get", "", "secrets", "a", "s", true),
            ("system:serviceaccount:b:web", "get", "", "secrets", "a", "t", false),
            ("system:serviceaccount:a:web", "get", "", "secrets", "a", "s", false),
        ];
        for (user, verb, group, resource, namespace, name, allowed) in cases {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let asked = AuthzAttributes {
                user: UserInfo { name: user.into(), ..UserInfo::default() },
                verb: verb.into(),
                resource_request: true,
                group: group.into(),
                resource: resource.into(),
                subresource: subresource.into(),
                namespace: namespace.into(),
                name: name.into(),
                ..AuthzAttributes::default()
            };
            assert_eq!(rbac.decide(&asked).allowed(), allowed, "{asked:?}");
        }
    }

    #[test]
    fn paths_match_exactly_or_by_prefix() {
        let rbac = index();
        for (path, allowed) in [("/healthz", true), ("/healthz/x", false), ("/livez/ping", true), ("/metrics", false)] {
            let asked = AuthzAttributes {
                user: UserInfo::anonymous(),
                verb: "get".into(),
                path: path.into(),
                ..Default::default()
            };
            assert_eq!(rbac.decide(&asked).allowed(), allowed, "{path}");
        }
    }

    /// What looks like more than it says.
    #[test]
    fn odd_rules_grant_no_more_than_they_say() {
        let of = |rule: Value| Rule::from_json(&rule);
        let asked = |resource: &str, subresource: &str, path: &str| AuthzAttributes {
            verb: "get".into(),
            resource_request: path.is_empty(),
            resource: resource.into(),
            subresource: subresource.into(),
            path: path.into(),
            ..AuthzAttributes::default()
        };
        let resources = |name: &str| of(json!({"verbs": ["get"], "apiGroups": [""], "resources": [name]}));
        let paths = |path: &str| of(json!({"verbs": ["get"], "nonResourceURLs": [path]}));
        for (rule, asked, allowed) in [
            (resources("pods/"), asked("pods", "", ""), false),
            (resources("*/"), asked("pods", "", ""), false),
            (resources("pods/*"), asked("pods", "exec", ""), false),
            (resources("*/*"), asked("pods", "exec", ""), false),
            (resources("*"), asked("pods", "exec", ""), true),
            (paths("/a/**"), asked("", "", "/a/b"), true),
            (paths("/a*/b"), asked("", "", "/a1/b"), false),
            (paths("/a/*"), asked("", "", "/a"), false),
            (paths("*"), asked("pods", "", ""), false),
        ] {
            assert_eq!(rule.allows(&asked), allowed, "{rule:?} {asked:?}");
        }
    }

    #[test]
    fn a_role_that_is_missing_is_named() {
        let asked = AuthzAttributes {
            user: UserInfo { name: "ann".into(), ..UserInfo::default() },
            verb: "delete".into(),
            resource_request: true,
            resource: "pods".into(),
            namespace: "a".into(),
            ..Default::default()
        };
        let missing = r#"clusterrole.rbac.authorization.k8s.io "gone" not found"#;
        assert_eq!(index().decide(&asked), Decision::NoOpinion { reason: format!("RBAC: {missing}") });
        assert_eq!(index().rules_incomplete(&asked.user, "a").errors, [missing]);
    }

    /// Of the bindings of the cluster first, and of each once, whoever of its subjects the user is.
    #[test]
    fn rules_come_in_the_order_of_the_bindings() {
        let role = |name: &str, namespace: &str, verbs: &[&str]| {
            let rule = |verb: &&str| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]});
            let rules: Vec<Value> = verbs.iter().map(rule).collect();
            Arc::new(json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules}))
        };
        let binding = |name: &str, namespace: &str, role: &str, subjects: Value| {
            let kind = if role == "here" { "Role" } else { "ClusterRole" };
            Arc::new(json!({"metadata": {"name": name, "namespace": namespace},
                "roleRef": {"kind": kind, "name": role}, "subjects": subjects}))
        };
        let (ann, dev) = (json!({"kind": "User", "name": "ann"}), json!({"kind": "Group", "name": "dev"}));
        let rbac = Arc::new(Rbac::default());
        rbac.update(Index::build(&Objects {
            cluster_roles: vec![role("one", "", &["get", "list"]), role("two", "", &["watch"])],
            roles: vec![role("here", "a", &["delete"])],
            cluster_role_bindings: vec![
                binding("b1", "", "two", json!([dev, ann])),
                binding("b2", "", "lost", json!([ann])),
                binding("b3", "", "one", json!([ann])),
                binding("b4", "", "gone", json!([dev])),
                binding("b5", "", "lost", json!([dev])),
            ],
            role_bindings: vec![binding("b6", "a", "here", json!([ann])), binding("b7", "b", "here", json!([ann]))],
        }));
        let user = UserInfo { name: "ann".into(), groups: vec!["dev".into()], ..UserInfo::default() };
        let (resources, paths) = rbac.rules_for(&user, "a");
        let verbs: Vec<&str> = resources.iter().filter_map(|rule| rule["verbs"][0].as_str()).collect();
        assert_eq!((verbs, paths), (vec!["watch", "get", "list", "delete"], Vec::new()));
        let missing = |name: &str| format!("clusterrole.rbac.authorization.k8s.io {name:?} not found");
        let lost = [missing("lost"), missing("gone"), missing("lost")];
        assert_eq!(rbac.rules_incomplete(&user, "a"), Incomplete { incomplete: false, errors: lost.to_vec() });
        let asked = |verb: &str| AuthzAttributes {
            user: user.clone(),
            verb: verb.into(),
            resource_request: true,
            resource: "pods".into(),
            ..AuthzAttributes::default()
        };
        let reason = format!("RBAC: [{}, {}]", lost[0], lost[1]);
        assert_eq!(rbac.decide(&asked("create")), Decision::NoOpinion { reason });
        let reason = r#"RBAC: allowed by ClusterRoleBinding "b1" of ClusterRole "two" to Group "dev""#.to_owned();
        assert_eq!(rbac.decide(&asked("watch")), Decision::Allow { reason });
    }

    #[test]
    fn says_why_as_upstream_does() {
        let asked = AuthzAttributes {
            user: UserInfo { name: "ann".into(), ..UserInfo::default() },
            verb: "get".into(),
            resource_request: true,
            resource: "pods".into(),
            namespace: "a".into(),
            ..Default::default()
        };
        let reason = r#"RBAC: allowed by RoleBinding "b4/a" of ClusterRole "view" to User "ann""#;
        assert_eq!(index().decide(&asked), Decision::Allow { reason: reason.into() });
        assert_eq!(asked.refusal(), r#"User "ann" cannot get resource "pods" in API group "" in the namespace "a""#);
    }
}
