//! Validation of labels, annotations and label selectors wherever they appear, and of the metadata of templates of
//! claims, which is labels and annotations only.

use api_machinery::labels::Selector;
use api_machinery::{ErrorList, Value, meta};

use crate::at::{At, child, is_empty};

/// Metadata that a claim made from a template may not be given, in the order and with the names of upstream's errors.
const NOT_FOR_CLAIMS: [(&str, &str); 13] = [
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

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

/// What the claims made from a template get: annotations and labels.
pub(crate) fn claim_metadata(metadata: &At<'_>, errors: &mut ErrorList) {
    annotations(&metadata.field("annotations"), errors);
    labels(&metadata.field("labels"), errors);
    for (field, called) in NOT_FOR_CLAIMS {
        let at = metadata.field(field);
        if !at.is_empty() && (field != "generation" || at.int() != Some(0)) {
            metadata.field(called).forbidden(errors, "cannot be set");
        }
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
