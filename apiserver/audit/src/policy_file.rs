//! A policy as it is written in a file: read, checked, and told what is wrong with it in upstream's words.

use std::path::Path as FilePath;

use api_machinery::{ErrorList, Path, Value, names};
use serde::Deserialize;

use crate::event::{Level, Stage};
use crate::policy::{GroupResources, Policy, Rule};

/// A policy file larger than this (bytes) is not read.
const MAX_BYTES: u64 = 1 << 20;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("failed to read file path {path:?}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("file path {path:?} has more than {MAX_BYTES} bytes")]
    TooLarge { path: String },
    #[error("failed decoding: {0}")]
    Undecodable(String),
    #[error("unknown group version field {0} in policy")]
    UnknownVersion(String),
    #[error("{0}")]
    Invalid(String),
    #[error("loaded illegal policy with 0 rules")]
    Empty,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    api_version: String,
    kind: String,
    rules: Vec<FileRule>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct FileRule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<FileResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct FileResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

const POLICY_FIELDS: [&str; 6] = ["apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"];
const RULE_FIELDS: [&str; 9] = [
    "level",
    "users",
    "userGroups",
    "verbs",
    "resources",
    "namespaces",
    "nonResourceURLs",
    "omitStages",
    "omitManagedFields",
];
const RESOURCE_FIELDS: [&str; 3] = ["group", "resources", "resourceNames"];

impl Policy {
    /// Reads and checks a file. The second are warnings: fields nobody knows are not obeyed, as upstream.
    pub fn load(path: &FilePath) -> Result<(Self, Vec<String>), PolicyError> {
        let shown = path.display().to_string();
        let unreadable = |source| PolicyError::Unreadable { path: shown.clone(), source };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
            return Err(PolicyError::TooLarge { path: shown });
        }
        Self::read(&std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// [`Self::load`] of the file's text, YAML or JSON.
    pub fn read(text: &str) -> Result<(Self, Vec<String>), PolicyError> {
        let undecodable = |error: String| PolicyError::Undecodable(error);
        let mut value: Value = serde_saphyr::from_str(text).map_err(|error| undecodable(error.to_string()))?;
        drop_nulls(&mut value);
        for (field, what) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
            if value.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                return Err(undecodable(format!("Object '{what}' is missing in the policy")));
            }
        }
        let warnings = unknown_fields(&value);
        let file: File = serde_json::from_value(value).map_err(|error| undecodable(error.to_string()))?;
        if file.kind != "Policy" || file.api_version != "audit.k8s.io/v1" {
            return Err(PolicyError::UnknownVersion(format!("{}, Kind={}", file.api_version, file.kind)));
        }
        check(&file)?;
        Ok((file.into_policy(), warnings))
    }
}

/// `users:` without a value is no users.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn unknown_fields(policy: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |value: &Value, place: String, known: &[&str]| {
        let fields = value.as_object().into_iter().flatten().map(|(field, _)| field);
        let unknown = fields.filter(|field| !known.contains(&field.as_str()));
        found.extend(unknown.map(|field| format!("unknown field \"{place}{field}\"")));
    };
    look(policy, String::new(), &POLICY_FIELDS);
    for (at, rule) in list(policy, "rules").iter().enumerate() {
        look(rule, format!("rules[{at}]."), &RULE_FIELDS);
        for (index, resources) in list(rule, "resources").iter().enumerate() {
            look(resources, format!("rules[{at}].resources[{index}]."), &RESOURCE_FIELDS);
        }
    }
    found
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn check(file: &File) -> Result<(), PolicyError> {
    let mut errors = ErrorList::new();
    check_stages(&file.omit_stages, &Path::new("omitStages"), &mut errors);
    for (at, rule) in file.rules.iter().enumerate() {
        check_rule(rule, &Path::new("rules").index(at), &mut errors);
    }
    match (errors.is_empty(), file.rules.is_empty()) {
        (false, _) => Err(PolicyError::Invalid(errors.message())),
        (true, true) => Err(PolicyError::Empty),
        (true, false) => Ok(()),
    }
}

fn check_rule(rule: &FileRule, path: &Path, errors: &mut ErrorList) {
    let level = path.child("level");
    if rule.level.is_empty() {
        errors.required(&level, "");
    } else if level_of(&rule.level).is_none() {
        errors.not_supported(&level, &rule.level.as_str().into(), &Level::ALL.map(Level::as_str));
    }
    check_urls(&rule.non_resource_urls, &path.child("nonResourceURLs"), errors);
    for resources in &rule.resources {
        check_resources(resources, &path.child("resources"), errors);
    }
    check_stages(&rule.omit_stages, &path.child("omitStages"), errors);
    if !rule.non_resource_urls.is_empty() && (!rule.resources.is_empty() || !rule.namespaces.is_empty()) {
        let detail = "rules cannot apply to both regular resources and non-resource URLs";
        errors.invalid(&path.child("nonResourceURLs"), &Value::from(rule.non_resource_urls.clone()), detail);
    }
}

fn check_urls(urls: &[String], path: &Path, errors: &mut ErrorList) {
    for (at, url) in urls.iter().enumerate().filter(|(_, url)| *url != "*") {
        let mut bad = |detail: &str| errors.invalid(&path.index(at), &url.as_str().into(), detail);
        if !url.starts_with('/') {
            bad("non-resource URL rules must begin with a '/' character");
        }
        if url.strip_suffix('*').unwrap_or(url).contains('*') {
            bad("non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
}

fn check_resources(resources: &FileResources, path: &Path, errors: &mut ErrorList) {
    if !resources.group.is_empty() && resources.group != "*" {
        let wrong = names::dns1123_subdomain(&resources.group);
        if !wrong.is_empty() {
            errors.invalid(&path.child("group"), &resources.group.as_str().into(), &wrong.join(","));
        }
    }
    if !resources.resource_names.is_empty() && resources.resources.is_empty() {
        let names = Value::from(resources.resource_names.clone());
        errors.invalid(&path.child("resourceNames"), &names, "using resourceNames requires at least one resource");
    }
}

fn check_stages(stages: &[String], path: &Path, errors: &mut ErrorList) {
    for (at, stage) in stages.iter().enumerate().filter(|(_, stage)| stage_of(stage).is_none()) {
        let allowed = format!("allowed stages are {}", Stage::ALL.map(Stage::as_str).join(","));
        errors.invalid(&path.index(at), &stage.as_str().into(), &allowed);
    }
}

fn level_of(text: &str) -> Option<Level> {
    Level::ALL.into_iter().find(|level| level.as_str() == text)
}

fn stage_of(text: &str) -> Option<Stage> {
    Stage::ALL.into_iter().find(|stage| stage.as_str() == text)
}

fn stages_of(texts: &[String]) -> impl Iterator<Item = Stage> {
    texts.iter().filter_map(|text| stage_of(text))
}

impl File {
    /// After [`check`], so that nothing is dropped here.
    fn into_policy(self) -> Policy {
        let omit_stages: Vec<Stage> = stages_of(&self.omit_stages).collect();
        let rules = self.rules.into_iter().map(|rule| rule.into_rule(&omit_stages)).collect();
        Policy { rules, omit_stages, omit_managed_fields: self.omit_managed_fields }
    }
}

impl FileRule {
    fn into_rule(self, everywhere: &[Stage]) -> Rule {
        let mut omit_stages = everywhere.to_vec();
        for stage in stages_of(&self.omit_stages) {
            if !omit_stages.contains(&stage) {
                omit_stages.push(stage);
            }
        }
        Rule {
            level: level_of(&self.level).unwrap_or(Level::None),
            users: self.users,
            user_groups: self.user_groups,
            verbs: self.verbs,
            resources: self.resources.into_iter().map(FileResources::into_resources).collect(),
            namespaces: self.namespaces,
            non_resource_urls: self.non_resource_urls,
            omit_stages,
            omit_managed_fields: self.omit_managed_fields,
        }
    }
}

impl FileResources {
    fn into_resources(self) -> GroupResources {
        let Self { group, resources, resource_names } = self;
        GroupResources { group, resources, resource_names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rules: &str) -> String {
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}");
        match Policy::read(&text) {
            Ok((policy, warnings)) => format!("{} rules {warnings:?}", policy.rules.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (rules, want) in [
            ("rules: [{level: Metadata}]", "1 rules []"),
            (
                "rules:\n- level: Metadata\n  user: [a]\n  resources: [{grop: a, group: }]",
                r#"1 rules ["unknown field \"rules[0].user\"", "unknown field \"rules[0].resources[0].grop\""]"#,
            ),
            ("rules: []", "loaded illegal policy with 0 rules"),
            ("rules: [{users: [a]}]", "rules[0].level: Required value"),
            (
                "rules: [{level: All}]",
                r#"rules[0].level: Unsupported value: "All": supported values: "Metadata", "None", "Request", "RequestResponse""#,
            ),
            (
                "rules: [{level: None, omitStages: [Later]}]\nomitStages: [Never]",
                r#"[omitStages[0]: Invalid value: "Never": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic, rules[0].omitStages[0]: Invalid value: "Later": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic]"#,
            ),
            (
                "rules: [{level: None, nonResourceURLs: [healthz, '/a*b', '/c*', '*']}]",
                r#"[rules[0].nonResourceURLs[0]: Invalid value: "healthz": non-resource URL rules must begin with a '/' character, rules[0].nonResourceURLs[1]: Invalid value: "/a*b": non-resource URL wildcards '*' must be the final character of the rule]"#,
            ),
            (
                "rules: [{level: None, nonResourceURLs: ['*'], namespaces: [a]}]",
                r#"rules[0].nonResourceURLs: Invalid value: ["*"]: rules cannot apply to both regular resources and non-resource URLs"#,
            ),
            (
                "rules: [{level: None, resources: [{resourceNames: [a]}]}]",
                r#"rules[0].resources.resourceNames: Invalid value: ["a"]: using resourceNames requires at least one resource"#,
            ),
        ] {
            assert_eq!(read(rules), want, "{rules}");
        }
        assert!(
            read("rules: [{level: None, resources: [{group: rbac.authorization.k8s.io/v1}]}]")
                .contains("group: Invalid value")
        );
        assert!(read("rules: 7").starts_with("failed decoding"));
        let other = Policy::read("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]");
        assert!(matches!(other, Err(PolicyError::UnknownVersion(_))), "{other:?}");
        assert!(matches!(Policy::read("rules: [{level: None}]"), Err(PolicyError::Undecodable(_))));
        let missing = Policy::load(FilePath::new("/nowhere/policy.yaml")).expect_err("is not there").to_string();
        assert!(missing.starts_with("failed to read file path \"/nowhere/policy.yaml\""), "{missing}");
    }
}
