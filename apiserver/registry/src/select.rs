//! Label and field selectors over objects of a kind.

use std::sync::Arc;

use api_cache::{Filter, Interest, Object};
use api_kinds::Kind;
use api_machinery::fields::FieldSelector;
use api_machinery::labels::Selector;
use api_machinery::{ApiError, Value};

use crate::Target;

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

    /// What the cache looks at and wakes for: all that may match, and not much more.
    pub(crate) fn interest(&self, target: &Target<'_>) -> Interest {
        let name = self.fields.required("metadata.name");
        let namespace = match (target.resource.namespaced, target.namespace) {
            (true, "") => None,
            (true, namespace) => Some(namespace),
            (false, _) => name.map(|_| ""),
        };
        let node = self.fields.required("spec.nodeName").filter(|node| !node.is_empty());
        let labels = self.labels.clone();
        let by_labels = move |object: &Object| labels.matches(|key| object.label(key));
        Interest {
            namespace: namespace.map(Arc::from),
            name: name.map(Arc::from),
            node: node.map(Arc::from),
            filter: (!self.labels.is_everything()).then(|| Arc::new(by_labels) as Filter),
        }
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.fields.terms.iter().all(|term| self.is(object, &term.field, &term.value) == term.equal)
            && (self.labels.is_everything() || self.labels.matches(|key| object.label(key)))
    }

    /// Whether a field has a value. What the cache reads of every object is asked first: the rest needs parsing.
    fn is(&self, object: &Object, field: &str, wanted: &str) -> bool {
        match field {
            "metadata.name" => *object.key.name == *wanted,
            "metadata.namespace" => *object.key.namespace == *wanted,
            "spec.nodeName" => object.node().unwrap_or_default() == wanted,
            other => *object.field(other, |value| self.kind.field(value, other).unwrap_or_default()) == *wanted,
        }
    }
}
