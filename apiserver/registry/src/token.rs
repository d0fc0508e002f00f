//! `serviceaccounts/token`: a TokenRequest becomes a token that is bound to what it names.

use std::sync::Arc;

use api_admission::Operation;
use api_codec::default::apply_type_defaults;
use api_machinery::{
    ApiError, ErrorList, GroupKind, GroupResource, GroupVersion, GroupVersionKind, ObjectKey, Path, Value, object, time,
};
use api_schema::TypeId;
use jiff::SignedDuration;
use pki::tokens::Subject;
use serde_json::json;

use crate::ownership::Typed;
use crate::scope::Scope;
use crate::{Body, Registry, Written, body, ids, metadata};

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
const API_VERSION: &str = "authentication.k8s.io/v1";
const KIND: &str = "TokenRequest";

fn gvk() -> GroupVersionKind {
    GroupVersionKind { group: "authentication.k8s.io".into(), version: "v1".into(), kind: KIND.into() }
}

impl Registry {
    pub(crate) async fn create_token(&self, scope: &Scope<'_>, body: Body) -> Result<Written, ApiError> {
        let type_id = scope.resource.subresource("token").and_then(|sub| sub.type_id);
        let mut request = body::object(self.schema, scope, body, type_id, &gvk())?;
        metadata::settle_namespace(&mut request, scope.namespace)?;
        self.default_token(type_id, &mut request);
        let typed = Typed { api_version: API_VERSION.to_owned(), kind: KIND, type_id };
        self.own_typed(scope, &typed, None, &mut request);
        let attributes = scope.attributes(Operation::Create, scope.name, None);
        self.admission.admit(&attributes, Some(&mut request), self).await?;
        check_name(scope, &request)?;
        let account = self.get_object(scope.resource, &scope.key(scope.name), None).await?.value();
        check_uid(&request, &account)?;
        validate(&request)?;
        self.admission.validate(&attributes, Some(&request), self).await?;
        // Admission sees what was asked for: a node's pods may ask for less than a token for this API.
        default_audiences(&mut request, self.config.tokens.api_audiences());
        let subject = self.subject(scope, &account, &request).await?;
        // A dry run leaves nothing behind, and a token is stored nowhere.
        let token = self.issue(scope, &request, &subject)?;
        let mut answer = answer(scope, request, &token, &account)?;
        self.default_token(type_id, &mut answer);
        Ok(Written { object: Arc::new(answer), created: true, pending: false, revision: 0, warnings: Vec::new() })
    }

    /// Times and references that are not set are written all the same.
    fn default_token(&self, type_id: Option<TypeId>, request: &mut Value) {
        default(request);
        if let Some(type_id) = type_id {
            apply_type_defaults(self.schema, type_id, request);
        }
    }

    fn issue(&self, scope: &Scope<'_>, request: &Value, subject: &Subject) -> Result<String, ApiError> {
        let audiences: Vec<String> = object::at(request, "spec.audiences")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        let issued = self.config.tokens.issue(subject, &audiences, seconds(request), scope.now, &ids::uid());
        issued.map_err(|error| ApiError::internal(format!("failed to generate token: {error}")))
    }

    /// Whom the token is for. What it is bound to must exist, and be of this account.
    async fn subject(&self, scope: &Scope<'_>, account: &Value, request: &Value) -> Result<Subject, ApiError> {
        let mut subject = Subject {
            namespace: scope.namespace.to_owned(),
            service_account: scope.name.to_owned(),
            service_account_uid: object::uid(account).to_owned(),
            ..Subject::default()
        };
        let Some(bound) = object::at(request, "spec.boundObjectRef").filter(|bound| bound.is_object()) else {
            return Ok(subject);
        };
        let kind = object::str_at(bound, "kind");
        let of = GroupVersion::parse(object::str_at(bound, "apiVersion"));
        let name = object::str_at(bound, "name");
        match (&*of.group, kind) {
            ("", "Pod") => {
                let pod = self.bound(bound, "pods", scope.namespace, name).await?;
                if object::str_at(&pod, "spec.serviceAccountName") != scope.name {
                    return Err(ApiError::bad_request(format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        scope.name
                    )));
                }
                subject.pod = Some((name.to_owned(), object::uid(&pod).to_owned()));
                subject.node = self.node_of(&pod);
            }
            ("", "Node") => {
                let node = self.bound(bound, "nodes", "", name).await?;
                subject.node = Some((name.to_owned(), object::uid(&node).to_owned()));
            }
            ("", "Secret") => {
                let secret = self.bound(bound, "secrets", scope.namespace, name).await?;
                subject.secret = Some((name.to_owned(), object::uid(&secret).to_owned()));
            }
            _ => {
                let (group, version) = (&of.group, &of.version);
                return Err(ApiError::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        }
        Ok(subject)
    }

    /// As this replica shows it, or where that does not fit as it is now.
    async fn bound(
        &self,
        reference: &Value,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, ApiError> {
        let resource = GroupResource::new("", plural);
        let key = ObjectKey::new(resource.clone(), namespace, name);
        let wanted = object::str_at(reference, "uid");
        let fits = |found: &Arc<Value>| wanted.is_empty() || wanted == object::uid(found);
        let shown = self.cache.get(&key).map(|shown| shown.value()).filter(fits);
        let found = match shown {
            Some(shown) => shown,
            None => self.fresh(&key).await?.object.ok_or_else(|| ApiError::not_found(&resource, name))?,
        };
        if !fits(&found) {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            let kind = GroupResource::new("", object::str_at(reference, "kind"));
            return Err(ApiError::conflict(&kind, name, &why));
        }
        Ok(found)
    }

    fn node_of(&self, pod: &Value) -> Option<(String, String)> {
        let name = object::str_at(pod, "spec.nodeName");
        if name.is_empty() {
            return None;
        }
        // A node that is not there is named all the same: whoever reads the token learns where the pod is.
        let node = self.cache.get(&ObjectKey::new(GroupResource::new("", "nodes"), "", name));
        Some((name.to_owned(), node.map_or_else(String::new, |node| object::uid(&node.value()).to_owned())))
    }
}

/// 422 when the body is for another account than the path.
fn check_name(scope: &Scope<'_>, request: &Value) -> Result<(), ApiError> {
    let given = object::name(request);
    if ["", scope.name].contains(&given) {
        return Ok(());
    }
    let mut errors = ErrorList::new();
    let at = Path::new("metadata").child("name");
    errors.invalid(&at, &given.into(), "must match the service account name if specified");
    Err(ApiError::invalid(&kind(), scope.name, errors))
}

/// 409 when the request is for an account that was there before.
fn check_uid(request: &Value, account: &Value) -> Result<(), ApiError> {
    let (given, own) = (object::uid(request), object::uid(account));
    if ["", own].contains(&given) {
        return Ok(());
    }
    let why = format!("the UID in the token request ({given}) does not match the UID of the service account ({own})");
    let resource = GroupResource::new("authentication.k8s.io", KIND);
    Err(ApiError::conflict(&resource, object::name(account), &why))
}

fn kind() -> GroupKind {
    GroupKind { group: "authentication.k8s.io".into(), kind: KIND.into() }
}

fn seconds(request: &Value) -> i64 {
    object::at(request, "spec.expirationSeconds").and_then(Value::as_i64).unwrap_or(DEFAULT_SECONDS)
}

fn default(request: &mut Value) {
    if !request["spec"].is_object() {
        request["spec"] = json!({});
    }
    let spec = &mut request["spec"];
    if !spec["expirationSeconds"].is_i64() {
        spec["expirationSeconds"] = DEFAULT_SECONDS.into();
    }
}

fn default_audiences(request: &mut Value, api_audiences: &[String]) {
    let audiences = &mut request["spec"]["audiences"];
    if audiences.as_array().is_none_or(Vec::is_empty) {
        *audiences = api_audiences.iter().map(String::as_str).map(Value::from).collect();
    }
}

fn validate(request: &Value) -> Result<(), ApiError> {
    let mut errors = ErrorList::new();
    let at = Path::new("spec").child("expirationSeconds");
    let seconds = seconds(request);
    if seconds < MIN_SECONDS {
        errors.invalid(&at, &seconds.into(), "may not specify a duration less than 10 minutes");
    }
    if seconds > MAX_SECONDS {
        errors.invalid(&at, &seconds.into(), "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&kind(), "", errors))
}

/// The request with the account's name and uid, and what it asked for.
fn answer(scope: &Scope<'_>, mut request: Value, token: &str, account: &Value) -> Result<Value, ApiError> {
    let expires = scope.now.checked_add(SignedDuration::from_secs(seconds(&request))).map_err(ApiError::internal)?;
    let meta = object::meta_mut(&mut request);
    let (name, uid) = (object::name(account), object::uid(account));
    for (field, value) in [("name", name), ("namespace", scope.namespace), ("uid", uid)] {
        meta.insert(field.to_owned(), value.into());
    }
    meta.insert("creationTimestamp".to_owned(), time::seconds(scope.now).into());
    request["status"] = json!({"token": token, "expirationTimestamp": time::seconds(expires)});
    Ok(request)
}
