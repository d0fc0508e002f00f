//! `AuthorizationConfiguration` (`apiserver.config.k8s.io`): who is asked in which order.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};

use api_cel::{Environment, Expected};
use api_machinery::{ErrorList, Path, names};
use serde::Deserialize;

use super::{ConfigError, Duration, check_expression, read, settle};

const VERSIONS: &[&str] =
    &["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// What may stand in `type`, as upstream lists it. ABAC is known and refused.
const TYPES: [&str; 6] = ["ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
const MAX_TIMEOUT: Duration = Duration::seconds(30);
/// Upstream's defaults.
const AUTHORIZED_TTL: Duration = Duration::seconds(300);
const UNAUTHORIZED_TTL: Duration = Duration::seconds(30);

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthorizationConfiguration {
    pub authorizers: Vec<Authorizer>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authorizer {
    #[serde(rename = "type")]
    pub kind: String,
    /// Of its metrics.
    pub name: String,
    pub webhook: Option<Webhook>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Webhook {
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: Option<Duration>,
    cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<Duration>,
    cache_unauthorized_requests: Option<bool>,
    pub timeout: Duration,
    pub subject_access_review_version: String,
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: ConnectionInfo,
    match_conditions: Vec<MatchCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ConnectionInfo {
    #[serde(rename = "type")]
    kind: String,
    kube_config_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct MatchCondition {
    expression: Option<String>,
}

impl Webhook {
    /// How long a yes is kept; nothing is where that is off.
    pub fn authorized_ttl(&self) -> Duration {
        ttl(self.authorized_ttl, self.cache_authorized_requests, AUTHORIZED_TTL)
    }
    /// How long anything else is kept.
    pub fn unauthorized_ttl(&self) -> Duration {
        ttl(self.unauthorized_ttl, self.cache_unauthorized_requests, UNAUTHORIZED_TTL)
    }
    /// Whether nobody else is asked when it fails.
    pub fn denies_on_failure(&self) -> bool {
        self.failure_policy == "Deny"
    }
    /// What must hold of a request that it is asked about.
    pub fn match_conditions(&self) -> impl Iterator<Item = &str> {
        self.match_conditions.iter().filter_map(|condition| condition.expression.as_deref())
    }
    pub fn kubeconfig(&self) -> Option<&FilePath> {
        self.connection_info.kube_config_file.as_deref()
    }
}

fn ttl(given: Option<Duration>, cached: Option<bool>, default: Duration) -> Duration {
    match cached {
        Some(false) => Duration::default(),
        _ => given.unwrap_or(default),
    }
}

impl AuthorizationConfiguration {
    /// Upstream's `--authorization-mode=Node,RBAC`.
    pub fn standard() -> Self {
        let of = |kind: &str, name: &str| Authorizer { kind: kind.to_owned(), name: name.to_owned(), webhook: None };
        Self { authorizers: vec![of("Node", "node"), of("RBAC", "rbac")] }
    }

    /// Reads and checks a file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = read(text, "AuthorizationConfiguration", VERSIONS)?;
        let mut errors = ErrorList::new();
        config.validate(&mut errors);
        settle(&errors)?;
        Ok(config)
    }

    /// Types that are not webhooks: a reload neither adds nor takes away any.
    pub fn fixed_types(&self) -> BTreeSet<&str> {
        self.authorizers.iter().map(|one| one.kind.as_str()).filter(|kind| *kind != "Webhook").collect()
    }

    fn validate(&self, errors: &mut ErrorList) {
        let root = Path::new("authorizers");
        if self.authorizers.is_empty() {
            errors.required(&root, "at least one authorization mode must be defined");
        }
        let (mut types, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for (index, one) in self.authorizers.iter().enumerate() {
            let path = root.index(index);
            let at = path.child("type");
            match one.kind.as_str() {
                "" => errors.required(&at, ""),
                "ABAC" => errors.forbidden(&at, "ABAC is not supported by this server"),
                kind if !TYPES.contains(&kind) => errors.not_supported(&at, &kind.into(), &TYPES),
                kind if !types.insert(kind) && kind != "Webhook" => errors.duplicate(&at, &kind.into()),
                _ => one.validate(!seen.insert(&one.name), &path, errors),
            }
        }
    }
}

impl Authorizer {
    fn validate(&self, repeated: bool, path: &Path, errors: &mut ErrorList) {
        let at = path.child("name");
        let bad = names::dns1123_subdomain(&self.name);
        match self.name.as_str() {
            "" => errors.required(&at, ""),
            name if repeated => errors.duplicate(&at, &name.into()),
            name if !bad.is_empty() => {
                errors.invalid(&at, &name.into(), &format!("authorizer name is invalid: {}", bad.join(", ")));
            }
            _ => {}
        }
        let webhook = path.child("webhook");
        match (self.kind.as_str(), &self.webhook) {
            ("Webhook", None) => errors.required(&webhook, "required when type=Webhook"),
            ("Webhook", Some(config)) => config.validate(path, errors),
            (_, Some(_)) => errors.invalid(&webhook, &"non-null".into(), "may only be specified when type=Webhook"),
            _ => {}
        }
    }
}

impl Webhook {
    fn validate(&self, path: &Path, errors: &mut ErrorList) {
        let at = path.child("timeout");
        match self.timeout {
            timeout if timeout == Duration::default() => errors.required(&at, ""),
            timeout if timeout > MAX_TIMEOUT => {
                errors.invalid(&at, &timeout.to_string().into(), "must be > 0s and <= 30s");
            }
            _ => {}
        }
        for (ttl, name) in [(self.authorized_ttl, "authorizedTTL"), (self.unauthorized_ttl, "unauthorizedTTL")] {
            if ttl == Some(Duration::default()) {
                errors.required(&path.child(name), "");
            }
        }
        one_of(&self.subject_access_review_version, "subjectAccessReviewVersion", &["v1", "v1beta1"], path, errors);
        one_of(&self.failure_policy, "failurePolicy", &["NoOpinion", "Deny"], path, errors);
        self.validate_conditions(path, errors);
        self.connection_info.validate(&path.child("connectionInfo"), errors);
    }

    fn validate_conditions(&self, path: &Path, errors: &mut ErrorList) {
        let at = path.child("matchConditionSubjectAccessReviewVersion");
        match self.match_condition_subject_access_review_version.as_str() {
            "" if !self.match_conditions.is_empty() => {
                errors.required(&at, "required if match conditions are specified");
            }
            "" | "v1" => {}
            other => errors.not_supported(&at, &other.into(), &["v1"]),
        }
        for (index, condition) in self.match_conditions.iter().enumerate() {
            let path = path.child("matchConditions").index(index).child("expression");
            match condition.expression.as_deref().unwrap_or("") {
                "" => errors.required(&path, ""),
                _ => {
                    let wanted = (&Environment::access_review(), Expected::Bool);
                    check_expression(condition.expression.as_ref(), wanted, &path, errors);
                }
            }
        }
    }
}

fn one_of(value: &str, field: &str, known: &[&str], path: &Path, errors: &mut ErrorList) {
    match value {
        "" => errors.required(&path.child(field), ""),
        value if !known.contains(&value) => errors.not_supported(&path.child(field), &value.into(), known),
        _ => {}
    }
}

impl ConnectionInfo {
    fn validate(&self, path: &Path, errors: &mut ErrorList) {
        let at = path.child("kubeConfigFile");
        match self.kind.as_str() {
            "" => errors.required(&path.child("type"), ""),
            "KubeConfigFile" => self.validate_file(&at, errors),
            other => errors.not_supported(&path.child("type"), &other.into(), &["KubeConfigFile"]),
        }
    }

    fn validate_file(&self, at: &Path, errors: &mut ErrorList) {
        let Some(file) = self.kube_config_file.as_deref().filter(|file| !file.as_os_str().is_empty()) else {
            return errors.required(at, "");
        };
        let shown = file.display().to_string();
        if !file.is_absolute() {
            return errors.invalid(at, &shown.into(), "must be an absolute path");
        }
        match std::fs::metadata(file) {
            Err(error) => errors.invalid(at, &shown.into(), &format!("error loading file: {error}")),
            Ok(meta) if !meta.is_file() => errors.invalid(at, &shown.into(), "must be a regular file"),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n";

    fn read(body: &str) -> Result<AuthorizationConfiguration, String> {
        AuthorizationConfiguration::parse(&format!("{HEAD}{body}")).map_err(|error| error.to_string())
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("kubeconfig");
        std::fs::write(&file, "x").expect("writes");
        let hook = |rest: &str| {
            format!(
                "authorizers:\n- type: Webhook\n  name: a\n  webhook:\n    timeout: 3s\n    subjectAccessReviewVersion: v1\n    failurePolicy: Deny\n    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}\n{rest}",
                file.display()
            )
        };
        let good = read(&hook(
            "    cacheUnauthorizedRequests: false\n- {type: Node, name: node}\n- {type: RBAC, name: rbac}\n",
        ));
        let good = good.expect("a good configuration");
        assert_eq!(good.fixed_types(), AuthorizationConfiguration::standard().fixed_types());
        let webhook = good.authorizers[0].webhook.as_ref().expect("a webhook");
        assert_eq!((webhook.authorized_ttl(), webhook.unauthorized_ttl()), (AUTHORIZED_TTL, Duration::default()));
        assert!(webhook.denies_on_failure());
        let mut out = String::new();
        for body in [
            String::new(),
            "authorizers: [{type: RBAC, name: a}, {type: RBAC, name: b}, {type: Node, name: a}, {type: X}, {type: ABAC}]".into(),
            "authorizers: [{type: Webhook, name: A_b}]".into(),
            "authorizers: [{type: RBAC, name: a, webhook: {timeout: 1s}}]".into(),
            "authorizers: [{type: Webhook, name: a, webhook: {timeout: 31s, authorizedTTL: 0s, connectionInfo: {type: KubeConfigFile, kubeConfigFile: x}}}]".into(),
            "authorizers: [{type: Webhook, name: a, webhook: {timeout: -1s}}]".into(),
            hook("    matchConditions: [{expression: 'request.user == \"a\"'}]\n"),
            hook("    matchConditionSubjectAccessReviewVersion: v1beta1\n"),
            hook("    retries: 3\n"),
        ] {
            out.push_str(&read(&body).map_or_else(|error| error, |_| "good".to_owned()));
            out.push('\n');
        }
        expect![[r#"
            authorizers: Required value: at least one authorization mode must be defined
            [authorizers[1].type: Duplicate value: "RBAC", authorizers[2].name: Duplicate value: "a", authorizers[3].type: Unsupported value: "X": supported values: "ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook", authorizers[4].type: Forbidden: ABAC is not supported by this server]
            [authorizers[0].name: Invalid value: "A_b": authorizer name is invalid: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), authorizers[0].webhook: Required value: required when type=Webhook]
            authorizers[0].webhook: Invalid value: "non-null": may only be specified when type=Webhook
            [authorizers[0].timeout: Invalid value: "31s": must be > 0s and <= 30s, authorizers[0].authorizedTTL: Required value, authorizers[0].subjectAccessReviewVersion: Required value, authorizers[0].failurePolicy: Required value, authorizers[0].connectionInfo.kubeConfigFile: Invalid value: "x": must be an absolute path]
            invalid duration "-1s": write 30s, 2m or 1h30m
            authorizers[0].matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified
            authorizers[0].matchConditionSubjectAccessReviewVersion: Unsupported value: "v1beta1": supported values: "v1"
            unknown field `retries`, expected one of `authorizedTTL`, `cacheAuthorizedRequests`, `unauthorizedTTL`, `cacheUnauthorizedRequests`, `timeout`, `subjectAccessReviewVersion`, `matchConditionSubjectAccessReviewVersion`, `failurePolicy`, `connectionInfo`, `matchConditions`
        "#]].assert_eq(&out);
    }
}
