//! Field errors: where, what kind, which value, why. Formats are upstream's
//! (`k8s.io/apimachinery/pkg/util/validation/field`).

use std::fmt;

use serde_json::{Value, json};

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
        json!({"reason": self.reason.as_str(), "message": self.message, "field": self.field})
    }
}

/// Collects field errors in the order they are found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorList(Vec<Cause>);

/// A bad value as upstream prints it: strings quoted, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => crate::quote::quoted(text),
        other => other.to_string(),
    }
}

impl ErrorList {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn append(&mut self, mut other: ErrorList) {
        self.0.append(&mut other.0);
    }
    fn push(&mut self, reason: CauseType, field: &Path, message: String) {
        self.0.push(Cause { reason, message, field: field.to_string() });
    }
    pub fn required(&mut self, field: &Path, detail: &str) {
        let message = if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        self.push(CauseType::Required, field, message);
    }
    pub fn invalid(&mut self, field: &Path, bad: &Value, detail: &str) {
        self.push(CauseType::Invalid, field, format!("Invalid value: {}: {detail}", shown(bad)));
    }
    /// `supported` in the order upstream sorts it: by byte.
    pub fn not_supported(&mut self, field: &Path, bad: &Value, supported: &[&str]) {
        let mut sorted: Vec<String> = supported.iter().map(|value| crate::quote::quoted(value)).collect();
        sorted.sort();
        let message = format!("Unsupported value: {}: supported values: {}", shown(bad), sorted.join(", "));
        self.push(CauseType::NotSupported, field, message);
    }
    pub fn duplicate(&mut self, field: &Path, bad: &Value) {
        self.push(CauseType::Duplicate, field, format!("Duplicate value: {}", shown(bad)));
    }
    pub fn not_found(&mut self, field: &Path, bad: &Value) {
        self.push(CauseType::NotFound, field, format!("Not found: {}", shown(bad)));
    }
    pub fn forbidden(&mut self, field: &Path, detail: &str) {
        self.push(CauseType::Forbidden, field, format!("Forbidden: {detail}"));
    }
    pub fn too_long(&mut self, field: &Path, max_bytes: usize) {
        self.push(CauseType::TooLong, field, format!("Too long: may not be more than {max_bytes} bytes"));
    }
    pub fn too_many(&mut self, field: &Path, actual: usize, max: usize) {
        self.push(CauseType::TooMany, field, format!("Too many: {actual}: must have at most {max} items"));
    }
    pub fn type_invalid(&mut self, field: &Path, bad: &Value, detail: &str) {
        self.push(CauseType::TypeInvalid, field, format!("Invalid value: {}: {detail}", shown(bad)));
    }
    /// Joined as upstream's aggregate error: one plainly, several in brackets, repeats left out.
    pub fn message(&self) -> String {
        let mut texts: Vec<String> = Vec::with_capacity(self.0.len());
        for cause in &self.0 {
            let text = format!("{}: {}", cause.field, cause.message);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) }
    }
    pub fn causes(&self) -> &[Cause] {
        &self.0
    }
    pub fn into_causes(self) -> Vec<Cause> {
        self.0
    }
}
