//! What nodes may write, by what they write.

pub(crate) mod nodes;
pub(crate) mod others;
pub(crate) mod pods;
pub(crate) mod tokens;

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, Value, object};

use crate::{Attributes, View, lookup};

/// One write of a node.
pub(crate) struct Case<'a> {
    pub(crate) attributes: &'a Attributes<'a>,
    /// `None` on delete.
    pub(crate) object: Option<&'a Value>,
    /// Its name.
    pub(crate) node: &'a str,
    pub(crate) view: &'a dyn View,
}

pub(crate) enum Refusal {
    /// 403 about the object of the request.
    Forbidden(String),
    Other(ApiError),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Forbidden(why)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

pub(crate) type Verdict = Result<(), Refusal>;

impl<'a> Case<'a> {
    fn name(&self) -> &'a str {
        match (self.attributes.name, self.object) {
            ("", Some(object)) => object::name(object),
            (name, _) => name,
        }
    }

    /// The object, or 404.
    async fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Result<Arc<Value>, Refusal> {
        let found = lookup::get(self.view, group, plural, namespace, name).await?;
        found.ok_or_else(|| ApiError::not_found(&GroupResource::new(group, plural), name).into())
    }
}

fn refuse(why: impl Into<String>) -> Verdict {
    Err(Refusal::Forbidden(why.into()))
}

/// Whether a field says the same, or nothing in both.
fn same(new: &Value, old: &Value, path: &str) -> bool {
    let said = |object| object::at(object, path).filter(|value| !is_empty(value)).cloned();
    said(new) == said(old)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
