//! Reviews: questions to authentication and authorization, created and answered but never stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_auth::authn::Audiences;
use api_auth::authz::{Authorizer, AuthzAttributes, Decision, aggregated};
use api_codec::default::apply_type_defaults;
use api_machinery::error::Result;
use api_machinery::object::str_at;
use api_machinery::{ApiError, UserInfo, Value, object, time};
use api_registry::aside;
use serde_json::{Map, json};

use crate::chain::Call;
use crate::negotiate::Shape;
use crate::options::{self, Write};
use crate::request_info::RequestInfo;
use crate::resources::{caller, conformed, review_output, target};
use crate::respond::{self, Response};
use crate::served::Served;
use crate::state::State;
use crate::{body, negotiate, review_validation};

/// Whether a request is for a resource that is answered here.
pub(crate) fn is_review(info: &RequestInfo) -> bool {
    info.subresource.is_empty()
        && matches!(
            (info.group.as_str(), info.resource.as_str()),
            ("authentication.k8s.io", "tokenreviews" | "selfsubjectreviews")
                | (
                    "authorization.k8s.io",
                    "subjectaccessreviews"
                        | "selfsubjectaccessreviews"
                        | "localsubjectaccessreviews"
                        | "selfsubjectrulesreviews"
                )
        )
}

pub(crate) async fn create(state: &Arc<State>, served: Served, mut call: Call) -> Result<Response> {
    let output = review_output(&call)?;
    let parameters = options::write_parameters(&call.query, Write::Create)?;
    let caller = caller(state, &call, &parameters)?;
    let format = negotiate::body_format(call.headers())?;
    let bytes = body::of_call(state, &mut call).await?;
    if let Some(trail) = &call.trail {
        trail.sent_object(format, &bytes);
    }
    let read = || conformed(state, &served, &call, format, &bytes, parameters.field_validation);
    let mut review = aside::on_bytes(bytes.len(), read)?;
    let Some(map) = review.as_object_mut() else { return Err(ApiError::bad_request("the body is not an object")) };
    map.insert("apiVersion".to_owned(), served.resource.gv.to_string().into());
    map.insert("kind".to_owned(), served.resource.kind.as_str().into());
    map.entry("metadata").or_insert_with(|| json!({}));
    let registry = &state.server.registry;
    if let Some(type_id) = served.resource.type_id {
        // Nothing of a review has a default, but some of it is written even when it is not set.
        apply_type_defaults(registry.schema, type_id, &mut review);
    }
    settle_metadata(&mut review, served.resource.namespaced, &call.info.namespace)?;
    registry.own_review(&caller, &target(&served, &call, Shape::Object), &mut review);
    let authorizer = &*state.server.authorizer;
    let status = match served.resource.plural.as_str() {
        "tokenreviews" => token_review(state, &review).await?,
        "selfsubjectreviews" => json!({"userInfo": user_json(&call.user)}),
        "selfsubjectrulesreviews" => rules_review(authorizer, &review, &call.user)?,
        "selfsubjectaccessreviews" => access_review(authorizer, &served, &review, Some(&call.user)).await?,
        _ => access_review(authorizer, &served, &review, None).await?,
    };
    match served.resource.plural.as_str() {
        // As upstream: the answer does not say what was asked.
        "selfsubjectrulesreviews" => {
            review["metadata"] = json!({});
            review["spec"] = json!({});
        }
        "selfsubjectreviews" => review["metadata"] = json!({"creationTimestamp": time::seconds(state.now())}),
        _ => {}
    }
    review["status"] = status;
    Ok(respond::value(&output, 201, &review))
}

/// Metadata that is nobody's to set.
const SYSTEM_FIELDS: [&str; 5] =
    ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"];

/// What the server decides of any object is not the client's to say. A review in a namespace is of that namespace,
/// whether it says so or not; one in none has none.
fn settle_metadata(review: &mut Value, namespaced: bool, namespace: &str) -> Result<()> {
    let own = str_at(review, "metadata.namespace");
    if namespaced && !own.is_empty() && own != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let meta = object::meta_mut(review);
    for field in SYSTEM_FIELDS {
        meta.remove(field);
    }
    if namespaced {
        meta.insert("namespace".to_owned(), namespace.into());
    } else {
        meta.remove("namespace");
    }
    Ok(())
}

fn user_json(user: &UserInfo) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value, empty: bool| {
        if !empty {
            map.insert(name.to_owned(), value);
        }
    };
    put("username", user.name.as_str().into(), user.name.is_empty());
    put("uid", user.uid.as_str().into(), user.uid.is_empty());
    put("groups", json!(user.groups), user.groups.is_empty());
    put("extra", json!(user.extra), user.extra.is_empty());
    Value::Object(map)
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Tokens are checked for the audiences that are asked about, this server's own when none are.
async fn token_review(state: &State, review: &Value) -> Result<Value> {
    let token = str_at(review, "spec.token");
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let own = state.server.registry.config.tokens.api_audiences();
    let asked = strings(review.pointer("/spec/audiences"));
    let wanted = if asked.is_empty() { own } else { &asked };
    Ok(match state.server.authenticator.review(token, Audiences { wanted, own }).await {
        Ok(Some((user, audiences))) => {
            json!({"authenticated": true, "user": user_json(&user), "audiences": audiences})
        }
        Ok(None) => json!({"error": BAD_TOKEN, "user": {}}),
        Err(error) if error.code == 401 => json!({"error": BAD_TOKEN, "user": {}}),
        Err(error) => json!({"error": error.message, "user": {}}),
    })
}

const BAD_TOKEN: &str = "invalid bearer token";

fn rules_review(authorizer: &dyn Authorizer, review: &Value, user: &UserInfo) -> Result<Value> {
    let namespace = str_at(review, "spec.namespace");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let (resource_rules, non_resource_rules) = authorizer.rules_for(user, namespace);
    let incomplete = authorizer.rules_incomplete(user, namespace);
    let mut status = json!({"resourceRules": resource_rules, "nonResourceRules": non_resource_rules,
        "incomplete": incomplete.incomplete});
    if !incomplete.errors.is_empty() {
        status["evaluationError"] = aggregated(&incomplete.errors).into();
    }
    Ok(status)
}

fn reviewed_user(review: &Value) -> UserInfo {
    let extra = review.pointer("/spec/extra").and_then(Value::as_object);
    let extra: BTreeMap<String, Vec<String>> = extra
        .map(|extra| extra.iter().map(|(key, values)| (key.clone(), strings(Some(values)))).collect())
        .unwrap_or_default();
    UserInfo {
        name: str_at(review, "spec.user").to_owned(),
        uid: str_at(review, "spec.uid").to_owned(),
        groups: strings(review.pointer("/spec/groups")),
        extra,
    }
}

fn reviewed_attributes(review: &Value, user: UserInfo) -> AuthzAttributes {
    let resource_request = review.pointer("/spec/resourceAttributes").is_some_and(|value| !value.is_null());
    let base = if resource_request { "spec.resourceAttributes" } else { "spec.nonResourceAttributes" };
    let text = |field: &str| str_at(review, &format!("{base}.{field}")).to_owned();
    AuthzAttributes {
        user,
        verb: text("verb"),
        resource_request,
        group: text("group"),
        version: Some(text("version")).filter(|version| !version.is_empty()).unwrap_or_else(|| "*".to_owned()),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        path: text("path"),
        field_selector: review_validation::field_terms(review),
        label_selector: review_validation::label_requirements(review),
    }
}

/// `user`: the asker of a Self review; otherwise the spec names the user.
async fn access_review(
    authorizer: &dyn Authorizer,
    served: &Served,
    review: &Value,
    user: Option<&UserInfo>,
) -> Result<Value> {
    review_validation::check(served.resource, review)?;
    let user = user.cloned().unwrap_or_else(|| reviewed_user(review));
    let decision = authorizer.authorize(&reviewed_attributes(review, user)).await;
    let mut status = json!({"allowed": decision.allowed()});
    if matches!(decision, Decision::Deny { .. } | Decision::Failed { denied: true, .. }) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    let failed = match &decision {
        Decision::Failed { error, .. } => Some(error.clone()),
        _ => None,
    };
    let errors: Vec<String> = failed.into_iter().chain(review_validation::ignored(review)).collect();
    if !errors.is_empty() {
        status["evaluationError"] = errors.join("; ").into();
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use api_auth::authz::{Incomplete, Union};

    use super::*;

    /// Knows a rule, and what it does not know.
    struct Knows(&'static str, &'static [&'static str]);

    #[async_trait::async_trait]
    impl Authorizer for Knows {
        async fn authorize(&self, _: &AuthzAttributes) -> Decision {
            Decision::no_opinion()
        }
        fn rules_for(&self, _: &UserInfo, namespace: &str) -> (Vec<Value>, Vec<Value>) {
            (vec![json!({"verbs": [self.0], "resources": [namespace]})], vec![json!({"verbs": [self.0]})])
        }
        fn rules_incomplete(&self, _: &UserInfo, _: &str) -> Incomplete {
            let errors = self.1.iter().map(|error| (*error).to_owned()).collect();
            Incomplete { incomplete: self.0 == "get", errors }
        }
    }

    #[test]
    fn rules_of_all_authorizers_in_turn() {
        let review = |authorizers: Vec<Box<dyn Authorizer>>| {
            let asked = json!({"spec": {"namespace": "a"}});
            rules_review(&Union { authorizers }, &asked, &UserInfo::default()).expect("an answer")
        };
        assert_eq!(
            review(vec![Box::new(Knows("list", &["z", "y"])), Box::new(Knows("get", &["y"]))]),
            json!({
                "resourceRules": [{"verbs": ["list"], "resources": ["a"]}, {"verbs": ["get"], "resources": ["a"]}],
                "nonResourceRules": [{"verbs": ["list"]}, {"verbs": ["get"]}],
                "incomplete": true,
                "evaluationError": "[z, y]",
            })
        );
        let one = review(vec![Box::new(Knows("list", &["y"])), Box::new(Knows("list", &["y"]))]);
        assert_eq!((&one["evaluationError"], &one["incomplete"]), (&json!("y"), &json!(false)));
        let none = review(vec![]);
        assert_eq!(none, json!({"resourceRules": [], "nonResourceRules": [], "incomplete": false}));
    }
}
