//! `scale`: an `autoscaling/v1` Scale in front of any kind that says where its replicas are.

use std::sync::Arc;

use api_cache::Object;
use api_codec::apply::Replicas;
use api_kinds::ScalePaths;
use api_machinery::{ApiError, ErrorList, GroupKind, GroupVersionKind, Path, Value, object};
use bytes::Bytes;
use serde_json::{Map, json};

use crate::apply::Application;
use crate::ownership::Typed;
use crate::parts::Part;
use crate::patch::Patch;
use crate::scope::Scope;
use crate::update::Desired;
use crate::{Body, Registry, Written, body, metadata};

fn gvk() -> GroupVersionKind {
    GroupVersionKind { group: "autoscaling".into(), version: "v1".into(), kind: "Scale".into() }
}

fn paths(scope: &Scope<'_>) -> Result<ScalePaths, ApiError> {
    scope.kind.scale().ok_or_else(ApiError::no_such_path)
}

/// The Scale of an object.
pub(crate) fn of(paths: &ScalePaths, object: &Value) -> Value {
    let number = |path: &str| object::at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut meta = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object::meta(object).and_then(|meta| meta.get(field)) {
            meta.insert(field.to_owned(), value.clone());
        }
    }
    let mut spec = Map::new();
    if number(paths.spec_replicas) != 0 {
        spec.insert("replicas".to_owned(), number(paths.spec_replicas).into());
    }
    let mut status = json!({"replicas": number(paths.status_replicas)});
    let selector = selector(object::at(object, paths.selector));
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status})
}

/// A selector in its query form: `a=b,c in (d,e)`.
fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector.and_then(Value::as_object) else { return String::new() };
    let is_full = selector.contains_key("matchLabels") || selector.contains_key("matchExpressions");
    let labels = if is_full { selector.get("matchLabels").and_then(Value::as_object) } else { Some(selector) };
    let mut terms: Vec<(String, String)> = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        terms.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or(""))));
    }
    let expressions = selector.get("matchExpressions").filter(|_| is_full).and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = object::str_at(expression, "key");
        let values = expression.get("values").and_then(Value::as_array);
        let mut values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match object::str_at(expression, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        terms.push((key.to_owned(), text));
    }
    // By key; labels come before expressions about the same.
    terms.sort_by(|(one, _), (other, _)| one.cmp(other));
    terms.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// The object with the replicas of a Scale.
fn apply(scope: &Scope<'_>, paths: &ScalePaths, old: &Value, scale: &Value) -> Result<Value, ApiError> {
    metadata::check_uid(scope, scale, old)?;
    let replicas = object::at(scale, "spec.replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let mut errors = ErrorList::new();
        let at = Path::new("spec").child("replicas");
        errors.invalid(&at, &replicas.into(), "must be greater than or equal to 0");
        let kind = GroupKind { group: "autoscaling".into(), kind: "Scale".into() };
        return Err(ApiError::invalid(&kind, scope.name, errors));
    }
    let mut new = old.clone();
    let version = object::resource_version(scale);
    object::meta_mut(&mut new).insert("resourceVersion".to_owned(), version.into());
    set(&mut new, paths.spec_replicas, replicas.into());
    Ok(new)
}

fn set(value: &mut Value, path: &str, item: Value) {
    let mut place = value;
    for field in path.split('.') {
        let Value::Object(map) = place else { return };
        place = map.entry(field).or_insert_with(|| Value::Object(Map::new()));
    }
    *place = item;
}

/// A Scale made of the one there is.
type Rescale<'a> = dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync + 'a;

impl Registry {
    pub(crate) async fn get_scale(
        &self,
        scope: &Scope<'_>,
        version: Option<store_api::Revision>,
    ) -> Result<Arc<Object>, ApiError> {
        let paths = paths(scope)?;
        let object = self.get_object(scope.resource, &scope.key(scope.name), version).await?;
        let json = Bytes::from(of(&paths, &object.value()).to_string());
        Ok(Arc::new(Object::new(object.key.clone(), object.revision, json)))
    }

    pub(crate) async fn update_scale(&self, scope: &Scope<'_>, body: Body) -> Result<Written, ApiError> {
        let type_id = scope.resource.subresource("scale").and_then(|sub| sub.type_id);
        let mut scale = body::object(self.schema, scope, body, type_id, &gvk())?;
        metadata::settle_namespace(&mut scale, scope.namespace)?;
        metadata::check_name(&scale, scope.name)?;
        let rescale = |live: &Value| {
            let mut scale = scale.clone();
            self.own_typed(scope, &typed(scope), Some(live), &mut scale);
            Ok(scale)
        };
        self.rescale(scope, &rescale).await
    }

    pub(crate) async fn patch_scale(&self, scope: &Scope<'_>, patch: &Patch) -> Result<Written, ApiError> {
        let type_id = scope.resource.subresource("scale").and_then(|sub| sub.type_id);
        let type_id = type_id.ok_or_else(ApiError::no_such_path)?;
        let rescale = |live: &Value| {
            let mut scale = patch.apply(self.schema, scope, type_id, &gvk(), live)?;
            self.own_typed(scope, &typed(scope), Some(live), &mut scale);
            Ok(scale)
        };
        self.rescale(scope, &rescale).await
    }

    pub(crate) async fn apply_scale(&self, scope: &Scope<'_>, application: &Application) -> Result<Written, ApiError> {
        let rescale = |live: &Value| {
            let mut scale = self.applied_typed(scope, &typed(scope), Some(live), application)?;
            metadata::settle_namespace(&mut scale, scope.namespace)?;
            metadata::check_name(&scale, scope.name)?;
            Ok(scale)
        };
        self.rescale(scope, &rescale).await
    }

    /// Writes the replicas of a Scale, and who manages them, into the object behind it.
    async fn rescale(&self, scope: &Scope<'_>, rescale: &Rescale<'_>) -> Result<Written, ApiError> {
        let paths = paths(scope)?;
        let api_version = scope.resource.gv.to_string();
        let replicas = Replicas { path: paths.spec_replicas, api_version: &api_version };
        let edit = |old: &Value| {
            let mut live = of(&paths, old);
            replicas.to_scale(old, &mut live);
            let scale = rescale(&live)?;
            let mut new = apply(scope, &paths, old, &scale)?;
            replicas.to_object(&scale, &mut new);
            Ok(new)
        };
        let mut written = self.guarded_update(scope, Part::Whole, &Desired::Owned(&edit)).await?;
        written.object = Arc::new(of(&paths, &written.object));
        Ok(written)
    }
}

/// The body of the subresource.
fn typed<'a>(scope: &Scope<'_>) -> Typed<'a> {
    let type_id = scope.resource.subresource("scale").and_then(|sub| sub.type_id);
    Typed { api_version: "autoscaling/v1".to_owned(), kind: "Scale", type_id }
}
