//! What is found in a value that is looked at with a schema.

use api_machinery::{ErrorList, Value};

use crate::at::At;

/// Findings of one value.
const MAX_FINDINGS: usize = 100;

/// What is wrong with a part of a value.
pub(crate) struct Finding {
    name: String,
    text: String,
    what: What,
}

pub(crate) enum What {
    Required,
    /// Of another type or format than it should be; what is shown instead of the value.
    Type(Value),
    Unsupported(Value, Vec<String>),
    TooLong(usize),
    TooMany(usize, usize),
    Invalid(Value),
    /// Told of the whole value.
    Whole,
}

/// What was found, and how much fitted: the best of several alternatives is the one that is told of.
#[derive(Default)]
pub(crate) struct Found {
    findings: Vec<Finding>,
    pub(crate) fitting: usize,
}

impl Found {
    pub(crate) fn fitting() -> Self {
        Self { findings: Vec::new(), fitting: 1 }
    }
    pub(crate) fn is_fine(&self) -> bool {
        self.findings.is_empty()
    }
    /// The same text is not said twice.
    pub(crate) fn add(&mut self, name: &str, text: String, what: What) {
        if self.findings.len() < MAX_FINDINGS && self.findings.iter().all(|one| one.text != text) {
            self.findings.push(Finding { name: name.to_owned(), text, what });
        }
    }
    pub(crate) fn merge(&mut self, other: Found) {
        for Finding { name, text, what } in other.findings {
            self.add(&name, text, what);
        }
        self.fitting += other.fitting;
    }
    pub(crate) fn report(self, at: &At<'_>, errors: &mut ErrorList) {
        let whole = at.path();
        for Finding { name, text, what } in self.findings {
            let name = name.strip_prefix('.').unwrap_or(&name);
            let path = if name.is_empty() { whole.clone() } else { whole.child(name) };
            match what {
                What::Required => errors.required(&path, ""),
                What::Type(shown) => errors.type_invalid(&path, &shown, &text),
                What::Unsupported(shown, supported) => {
                    let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
                    errors.not_supported(&path, &shown, &supported);
                }
                What::TooLong(max) => errors.too_long(&path, max),
                What::TooMany(actual, max) => errors.too_many(&path, actual, max),
                What::Invalid(shown) => errors.invalid(&path, &shown, &text),
                What::Whole => errors.invalid(&whole, &Value::from(""), &text),
            }
        }
    }
}
