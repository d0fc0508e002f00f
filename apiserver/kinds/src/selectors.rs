//! Validation of labels, annotations and label selectors wherever they appear.

use api_machinery::labels::Selector;
use api_machinery::{ErrorList, Value, meta};

use crate::at::{At, child, is_empty};

/// Keys are qualified names, values label values; errors name the map itself.
pub(crate) fn labels(at: &At<'_>, errors: &mut ErrorList) {
    if let Some(map) = at.value.as_object() {
        meta::validate_labels(map, &at.path(), errors);
    }
}

/// Keys are qualified names whatever their case; the sum of sizes is bounded.
pub(crate) fn annotations(at: &At<'_>, errors: &mut ErrorList) {
    if let Some(map) = at.value.as_object() {
        meta::validate_annotations(map, &at.path(), errors);
    }
}

/// A `LabelSelector` object, if there is one.
pub(crate) fn label_selector(at: &At<'_>, errors: &mut ErrorList) {
    if at.value.is_object() {
        meta::validate_label_selector(at.value, &at.path(), errors);
    }
}

/// Whether a `LabelSelector` object selects everything because it says nothing.
pub(crate) fn says_nothing(selector: &Value) -> bool {
    is_empty(child(selector, "matchLabels")) && is_empty(child(selector, "matchExpressions"))
}

/// Whether the selector takes these labels; one that does not parse takes everything, as its own error is said elsewhere.
pub(crate) fn takes(selector: &Value, labels: &Value) -> bool {
    match Selector::from_object(Some(selector)) {
        Ok(parsed) => parsed.matches(|key| labels.get(key).and_then(Value::as_str)),
        Err(_) => true,
    }
}
