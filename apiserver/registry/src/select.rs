//! Label and field selectors over objects of a kind.

use api_cache::Object;
use api_kinds::Kind;
use api_machinery::fields::FieldSelector;
use api_machinery::labels::Selector;
use api_machinery::{ApiError, ObjectKey, Value};

/// Both selectors of a list or watch, checked against what the kind can be selected by.
pub(crate) struct Selection {
    labels: Selector,
    pub(crate) fields: FieldSelector,
    kind: &'static dyn Kind,
}

impl Selection {
    pub(crate) fn new(kind: &'static dyn Kind, labels: Selector, fields: FieldSelector) -> Result<Self, ApiError> {
        let nothing = Value::Object(serde_json::Map::new());
        for term in &fields.terms {
            let known = matches!(term.field.as_str(), "metadata.name" | "metadata.namespace")
                || kind.field(&nothing, &term.field).is_some();
            if !known {
                return Err(ApiError::bad_request(format!("field label not supported: {}", term.field)));
            }
        }
        Ok(Self { labels, fields, kind })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        if self.is_everything() {
            return true;
        }
        self.fields.matches(|field| self.field(object, field))
            && (self.labels.is_everything() || self.labels.matches_map(object.labels()))
    }

    fn field(&self, object: &Object, field: &str) -> String {
        let ObjectKey { namespace, name, .. } = &object.key;
        match field {
            "metadata.name" => name.to_string(),
            "metadata.namespace" => namespace.to_string(),
            other => self.kind.field(&object.value(), other).unwrap_or_default(),
        }
    }
}
