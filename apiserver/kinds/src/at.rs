//! A place in an object: its value and, only when an error asks for it, its path.
//!
//! Validation walks an object with these. Nothing is allocated or cloned while the object is right.

use api_machinery::{ErrorList, Path, Value};

static NULL: Value = Value::Null;

/// A value and how it was reached.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    /// The beginning of a path: empty, or as upstream names it.
    Root(&'a str),
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

/// What upstream says of a negative number.
pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const POSITIVE: &str = "must be greater than 0";
/// The same, where upstream has it in words.
pub(crate) const ABOVE_ZERO: &str = "must be greater than zero";
pub(crate) const IMMUTABLE: &str = "field is immutable";
/// `IsValidPortNum`.
pub(crate) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

impl<'a> At<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self::named(value, "")
    }
    /// A value whose path begins with `name`, whatever upstream's reason for that name is.
    pub(crate) fn named(value: &'a Value, name: &'a str) -> Self {
        Self { value, parent: None, step: Step::Root(name) }
    }
    /// The same place with another value: for the old object, or a computed one.
    pub(crate) fn with(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }
    /// The same value under a name that upstream gives it in errors.
    pub(crate) fn renamed(self, name: &'a str) -> Self {
        Self { step: Step::Field(name), ..self }
    }
    /// A field; `name` may be a dotted path. Absent fields are null.
    pub(crate) fn field<'b>(&'b self, name: &'b str) -> At<'b> {
        At { value: child(self.value, name), parent: Some(self), step: Step::Field(name) }
    }
    /// The value of a map key, with the path upstream gives it: `data[key]`.
    pub(crate) fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        At { value: self.value.get(key).unwrap_or(&NULL), parent: Some(self), step: Step::Key(key) }
    }
    pub(crate) fn items<'b>(&'b self) -> impl Iterator<Item = At<'b>> + 'b {
        self.list().iter().enumerate().map(move |(index, value)| At {
            value,
            parent: Some(self),
            step: Step::Index(index),
        })
    }
    /// Keys and values of a map, in key order as serde_json keeps them.
    pub(crate) fn entries<'b>(&'b self) -> impl Iterator<Item = (&'b str, At<'b>)> + 'b {
        self.value
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(key, value)| (key.as_str(), At { value, parent: Some(self), step: Step::Key(key) }))
    }
    pub(crate) fn list(&self) -> &'a [Value] {
        self.value.as_array().map_or(&[], Vec::as_slice)
    }
    pub(crate) fn path(&self) -> Path {
        let parent = self.parent.map(At::path);
        match (parent, self.step) {
            (_, Step::Root(name)) => Path::new(name),
            (Some(parent), Step::Field(name)) => parent.child(name),
            (Some(parent), Step::Index(index)) => parent.index(index),
            (Some(parent), Step::Key(key)) => parent.key(key),
            (None, _) => Path::new(""),
        }
    }
    /// The string, or the empty one.
    pub(crate) fn str(&self) -> &'a str {
        self.value.as_str().unwrap_or("")
    }
    pub(crate) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }
    /// Exactly `true`.
    pub(crate) fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or(false)
    }
    /// Not null: what a Go pointer says with `!= nil`.
    pub(crate) fn present(&self) -> bool {
        !self.value.is_null()
    }
    /// Null, or an empty string, list or map.
    pub(crate) fn is_empty(&self) -> bool {
        is_empty(self.value)
    }

    pub(crate) fn required(&self, errors: &mut ErrorList, detail: &str) {
        errors.required(&self.path(), detail);
    }
    pub(crate) fn invalid(&self, errors: &mut ErrorList, detail: &str) {
        errors.invalid(&self.path(), self.value, detail);
    }
    pub(crate) fn forbidden(&self, errors: &mut ErrorList, detail: &str) {
        errors.forbidden(&self.path(), detail);
    }
    pub(crate) fn unsupported(&self, errors: &mut ErrorList, supported: &[&str]) {
        let mut sorted = supported.to_vec();
        sorted.sort_unstable();
        self.unsupported_listed(errors, &sorted);
    }
    /// [`Self::unsupported`] in the order given, where upstream has a list of its own.
    pub(crate) fn unsupported_listed(&self, errors: &mut ErrorList, supported: &[&str]) {
        // An unset string is shown as the empty one, as Go has no unset strings.
        let shown = if self.value.is_null() { &Value::String(String::new()) } else { self.value };
        errors.not_supported_listed(&self.path(), shown, supported);
    }
    pub(crate) fn duplicate(&self, errors: &mut ErrorList) {
        errors.duplicate(&self.path(), self.value);
    }
    pub(crate) fn too_long(&self, errors: &mut ErrorList, max_bytes: usize) {
        errors.too_long(&self.path(), max_bytes);
    }
    pub(crate) fn too_many(&self, errors: &mut ErrorList, max: usize) {
        errors.too_many(&self.path(), self.list().len(), max);
    }

    /// `Required value` when empty; answers whether there is something.
    pub(crate) fn need(&self, errors: &mut ErrorList) -> bool {
        let empty = self.is_empty();
        if empty {
            self.required(errors, "");
        }
        !empty
    }
    /// One of `supported`, or unset.
    pub(crate) fn one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if !self.str().is_empty() && !supported.contains(&self.str()) {
            self.unsupported(errors, supported);
        }
    }
    /// One of `supported`, or not there at all: the empty string is none of them.
    pub(crate) fn one_of_if_present(&self, errors: &mut ErrorList, supported: &[&str]) {
        if self.present() && !supported.contains(&self.str()) {
            self.unsupported(errors, supported);
        }
    }
    /// One of `supported`; unset is none of them.
    pub(crate) fn exactly_one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if !supported.contains(&self.str()) {
            self.unsupported(errors, supported);
        }
    }
    /// One of `supported`; unset is `Required value`.
    pub(crate) fn need_one_of(&self, errors: &mut ErrorList, supported: &[&str]) {
        if self.need(errors) {
            self.one_of(errors, supported);
        }
    }
    pub(crate) fn not_negative(&self, errors: &mut ErrorList) {
        self.at_least(errors, 0, NOT_NEGATIVE);
    }
    pub(crate) fn at_least(&self, errors: &mut ErrorList, least: i64, detail: &str) {
        if self.int().is_some_and(|value| value < least) {
            self.invalid(errors, detail);
        }
    }
    pub(crate) fn between(&self, errors: &mut ErrorList, low: i64, high: i64) {
        if self.int().is_some_and(|value| value < low || value > high) {
            self.invalid(errors, &format!("must be between {low} and {high}, inclusive"));
        }
    }
    /// A format check of `api_machinery::names`, or one like it; unset is checked as the empty string.
    pub(crate) fn format(&self, errors: &mut ErrorList, check: fn(&str) -> Vec<String>) {
        for message in check(self.str()) {
            errors.invalid(&self.path(), &Value::from(self.str()), &message);
        }
    }
    /// As [`Self::format`], of what is set.
    pub(crate) fn format_if_set(&self, errors: &mut ErrorList, check: fn(&str) -> Vec<String>) {
        if !self.str().is_empty() {
            self.format(errors, check);
        }
    }
    /// `field is immutable` when it differs from what `old` has at the same place.
    pub(crate) fn unchanged(&self, errors: &mut ErrorList, old: &Value) {
        if !same(self.value, old) {
            self.invalid(errors, IMMUTABLE);
        }
    }
}

/// What `old` and `new` have at a dotted path, null where absent.
pub(crate) fn child<'v>(value: &'v Value, path: &str) -> &'v Value {
    if path.contains('.') {
        return api_machinery::object::at(value, path).unwrap_or(&NULL);
    }
    value.get(path).unwrap_or(&NULL)
}

pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Equal as upstream's semantic equality sees it: an empty list and none are the same (and `false` and none, as most
/// flags are plain), but not a struct without fields and none; resource amounts are compared by value.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    same_in(left, right, false, is_zero)
}

/// The same of what was decoded, where plain fields that say nothing are left out: an empty string or `false` that is
/// there stands behind a pointer, and is more than none.
pub(crate) fn same_behind_pointers(left: &Value, right: &Value) -> bool {
    same_in(left, right, false, |value| value.is_null() || value.as_array().is_some_and(Vec::is_empty))
}

fn same_in(left: &Value, right: &Value, amounts: bool, is_unset: fn(&Value) -> bool) -> bool {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let same_field = |(key, value): (&String, &Value)| {
                let other = b.get(key).unwrap_or(&NULL);
                (is_map(key) && is_empty(value) && is_empty(other))
                    || same_in(value, other, amounts || holds_amounts(key), is_unset)
            };
            let is_nothing = |key: &str, value: &Value| is_unset(value) || (is_map(key) && is_empty(value));
            a.iter().all(same_field) && b.iter().all(|(key, value)| a.contains_key(key) || is_nothing(key, value))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_in(a, b, amounts, is_unset))
        }
        (Value::String(a), Value::String(b)) => a == b || (amounts && same_amount(a, b)),
        (left, right) => left == right || (is_unset(left) && is_unset(right)),
    }
}

/// What Go has where nothing is said, but for structs.
fn is_zero(value: &Value) -> bool {
    !value.is_object() && (is_empty(value) || value == &Value::Bool(false))
}

/// The map of a pod that may be there and empty (`told_empty`): it is no struct.
fn is_map(field: &str) -> bool {
    field == "overhead"
}

/// The fields whose strings are quantities.
fn holds_amounts(field: &str) -> bool {
    matches!(
        field,
        "requests" | "limits" | "capacity" | "allocatable" | "hard" | "overhead" | "podFixed" | "sizeLimit" | "divisor"
    )
}

fn same_amount(left: &str, right: &str) -> bool {
    use api_machinery::quantity::Quantity;
    matches!((Quantity::parse(left), Quantity::parse(right)), (Ok(a), Ok(b)) if a.nano == b.nano)
}
