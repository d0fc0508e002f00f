//! Admission policies read parameters for everybody who writes: nobody names a kind of parameters that they cannot
//! read themselves, or binds a policy to parameters that they cannot read.

use std::sync::Arc;

use api_auth::authz::{AuthzAttributes, Decision};
use api_codec::go_text;
use api_machinery::{
    ApiError, ErrorList, GroupResource, GroupVersion, GroupVersionKind, ObjectKey, Path, UserInfo, Value, object,
};
use api_schema::Schema;
use serde_json::json;

use crate::Registry;
use crate::scope::Scope;

const GROUP: &str = "admissionregistration.k8s.io";
const VALIDATING: &str = "validatingadmissionpolicies";
const MUTATING: &str = "mutatingadmissionpolicies";

/// What objects of a kind are read as; where that cannot be found out, everything that they could be.
#[derive(Debug, PartialEq)]
struct Read {
    group: String,
    version: String,
    resource: String,
    /// What could not be found out.
    doubt: Option<String>,
}

impl Read {
    fn anything(doubt: Option<String>) -> Self {
        let all = || "*".to_owned();
        Self { group: all(), version: all(), resource: all(), doubt }
    }

    /// Of a `paramKind`. What is served is known, as discovery shows it upstream.
    fn of_kind(schema: &Schema, param_kind: &Value) -> Self {
        let (api_version, kind) = (object::str_at(param_kind, "apiVersion"), object::str_at(param_kind, "kind"));
        let doubt = |what: &str| Some(format!("unable to {what} paramKind &{{{api_version} {kind}}}"));
        if api_version.matches('/').count() > 1 {
            return Self::anything(doubt("parse"));
        }
        let GroupVersion { group, version } = GroupVersion::parse(api_version);
        let found = Self { group: group.to_string(), version: version.to_string(), ..Self::anything(None) };
        match schema.resource_of_kind(&GroupVersionKind { group, version, kind: kind.into() }) {
            Some(resource) => Self { resource: resource.plural.clone(), ..found },
            None => Self { doubt: doubt("resolve"), ..found },
        }
    }

    fn asked(&self, user: &UserInfo, verb: &str, namespace: &str, name: &str) -> AuthzAttributes {
        AuthzAttributes {
            user: user.clone(),
            verb: verb.to_owned(),
            resource_request: true,
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..AuthzAttributes::default()
        }
    }
}

/// As Go prints it.
fn shown(user: &UserInfo) -> String {
    let (groups, extra) = (go_text::plain(&json!(user.groups)), go_text::plain(&json!(user.extra)));
    format!("&{{{} {} {groups} {extra}}}", user.name, user.uid)
}

/// A field that holds something.
fn given<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    object::at(value, path).filter(|field| field.is_object())
}

impl Registry {
    /// Told where nothing else is wrong.
    pub(crate) async fn check_params(
        &self,
        scope: &Scope<'_>,
        value: &Value,
        old: Option<&Value>,
        errors: &mut ErrorList,
    ) {
        let GroupResource { group, resource } = &scope.resource.storage;
        if &**group != GROUP || scope.info.judge().is_none() {
            return;
        }
        let (field, checked) = match &**resource {
            VALIDATING | MUTATING => ("paramKind", self.check_param_kind(scope, value, old).await),
            "validatingadmissionpolicybindings" => ("paramRef", self.check_param_ref(scope, value, VALIDATING).await),
            "mutatingadmissionpolicybindings" => ("paramRef", self.check_param_ref(scope, value, MUTATING).await),
            _ => return,
        };
        if let Err(detail) = checked {
            errors.forbidden(&Path::new("spec").child(field), &detail);
        }
    }

    /// All objects of the kind, unless the kind was named before.
    async fn check_param_kind(&self, scope: &Scope<'_>, policy: &Value, old: Option<&Value>) -> Result<(), String> {
        const FIELD: &str = "spec.paramKind";
        let Some(kind) = given(policy, FIELD) else { return Ok(()) };
        let text = |of: &Value, field: &str| object::str_at(of, field).to_owned();
        let named = |of: &Value| (text(of, "apiVersion"), text(of, "kind"));
        if old.and_then(|old| given(old, FIELD)).is_some_and(|old| named(old) == named(kind)) {
            return Ok(());
        }
        let user = &scope.info.user;
        match scope.info.decide(&Read::of_kind(self.schema, kind).asked(user, "get", "*", "*")).await {
            Decision::Allow { .. } => Ok(()),
            Decision::Failed { error, .. } => Err(error),
            Decision::Deny { .. } | Decision::NoOpinion { .. } => {
                let (user, (api_version, kind)) = (shown(user), named(kind));
                Err(format!(
                    "user {user} must have \"get\" permission on all objects of the referenced paramKind (kind={kind}, \
                     apiVersion={api_version})"
                ))
            }
        }
    }

    /// The objects that a binding names, of the kind that its policy names. Asked about on every update: upstream
    /// compares where the parts of a reference are kept, and so never finds that it is the one of before.
    async fn check_param_ref(&self, scope: &Scope<'_>, binding: &Value, policies: &str) -> Result<(), String> {
        let Some(reference) = given(binding, "spec.paramRef") else { return Ok(()) };
        let policy_name = object::str_at(binding, "spec.policyName");
        let read = match self.policy(policies, policy_name).await {
            Err(_) => Read::anything(Some(format!("unable to get policy {policy_name}"))),
            Ok(policy) => match given(&policy, "spec.paramKind") {
                Some(kind) => Read::of_kind(self.schema, kind),
                None => Read::anything(None),
            },
        };
        let (namespace, name) = (object::str_at(reference, "namespace"), object::str_at(reference, "name"));
        let verb = if name.is_empty() { "list" } else { "get" };
        let user = &scope.info.user;
        match scope.info.decide(&read.asked(user, verb, namespace, name)).await {
            Decision::Allow { .. } => Ok(()),
            Decision::Failed { error, .. } if policies == VALIDATING => {
                Err(format!("failed to authorize request: {error}"))
            }
            Decision::Failed { error, .. } => Err(error),
            Decision::Deny { .. } | Decision::NoOpinion { .. } => Err(unreadable(&shown(user), verb, &read, policies)),
        }
    }

    /// As it is now: what this replica shows may name another kind.
    async fn policy(&self, policies: &str, name: &str) -> Result<Arc<Value>, ApiError> {
        let resource = GroupResource::new(GROUP, policies);
        let key = ObjectKey::new(resource.clone(), "", name);
        self.fresh(&key).await?.object.ok_or_else(|| ApiError::not_found(&resource, name))
    }
}

/// Upstream's words; of mutating policies it has verb and user the wrong way round.
fn unreadable(user: &str, verb: &str, read: &Read, policies: &str) -> String {
    if let Some(doubt) = &read.doubt {
        return format!(
            "{doubt} to determine minimum required permissions and user {user} does not have \"{verb}\" permission for \
             all groups, versions and resources"
        );
    }
    let (user, verb) = if policies == MUTATING { (verb, user) } else { (user, verb) };
    format!("user {user} does not have \"{verb}\" permission on the object referenced by paramRef")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn kinds_are_found_as_far_as_they_are_known() {
        let of = |api_version: &str, kind: &str| {
            Read::of_kind(Schema::builtin(), &json!({"apiVersion": api_version, "kind": kind}))
        };
        let read = |group: &str, version: &str, resource: &str, doubt: Option<&str>| Read {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            doubt: doubt.map(str::to_owned),
        };
        assert_eq!(of("v1", "ConfigMap"), read("", "v1", "configmaps", None));
        assert_eq!(of("apps/v1", "Deployment"), read("apps", "v1", "deployments", None));
        let unknown = "unable to resolve paramKind &{example.com/v1 Limit}";
        assert_eq!(of("example.com/v1", "Limit"), read("example.com", "v1", "*", Some(unknown)));
        assert_eq!(of("a/b/c", "Limit"), read("*", "*", "*", Some("unable to parse paramKind &{a/b/c Limit}")));
    }

    #[test]
    fn refusals_of_bindings_are_upstreams() {
        let text = |doubt: Option<&str>, policies: &str| {
            unreadable("&{ann}", "get", &Read::anything(doubt.map(str::to_owned)), policies)
        };
        let rest = "permission on the object referenced by paramRef";
        assert_eq!(text(None, VALIDATING), format!("user &{{ann}} does not have \"get\" {rest}"));
        assert_eq!(text(None, MUTATING), format!("user get does not have \"&{{ann}}\" {rest}"));
        let doubt = text(Some("unable to get policy p"), MUTATING);
        assert!(doubt.starts_with("unable to get policy p to determine minimum required permissions and user &{ann} "));
    }

    #[test]
    fn users_as_go_prints_them() {
        let list = |text: &str| vec![text.to_owned()];
        let user = UserInfo {
            name: "ann".to_owned(),
            groups: vec!["dev".to_owned(), "system:authenticated".to_owned()],
            extra: BTreeMap::from([("a".to_owned(), list("b")), ("c".to_owned(), list("d"))]),
            ..UserInfo::default()
        };
        assert_eq!(shown(&user), "&{ann  [dev system:authenticated] map[a:[b] c:[d]]}");
        assert_eq!(shown(&UserInfo { uid: "1".to_owned(), ..UserInfo::default() }), "&{ 1 [] map[]}");
    }
}
