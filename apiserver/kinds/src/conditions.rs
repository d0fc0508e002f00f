//! Validation of `metav1.Condition` lists (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).

use std::collections::HashSet;

use api_machinery::{ErrorList, names, object};

use crate::at::At;

/// Bytes of a reason and of a message.
const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32 * 1024;

pub(crate) fn validate(conditions: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for condition in conditions.items() {
        let kind = condition.field("type");
        if !seen.insert(object::str_at(condition.value, "type")) {
            kind.duplicate(errors);
        }
        validate_one(&condition, errors);
    }
}

fn validate_one(condition: &At<'_>, errors: &mut ErrorList) {
    let (kind, reason, message) = (condition.field("type"), condition.field("reason"), condition.field("message"));
    kind.format(errors, names::qualified_name);
    condition.field("status").exactly_one_of(errors, &["False", "True", "Unknown"]);
    condition.field("observedGeneration").at_least(errors, 0, "must be greater than or equal to zero");
    condition.field("lastTransitionTime").need(errors);
    if reason.need(errors) && !is_reason(reason.str()) {
        let detail = "a condition reason must start with alphabetic character, optionally followed by a string of \
                      alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. \
                      'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used \
                      for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        reason.invalid(errors, detail);
    }
    if reason.str().len() > MAX_REASON {
        reason.too_long(errors, MAX_REASON);
    }
    if message.str().len() > MAX_MESSAGE {
        message.too_long(errors, MAX_MESSAGE);
    }
}

fn is_reason(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b',' | b':');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(inner) && !text.ends_with([',', ':'])
}
