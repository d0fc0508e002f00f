//! Looking things up before refusing.

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, Value};

use crate::{Attributes, View};

/// The object, looked for twice: what this replica does not show yet may have been acknowledged elsewhere.
pub(crate) async fn get(
    view: &dyn View,
    group: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<Value>>, ApiError> {
    let resource = GroupResource::new(group, plural);
    if let Some(found) = view.get(&resource, namespace, name) {
        return Ok(Some(found));
    }
    view.refresh().await?;
    Ok(view.get(&resource, namespace, name))
}

/// Why nothing can be asked for by this name: upstream finds out when it asks, and says so instead of not finding it.
pub(crate) fn unaskable(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("resource name may not be empty".to_owned());
    }
    let messages = api_machinery::names::path_segment(name);
    let said = format!("invalid resource name {}: [{}]", api_machinery::quote::quoted(name), messages.join(" "));
    (!messages.is_empty()).then_some(said)
}

/// The namespace that is written to; 404 where there is none.
pub(crate) async fn namespace(attributes: &Attributes<'_>, view: &dyn View) -> Result<Arc<Value>, ApiError> {
    let name = attributes.namespace;
    let found = get(view, "", "namespaces", "", name).await?;
    found.ok_or_else(|| ApiError::not_found(&GroupResource::new("", "namespaces"), name))
}

/// A list in an object; empty where there is none.
pub(crate) fn items<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    api_machinery::object::at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn list(view: &dyn View, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
    view.list(&GroupResource::new(group, plural), namespace)
}

/// Of the objects an annotation marks as the default, the newest, then the first by name.
pub(crate) fn newest_default(mut all: Vec<Arc<Value>>, annotations: &[&str]) -> Option<Arc<Value>> {
    use api_machinery::object;
    all.retain(|one| annotations.iter().any(|key| object::annotation(one, key) == Some("true")));
    let created = |one: &Value| object::str_at(one, "metadata.creationTimestamp").to_owned();
    all.sort_by(|a, b| created(b).cmp(&created(a)).then_with(|| object::name(a).cmp(object::name(b))));
    all.into_iter().next()
}
