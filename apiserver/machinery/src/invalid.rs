//! Field errors: where, what kind, which value, why. Formats are upstream's
//! (`k8s.io/apimachinery/pkg/util/validation/field`).

use std::collections::HashSet;
use std::fmt;

use serde_json::{Map, Value};

/// Findings kept of one object. A body of 3 MiB can hold hundreds of thousands; nobody reads so many.
const MAX_CAUSES: usize = 1_000;
/// Bytes of the messages kept. Each may show a value as large as the body.
const MAX_CAUSE_BYTES: usize = 1 << 20;

/// A place in an object: `spec.containers[0].name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(String);

impl Path {
    pub fn new(root: &str) -> Self {
        Self(root.to_owned())
    }
    /// `self.name`
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }
    /// `self[3]`
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
    /// `self[key]`
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `StatusCause.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseType {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    NotFound,
    Forbidden,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
    /// Not of a field: creation in a namespace that is going away.
    NamespaceTerminating,
    /// Not of a field: a PodDisruptionBudget refuses an eviction.
    DisruptionBudget,
    /// Not of a field: no replica has reached that resourceVersion.
    ResourceVersionTooLarge,
    /// Another manager owns the field with another value.
    FieldManagerConflict,
    /// Not of a field: a node has less than a pod is to be given.
    NodeCapacity,
    /// Not of a field: a node's operating system does not know how.
    UnsupportedPlatform,
}

impl CauseType {
    pub fn as_str(self) -> &'static str {
        match self {
            CauseType::Required => "FieldValueRequired",
            CauseType::Invalid => "FieldValueInvalid",
            CauseType::NotSupported => "FieldValueNotSupported",
            CauseType::Duplicate => "FieldValueDuplicate",
            CauseType::NotFound => "FieldValueNotFound",
            CauseType::Forbidden => "FieldValueForbidden",
            CauseType::TooLong => "FieldValueTooLong",
            CauseType::TooMany => "FieldValueTooMany",
            CauseType::TypeInvalid => "FieldValueTypeInvalid",
            CauseType::Internal => "InternalError",
            CauseType::NamespaceTerminating => "NamespaceTerminating",
            CauseType::DisruptionBudget => "DisruptionBudget",
            CauseType::ResourceVersionTooLarge => "ResourceVersionTooLarge",
            CauseType::FieldManagerConflict => "FieldManagerConflict",
            CauseType::NodeCapacity => "NodeCapacity",
            CauseType::UnsupportedPlatform => "UnsupportedPlatform",
        }
    }
}

/// One entry of `details.causes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    pub reason: CauseType,
    /// `Invalid value: "x": must be ...`, without the field path.
    pub message: String,
    pub field: String,
}

impl Cause {
    pub fn to_json(&self) -> Value {
        let parts = [("reason", self.reason.as_str()), ("message", &self.message), ("field", &self.field)];
        let set = parts.into_iter().filter(|(_, text)| !text.is_empty());
        Value::Object(set.map(|(name, text)| (name.to_owned(), text.into())).collect::<Map<_, _>>())
    }
}

/// Collects field errors in the order they are found. Past a bound they are only counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorList {
    causes: Vec<Cause>,
    /// Of the messages in `causes`.
    bytes: usize,
    /// Found, and not kept.
    dropped: usize,
}

/// A bad value as upstream prints it: strings quoted, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => crate::quote::quoted(text),
        other => other.to_string(),
    }
}

fn unsupported(shown: &str, supported: &[&str]) -> String {
    let listed: Vec<String> = supported.iter().map(|value| crate::quote::quoted(value)).collect();
    format!("Unsupported value: {shown}: supported values: {}", listed.join(", "))
}

impl ErrorList {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// All that was found, kept or not.
    pub fn len(&self) -> usize {
        self.causes.len() + self.dropped
    }
    pub fn append(&mut self, other: ErrorList) {
        for cause in other.causes {
            self.keep(|| cause);
        }
        self.dropped += other.dropped;
    }
    /// Made only when it is kept: to show a value costs as much as the value is large.
    fn keep(&mut self, make: impl FnOnce() -> Cause) {
        if self.causes.len() >= MAX_CAUSES || self.bytes >= MAX_CAUSE_BYTES {
            self.dropped += 1;
            return;
        }
        let cause = make();
        self.bytes += cause.message.len() + cause.field.len();
        self.causes.push(cause);
    }
    fn push(&mut self, reason: CauseType, field: &Path, message: impl FnOnce() -> String) {
        self.keep(|| Cause { reason, message: message(), field: field.to_string() });
    }
    pub fn required(&mut self, field: &Path, detail: &str) {
        self.push(CauseType::Required, field, || {
            if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") }
        });
    }
    pub fn invalid(&mut self, field: &Path, bad: &Value, detail: &str) {
        self.push(CauseType::Invalid, field, || format!("Invalid value: {}: {detail}", shown(bad)));
    }
    /// [`Self::invalid`] of a value that is not shown.
    pub fn invalid_omitted(&mut self, field: &Path, detail: &str) {
        self.push(CauseType::Invalid, field, || format!("Invalid value: {detail}"));
    }
    /// `supported` is shown sorted by byte, as upstream's sets are.
    pub fn not_supported(&mut self, field: &Path, bad: &Value, supported: &[&str]) {
        let mut sorted = supported.to_vec();
        sorted.sort_unstable();
        self.not_supported_listed(field, bad, &sorted);
    }
    /// [`Self::not_supported`] in the order given, where upstream has a list of its own.
    pub fn not_supported_listed(&mut self, field: &Path, bad: &Value, supported: &[&str]) {
        self.push(CauseType::NotSupported, field, || unsupported(&shown(bad), supported));
    }
    /// [`Self::not_supported_listed`] of a value that is printed already.
    pub fn not_supported_printed(&mut self, field: &Path, printed: &str, supported: &[&str]) {
        self.push(CauseType::NotSupported, field, || unsupported(printed, supported));
    }
    pub fn duplicate(&mut self, field: &Path, bad: &Value) {
        self.push(CauseType::Duplicate, field, || format!("Duplicate value: {}", shown(bad)));
    }
    /// [`Self::duplicate`] with what must be unique.
    pub fn duplicate_because(&mut self, field: &Path, bad: &Value, detail: &str) {
        self.push(CauseType::Duplicate, field, || format!("Duplicate value: {}: {detail}", shown(bad)));
    }
    /// [`Self::invalid`] of a value that is printed already: a struct, whose fields upstream has in its own order.
    pub fn invalid_printed(&mut self, field: &Path, printed: &str, detail: &str) {
        self.push(CauseType::Invalid, field, || format!("Invalid value: {printed}: {detail}"));
    }
    /// [`Self::duplicate`] of such a value, with what must be unique if there is something to say of it.
    pub fn duplicate_printed(&mut self, field: &Path, printed: &str, detail: &str) {
        self.push(CauseType::Duplicate, field, || match detail {
            "" => format!("Duplicate value: {printed}"),
            detail => format!("Duplicate value: {printed}: {detail}"),
        });
    }
    pub fn internal(&mut self, field: &Path, detail: &str) {
        self.push(CauseType::Internal, field, || format!("Internal error: {detail}"));
    }
    pub fn not_found(&mut self, field: &Path, bad: &Value) {
        self.push(CauseType::NotFound, field, || format!("Not found: {}", shown(bad)));
    }
    /// [`Self::not_found`] with what there is instead.
    pub fn not_found_as(&mut self, field: &Path, bad: &Value, detail: &str) {
        self.push(CauseType::NotFound, field, || format!("Not found: {}: {detail}", shown(bad)));
    }
    pub fn forbidden(&mut self, field: &Path, detail: &str) {
        self.push(CauseType::Forbidden, field, || format!("Forbidden: {detail}"));
    }
    pub fn too_long(&mut self, field: &Path, max_bytes: usize) {
        let bytes = if max_bytes == 1 { "byte" } else { "bytes" };
        self.push(CauseType::TooLong, field, || format!("Too long: may not be more than {max_bytes} {bytes}"));
    }
    pub fn too_many(&mut self, field: &Path, actual: usize, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        self.push(CauseType::TooMany, field, || format!("Too many: {actual}: must have at most {max} {items}"));
    }
    pub fn type_invalid(&mut self, field: &Path, bad: &Value, detail: &str) {
        self.push(CauseType::TypeInvalid, field, || format!("Invalid value: {}: {detail}", shown(bad)));
    }
    /// Joined as upstream's aggregate error: one plainly, several in brackets, repeats left out.
    pub fn message(&self) -> String {
        let mut seen = HashSet::new();
        let all = self.causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message));
        let mut texts: Vec<String> = all.filter(|text| seen.insert(text.clone())).collect();
        if self.dropped > 0 {
            texts.push(format!("and {} more", self.dropped));
        }
        if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) }
    }
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }
    pub fn into_causes(self) -> Vec<Cause> {
        self.causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_joined_and_repeats_left_out() {
        let mut errors = ErrorList::new();
        errors.required(&Path::new("a"), "");
        assert_eq!(errors.message(), "a: Required value");
        errors.required(&Path::new("a"), "");
        errors.invalid(&Path::new("b"), &"x".into(), "why");
        assert_eq!(errors.message(), r#"[a: Required value, b: Invalid value: "x": why]"#);
        assert_eq!(errors.causes().len(), 3);
    }

    #[test]
    fn what_is_kept_is_bound_and_everything_is_counted() {
        const FOUND: usize = 300_000;
        let mut errors = ErrorList::new();
        for index in 0..FOUND {
            errors.invalid(&Path::new("labels"), &index.into(), "why");
        }
        assert_eq!((errors.len(), errors.causes().len()), (FOUND, MAX_CAUSES));
        assert!(errors.message().ends_with("and 299000 more]"), "the rest is counted");
    }

    #[test]
    fn a_large_value_is_shown_once() {
        let large = Value::from("x".repeat(3 << 20));
        let mut errors = ErrorList::new();
        for _ in 0..FEW {
            errors.invalid(&Path::new("data"), &large, "why");
        }
        assert_eq!((errors.len(), errors.causes().len()), (FEW, 1));
        let mut both = ErrorList::new();
        both.append(errors);
        assert_eq!((both.len(), both.causes().len()), (FEW, 1));
    }

    const FEW: usize = 100;
}
