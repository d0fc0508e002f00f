//! Nobody grants what they do not hold: roles and bindings are checked against the asker's own rules, unless the
//! asker may `escalate` the role or `bind` to it.

use std::sync::Arc;

use api_auth::authz::AuthzAttributes;
use api_machinery::quote::quoted;
use api_machinery::{ApiError, GroupResource, ObjectKey, Value, object};
use serde_json::Map;

use crate::policy_rule::{self, PolicyRule, Uncovered};
use crate::scope::Scope;
use crate::{Registry, aside};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What of metadata the garbage collector changes, and the server. A change of nothing else grants nothing.
const NO_GRANT: [&str; 4] = ["ownerReferences", "finalizers", "managedFields", "resourceVersion"];

impl Registry {
    /// 403 when this role or binding grants what the asker does not hold. `old`: what is there.
    pub(crate) async fn check_escalation(
        &self,
        scope: &Scope<'_>,
        value: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let Some(authorizer) = scope.info.judge() else { return Ok(()) };
        let rbac = &*scope.resource.storage.group == GROUP && scope.subresource.is_empty();
        if !rbac || old.is_some_and(|old| grants_nothing_new(value, old)) {
            return Ok(());
        }
        let (resources, urls) = authorizer.rules_for(&scope.info.user, scope.namespace);
        let owned: Vec<PolicyRule<'_>> = resources.iter().chain(&urls).map(PolicyRule::from_json).collect();
        match &*scope.resource.storage.resource {
            "roles" | "clusterroles" => check_role(scope, value, old, &owned).await,
            "rolebindings" | "clusterrolebindings" => self.check_binding(scope, value, &owned).await,
            _ => Ok(()),
        }
    }

    async fn check_binding(
        &self,
        scope: &Scope<'_>,
        binding: &Value,
        owned: &[PolicyRule<'_>],
    ) -> Result<(), ApiError> {
        let text = |path: &str| object::str_at(binding, path);
        let (plural, namespace) = match text("roleRef.kind") {
            "ClusterRole" => ("clusterroles", ""),
            "Role" if !scope.namespace.is_empty() => ("roles", scope.namespace),
            // Validation refuses it.
            _ => return Ok(()),
        };
        let may_bind = AuthzAttributes {
            group: text("roleRef.apiGroup").to_owned(),
            version: "*".to_owned(),
            resource: plural.to_owned(),
            name: text("roleRef.name").to_owned(),
            ..scope.asks("bind")
        };
        if scope.info.decide(&may_bind).await.allowed() {
            return Ok(());
        }
        let role = self.role(plural, namespace, text("roleRef.name")).await?;
        confirm(scope, object::name(binding), owned, &PolicyRule::all(role.get("rules")))
    }

    /// As it is now: what this replica shows may grant less.
    async fn role(&self, plural: &str, namespace: &str, name: &str) -> Result<Arc<Value>, ApiError> {
        let resource = GroupResource::new(GROUP, plural);
        let key = ObjectKey::new(resource.clone(), namespace, name);
        self.fresh(&key).await?.object.ok_or_else(|| ApiError::not_found(&resource, name))
    }
}

async fn check_role(
    scope: &Scope<'_>,
    role: &Value,
    old: Option<&Value>,
    owned: &[PolicyRule<'_>],
) -> Result<(), ApiError> {
    let may_escalate = AuthzAttributes { version: "*".to_owned(), ..scope.asks("escalate") };
    if scope.info.decide(&may_escalate).await.allowed() {
        return Ok(());
    }
    let name = object::name(role);
    confirm(scope, name, owned, &PolicyRule::all(role.get("rules")))?;
    // It may gather anything.
    let gathers = [Some(role), old].into_iter().flatten().any(is_aggregated);
    if gathers && policy_rule::check_covered(owned, &PolicyRule::everything()).is_err() {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        return Err(ApiError::forbidden(&scope.resource.group_resource(), name, why));
    }
    Ok(())
}

fn is_aggregated(role: &Value) -> bool {
    object::at(role, "aggregationRule.clusterRoleSelectors")
        .and_then(Value::as_array)
        .is_some_and(|all| !all.is_empty())
}

fn confirm(scope: &Scope<'_>, name: &str, owned: &[PolicyRule<'_>], wanted: &[PolicyRule<'_>]) -> Result<(), ApiError> {
    let covered = aside::always(|| policy_rule::check_covered(owned, wanted));
    let user = &scope.info.user;
    let why = match covered {
        Ok(()) => return Ok(()),
        Err(Uncovered::TooMany) => "the role grants more permissions than can be checked".to_owned(),
        Err(Uncovered::Missing(lines)) => format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quoted(&user.name),
            policy_rule::list(&user.groups),
            lines.join("\n")
        ),
    };
    Err(ApiError::forbidden(&scope.resource.group_resource(), name, &why))
}

/// Whether only such metadata differs as grants nothing.
fn grants_nothing_new(new: &Value, old: &Value) -> bool {
    let empty = Map::new();
    let rest = |object: &Value| {
        let meta = object::meta(object).unwrap_or(&empty).iter();
        let meta: Map<String, Value> = meta
            .filter(|(field, _)| !NO_GRANT.contains(&field.as_str()))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect();
        meta
    };
    let fields = |object: &Value| {
        let map = object.as_object().unwrap_or(&empty).iter();
        let map: Map<String, Value> = map
            .filter(|(field, _)| *field != "metadata")
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect();
        map
    };
    rest(new) == rest(old) && fields(new) == fields(old)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_garbage_collector_does_grants_nothing() {
        let old = json!({"metadata": {"name": "r", "finalizers": ["a"], "resourceVersion": "1"}, "rules": []});
        for (new, nothing) in [
            (json!({"metadata": {"name": "r", "resourceVersion": "2", "ownerReferences": [1]}, "rules": []}), true),
            (json!({"metadata": {"name": "r", "labels": {"a": "b"}}, "rules": []}), false),
            (json!({"metadata": {"name": "r"}, "rules": [{}]}), false),
        ] {
            assert_eq!(grants_nothing_new(&new, &old), nothing, "{new}");
        }
    }
}
