//! What rules of RBAC grant, and whether others grant as much (`k8s.io/component-helpers/auth/rbac/validation`).

use std::collections::{BTreeMap, BTreeSet};

use api_machinery::Value;
use api_machinery::quote::quoted;

/// Single permissions of one role that are looked at. Lists multiply each other: a role of a megabyte could name
/// more than there is time to look at.
const MAX_PERMISSIONS: usize = 20_000;

/// One `PolicyRule`, its lists as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyRule<'a> {
    verbs: Vec<&'a str>,
    groups: Vec<&'a str>,
    resources: Vec<&'a str>,
    names: Vec<&'a str>,
    urls: Vec<&'a str>,
}

/// One verb on one resource (of one name, or of any) or on one URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Permission<'a> {
    Resource { group: &'a str, resource: &'a str, name: Option<&'a str>, verb: &'a str },
    Url { url: &'a str, verb: &'a str },
}

/// Why rules are not covered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Uncovered {
    /// What is missing, one line per resource, sorted, as upstream prints it.
    Missing(Vec<String>),
    TooMany,
}

fn strings<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    let list = rule.get(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

impl<'a> PolicyRule<'a> {
    pub(crate) fn from_json(rule: &'a Value) -> Self {
        Self {
            verbs: strings(rule, "verbs"),
            groups: strings(rule, "apiGroups"),
            resources: strings(rule, "resources"),
            names: strings(rule, "resourceNames"),
            urls: strings(rule, "nonResourceURLs"),
        }
    }

    /// The rules of a role.
    pub(crate) fn all(rules: Option<&'a Value>) -> Vec<Self> {
        rules.and_then(Value::as_array).into_iter().flatten().map(Self::from_json).collect()
    }

    /// Everything there is.
    pub(crate) fn everything() -> Vec<PolicyRule<'static>> {
        let all = || vec!["*"];
        vec![
            PolicyRule { verbs: all(), groups: all(), resources: all(), ..PolicyRule::default() },
            PolicyRule { verbs: all(), urls: all(), ..PolicyRule::default() },
        ]
    }

    fn permissions(&self) -> impl Iterator<Item = Permission<'a>> + '_ {
        let resources = self.groups.iter().flat_map(move |group| {
            self.resources.iter().flat_map(move |resource| {
                self.verbs.iter().flat_map(move |verb| {
                    let of = |name| Permission::Resource { group, resource, name, verb };
                    let any = self.names.is_empty().then(|| of(None));
                    any.into_iter().chain(self.names.iter().map(move |name| of(Some(name))))
                })
            })
        });
        let urls =
            self.urls.iter().flat_map(move |url| self.verbs.iter().map(move |verb| Permission::Url { url, verb }));
        resources.chain(urls)
    }

    fn covers(&self, wanted: &Permission<'_>) -> bool {
        let has = |list: &[&str], one: &str| list.iter().any(|own| *own == "*" || *own == one);
        match wanted {
            Permission::Resource { group, resource, name, verb } => {
                has(&self.verbs, verb)
                    && has(&self.groups, group)
                    && self.covers_resource(resource)
                    && (self.names.is_empty() || name.is_some_and(|name| self.names.contains(&name)))
            }
            Permission::Url { url, verb } => has(&self.verbs, verb) && self.urls.iter().any(|own| url_covers(own, url)),
        }
    }

    /// `*`, the same, or for a subresource `*/subresource`.
    fn covers_resource(&self, wanted: &str) -> bool {
        let any = wanted.split_once('/').map(|(_, subresource)| subresource);
        self.resources
            .iter()
            .any(|own| *own == "*" || *own == wanted || any.is_some_and(|any| own.strip_prefix("*/") == Some(any)))
    }
}

fn url_covers(own: &str, wanted: &str) -> bool {
    own == wanted || own.ends_with('*') && wanted.starts_with(own.trim_end_matches('*'))
}

/// Whether `owned` grants all that `wanted` does.
pub(crate) fn check_covered(owned: &[PolicyRule<'_>], wanted: &[PolicyRule<'_>]) -> Result<(), Uncovered> {
    let mut missing = Vec::new();
    for (count, permission) in wanted.iter().flat_map(PolicyRule::permissions).enumerate() {
        if count >= MAX_PERMISSIONS {
            return Err(Uncovered::TooMany);
        }
        if !owned.iter().any(|rule| rule.covers(&permission)) {
            missing.push(permission);
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Uncovered::Missing(described(missing))) }
}

/// One line per resource and name with all its verbs; URLs by themselves.
fn described(missing: Vec<Permission<'_>>) -> Vec<String> {
    let mut verbs: BTreeMap<(&str, &str, Option<&str>), Vec<&str>> = BTreeMap::new();
    let mut lines = BTreeSet::new();
    for permission in missing {
        match permission {
            Permission::Resource { group, resource, name, verb } => {
                verbs.entry((group, resource, name)).or_default().push(verb);
            }
            Permission::Url { url, verb } => {
                lines.insert(format!("{{NonResourceURLs:{}, Verbs:{}}}", list(&[url]), list(&[verb])));
            }
        }
    }
    for ((group, resource, name), verbs) in verbs {
        let names = name.map(|name| format!("ResourceNames:{}, ", list(&[name]))).unwrap_or_default();
        let (group, resource, verbs) = (list(&[group]), list(&[resource]), list(&verbs));
        lines.insert(format!("{{APIGroups:{group}, Resources:{resource}, {names}Verbs:{verbs}}}"));
    }
    lines.into_iter().collect()
}

/// A list as Go prints it with `%q`: `["a" "b"]`.
pub(crate) fn list<S: AsRef<str>>(texts: &[S]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str], urls: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names,
               "nonResourceURLs": urls})
    }

    /// What is owned, what is wanted, what is missing.
    #[test]
    fn covering() {
        let pods = |verbs: &[&str]| rule(verbs, &[""], &["pods"], &[], &[]);
        let all = rule(&["*"], &["*"], &["*"], &[], &[]);
        for (owned, wanted, missing) in [
            (vec![pods(&["get"])], pods(&["get"]), vec![]),
            (
                vec![pods(&["get"])],
                pods(&["get", "list", "watch"]),
                vec![r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#],
            ),
            (vec![pods(&["get"]), pods(&["list"])], pods(&["list", "get"]), vec![]),
            (vec![pods(&["get"])], pods(&["*"]), vec![r#"{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#]),
            (vec![all.clone()], rule(&["get"], &["apps"], &["x/y"], &["n"], &[]), vec![]),
            (
                vec![all.clone()],
                rule(&["get"], &[], &[], &[], &["/x"]),
                vec![r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#],
            ),
            (
                vec![rule(&["*"], &["*"], &["*/scale"], &[], &[])],
                rule(&["get"], &["a"], &["b/scale"], &[], &[]),
                vec![],
            ),
            (
                vec![rule(&["*"], &["*"], &["*/scale"], &[], &[])],
                rule(&["get"], &["a"], &["b"], &[], &[]),
                vec![r#"{APIGroups:["a"], Resources:["b"], Verbs:["get"]}"#],
            ),
            (
                vec![rule(&["get"], &[""], &["secrets"], &["a", "b"], &[])],
                rule(&["get"], &[""], &["secrets"], &["b", "c"], &[]),
                vec![r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["c"], Verbs:["get"]}"#],
            ),
            (
                vec![rule(&["get"], &[""], &["secrets"], &["a"], &[])],
                rule(&["get"], &[""], &["secrets"], &[], &[]),
                vec![r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#],
            ),
            (vec![rule(&["get"], &[], &[], &[], &["/a/*"])], rule(&["get"], &[], &[], &[], &["/a/b", "/a/*"]), vec![]),
            (vec![], rule(&[], &[""], &["pods"], &[], &[]), vec![]),
        ] {
            let owned: Vec<PolicyRule<'_>> = owned.iter().map(PolicyRule::from_json).collect();
            let found = check_covered(&owned, &[PolicyRule::from_json(&wanted)]);
            let found = match found {
                Ok(()) => Vec::new(),
                Err(Uncovered::Missing(lines)) => lines,
                Err(Uncovered::TooMany) => panic!("{wanted}"),
            };
            assert_eq!(found, missing, "{wanted}");
        }
    }

    #[test]
    fn lists_that_multiply_are_not_looked_through() {
        let many: Vec<String> = (0..1_000).map(|n| format!("n{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let wanted = rule(&many, &many, &many, &many, &[]);
        let everything = PolicyRule::everything();
        assert_eq!(check_covered(&everything, &[PolicyRule::from_json(&wanted)]), Err(Uncovered::TooMany));
        assert_eq!(check_covered(&everything, &PolicyRule::everything()), Ok(()));
    }
}
