//! Whether a value is what a schema says, in the words of upstream's validator.
//!
//! An object's fields are named from the value on, `a.b` and `[0].c`; the value itself has the empty name.

use api_cel::{Expression, Subject};
use api_machinery::quote::quoted;
use api_machinery::{ErrorList, Value};
use serde_json::json;

use crate::at::{At, child};
use crate::list::apiextensions_findings::{Found, What};
use crate::list::apiextensions_number_values::of_number;
use crate::list::apiextensions_string_formats as string_formats;

/// Pairs of value and schema that are looked at for one definition: alternatives multiply. What is beyond is taken as
/// right.
const MAX_STEPS: usize = 200_000;
/// Patterns that are compiled for one definition, and bytes of a text that is matched.
const MAX_PATTERNS: usize = 20;
const MAX_MATCHED: usize = 1 << 10;

/// Looks at values, for so long.
pub(crate) struct Judge {
    steps: usize,
    patterns: usize,
}

impl Judge {
    pub(crate) fn new() -> Self {
        Self { steps: MAX_STEPS, patterns: MAX_PATTERNS }
    }

    pub(crate) fn validate(&mut self, at: &At<'_>, schema: &Value, errors: &mut ErrorList) {
        self.judge(schema, at.value, "").report(at, errors);
    }

    fn judge(&mut self, schema: &Value, value: &Value, name: &str) -> Found {
        let Some(steps) = self.steps.checked_sub(1) else { return Found::fitting() };
        self.steps = steps;
        let mut found = Found::fitting();
        if value.is_null() {
            found.merge(of_null(schema, name));
            found.merge(one_of(schema, value, name));
            return found;
        }
        if !text(schema, "type").is_empty() || !text(schema, "format").is_empty() {
            found.fitting += 1;
            found.merge(of_type(schema, value, name));
        }
        // The combinations, what all values have in common, and the type's own.
        found.fitting += 3;
        found.merge(self.combined(schema, value, name));
        match value {
            Value::String(text) => found.merge(self.of_string(schema, text, name)),
            Value::Number(number) => found.merge(of_number(schema, number, name)),
            Value::Array(list) => found.merge(self.of_list(schema, list, name)),
            _ => {}
        }
        found.merge(one_of(schema, value, name));
        if let Value::Object(fields) = value {
            found.merge(self.of_object(schema, fields, name));
        }
        found
    }

    /// `anyOf`, `oneOf`, `allOf` and `not`.
    fn combined(&mut self, schema: &Value, value: &Value, name: &str) -> Found {
        let mut found = Found::fitting();
        let list = |field: &str| child(schema, field).as_array().map_or(&[][..], Vec::as_slice);
        if !list("anyOf").is_empty() {
            let (fitting, best) = self.alternatives(list("anyOf"), value, name, true);
            if fitting == 0 {
                found.add(name, format!("{} must validate at least one schema (anyOf)", quoted(name)), What::Whole);
            }
            found.merge(best);
        }
        if !list("oneOf").is_empty() {
            let (fitting, best) = self.alternatives(list("oneOf"), value, name, false);
            if fitting != 1 {
                let told = match fitting {
                    0 => "Found none valid".to_owned(),
                    count => format!("Found {count} valid alternatives"),
                };
                let text = format!("{} must validate one and only one schema (oneOf). {told}", quoted(name));
                found.add(name, text, What::Whole);
            }
            if fitting < 2 {
                found.merge(best);
            }
        }
        let all = list("allOf");
        let mut fitting = 0;
        for one in all {
            let result = self.judge(one, value, name);
            fitting += usize::from(result.is_fine());
            found.merge(result);
        }
        if fitting != all.len() {
            let none = if fitting == 0 { ". None validated" } else { "" };
            found.add(name, format!("{} must validate all the schemas (allOf){none}", quoted(name)), What::Whole);
        }
        let not = child(schema, "not");
        if not.is_object() && self.judge(not, value, name).is_fine() {
            found.add(name, format!("{} must not validate the schema (not)", quoted(name)), What::Whole);
        }
        if self.steps == 0 { Found::fitting() } else { found }
    }

    /// How many fit, and the first that does, or that which comes nearest.
    fn alternatives(&mut self, all: &[Value], value: &Value, name: &str, until_one_fits: bool) -> (usize, Found) {
        let (mut fitting, mut best) = (0, None::<Found>);
        for one in all {
            let result = self.judge(one, value, name);
            if result.is_fine() {
                fitting += 1;
                if fitting == 1 {
                    best = Some(result);
                }
                if until_one_fits {
                    break;
                }
            } else if fitting == 0 && best.as_ref().is_none_or(|best| result.fitting > best.fitting) {
                best = Some(result);
            }
        }
        (fitting, best.unwrap_or_default())
    }

    /// Only the first thing that is wrong with it, and its format.
    fn of_string(&mut self, schema: &Value, value: &str, name: &str) -> Found {
        let mut found = Found::fitting();
        let length = i64::try_from(value.chars().count()).unwrap_or(i64::MAX);
        let (max, min) = (child(schema, "maxLength").as_i64(), child(schema, "minLength").as_i64());
        let pattern = text(schema, "pattern");
        if let Some(max) = max.filter(|max| length > *max) {
            let text = format!("{name} in body should be at most {max} chars long");
            found.add(name, text, What::TooLong(usize::try_from(max).unwrap_or(0)));
        } else if let Some(min) = min.filter(|min| length < *min) {
            let text = format!("{name} in body should be at least {min} chars long");
            found.add(name, text, What::Invalid(value.into()));
        } else if !pattern.is_empty() && !self.matches(value, pattern) {
            found.add(name, format!("{name} in body should match '{pattern}'"), What::Invalid(value.into()));
        }
        let format = text(schema, "format");
        if string_formats::is_known(format) && !string_formats::is_of(value, format) {
            let text = format!("{name} in body must be of type {format}: {}", quoted(value));
            found.add(name, text, What::Type(value.into()));
        }
        found
    }

    fn matches(&mut self, text: &str, pattern: &str) -> bool {
        let Some(patterns) = self.patterns.checked_sub(1).filter(|_| text.len() <= MAX_MATCHED) else { return true };
        self.patterns = patterns;
        let subject = Subject::new("self", &json!({"text": text, "pattern": pattern}));
        let holds = Expression::compile("self.text.matches(self.pattern)").and_then(|matches| matches.holds(&subject));
        // What cannot be decided is no reason to refuse it.
        holds.unwrap_or(true)
    }

    fn of_list(&mut self, schema: &Value, list: &[Value], name: &str) -> Found {
        let mut found = Found::fitting();
        let items = child(schema, "items");
        if items.is_object() {
            for (index, one) in list.iter().enumerate() {
                found.merge(self.judge(items, one, &format!("{name}[{index}]")));
            }
        }
        let count = i64::try_from(list.len()).unwrap_or(i64::MAX);
        if let Some(min) = child(schema, "minItems").as_i64().filter(|min| count < *min) {
            let text = format!("{name} in body should have at least {min} items");
            found.add(name, text, What::Invalid(count.into()));
        }
        if let Some(max) = child(schema, "maxItems").as_i64().filter(|max| count > *max) {
            let text = format!("{name} in body should have at most {max} items");
            found.add(name, text, What::TooMany(list.len(), usize::try_from(max).unwrap_or(0)));
        }
        found
    }

    fn of_object(&mut self, schema: &Value, fields: &serde_json::Map<String, Value>, name: &str) -> Found {
        let mut found = Found::default();
        let (properties, more) = (child(schema, "properties"), child(schema, "additionalProperties"));
        let count = i64::try_from(fields.len()).unwrap_or(i64::MAX);
        if let Some(min) = child(schema, "minProperties").as_i64().filter(|min| count < *min) {
            let text = format!("{name} in body should have at least {min} properties");
            found.add(name, text, What::Invalid(count.into()));
        }
        if let Some(max) = child(schema, "maxProperties").as_i64().filter(|max| count > *max) {
            let text = format!("{name} in body should have at most {max} properties");
            found.add(name, text, What::TooMany(fields.len(), usize::try_from(max).unwrap_or(0)));
        }
        for (key, value) in fields.iter().filter(|(key, _)| properties.get(key.as_str()).is_none()) {
            if more == &Value::Bool(false) {
                let text = format!("{name}.{key} in body is a forbidden property");
                found.add(name, text, What::Invalid(key.as_str().into()));
            } else if more.is_object() {
                found.merge(self.judge(more, value, &format!("{name}.{key}")));
            }
        }
        for (key, value) in fields {
            if let Some(property) = properties.get(key) {
                let inner = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                found.merge(self.judge(property, value, &inner));
            }
        }
        for key in child(schema, "required").as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(key) {
                let inner = format!("{name}.{key}");
                found.add(&inner, format!("{inner} in body is required"), What::Required);
            }
        }
        found
    }
}

pub(crate) fn text<'v>(schema: &'v Value, field: &str) -> &'v str {
    child(schema, field).as_str().unwrap_or("")
}

/// Type and format of a value.
fn kind_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

fn wrong_type(name: &str, wanted: &str, is: &str) -> Found {
    let mut found = Found::default();
    let text = format!("{name} in body must be of type {wanted}: {}", quoted(is));
    found.add(name, text, What::Type(is.into()));
    found
}

fn of_null(schema: &Value, name: &str) -> Found {
    let kind = text(schema, "type");
    if kind.is_empty() || child(schema, "nullable") == &Value::Bool(true) {
        return Found::fitting();
    }
    wrong_type(name, kind, "null")
}

fn of_type(schema: &Value, value: &Value, name: &str) -> Found {
    let (wanted, wanted_format) = (text(schema, "type"), text(schema, "format"));
    let (kind, format) = kind_of(value);
    let is_whole = kind == "number" && value.as_f64().is_some_and(|real| real.fract() == 0.0);
    let fits = wanted == kind || (is_whole && wanted == "integer") || (kind == "integer" && wanted == "number");
    let has_text = matches!(kind, "string" | "array");
    if !has_text && !wanted_format.is_empty() && !fits && format != wanted_format {
        return wrong_type(name, wanted_format, format);
    }
    let is_told_by_format = has_text && !wanted_format.is_empty() && !matches!(wanted, "number" | "integer");
    if fits || is_told_by_format { Found::fitting() } else { wrong_type(name, wanted, kind) }
}

/// `enum`
fn one_of(schema: &Value, value: &Value, name: &str) -> Found {
    let mut found = Found::default();
    let all = child(schema, "enum").as_array().map_or(&[][..], Vec::as_slice);
    if !all.is_empty() && !all.iter().any(|one| is_same(value, one)) {
        let supported: Vec<String> =
            all.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        let text = format!("{name} in body should be one of [{}]", supported.join(" "));
        found.add(name, text, What::Unsupported(value.clone(), supported));
    }
    found
}

/// Numbers are compared as what the one in the schema is. Null is nothing's equal.
fn is_same(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Number(value), Value::Number(wanted)) => match (value.as_f64(), wanted.as_f64()) {
            _ if value == wanted => true,
            (Some(value), Some(number)) if wanted.is_i64() => value.trunc() == number,
            (value, number) => value == number,
        },
        _ => value == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn causes(schema: &Value, value: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        Judge::new().validate(&At::named(value, "default"), schema, &mut errors);
        errors.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn values_that_fit() {
        let any = json!([{"type": "integer"}, {"type": "string"}]);
        for (schema, value) in [
            (json!({"type": "integer", "minimum": 1, "maximum": 3, "multipleOf": 2}), json!(2)),
            (json!({"type": "number", "enum": [1, 2.5]}), json!(1.0)),
            (json!({"type": "string", "minLength": 1, "pattern": "^a+$"}), json!("aa")),
            (json!({"type": "string", "nullable": true}), json!(null)),
            (json!({"x-kubernetes-int-or-string": true, "anyOf": any}), json!("a")),
            (json!({"type": "object", "additionalProperties": {"type": "integer"}}), json!({"a": 1})),
        ] {
            assert_eq!(causes(&schema, &value), Vec::<String>::new(), "{value} is {schema}");
        }
    }

    #[test]
    fn values_that_do_not_fit() {
        let list = json!({"type": "array", "items": {"type": "string"}});
        for (schema, value, told) in [
            (
                json!({"type": "string"}),
                json!(1),
                r#"default: Invalid value: "integer":  in body must be of type string: "integer""#,
            ),
            (
                json!({"type": "integer", "minimum": 2}),
                json!(1),
                "default: Invalid value: 1:  in body should be greater than or equal to 2",
            ),
            (json!({"type": "string", "maxLength": 1}), json!("ab"), "default: Too long: may not be more than 1 byte"),
            (
                json!({"type": "string", "pattern": "^a$"}),
                json!("b"),
                r#"default: Invalid value: "b":  in body should match '^a$'"#,
            ),
            (json!({"type": "object", "required": ["a"]}), json!({}), "default.a: Required value"),
            (
                json!({"type": "string", "enum": ["a"]}),
                json!("b"),
                r#"default: Unsupported value: "b": supported values: "a""#,
            ),
            (json!({"type": "array", "maxItems": 1}), json!([1, 2]), "default: Too many: 2: must have at most 1 item"),
            (
                json!({"type": "object", "properties": {"a": list}}),
                json!({"a": [1]}),
                r#"default.a[0]: Invalid value: "integer": a[0] in body must be of type string: "integer""#,
            ),
            (
                json!({"not": {"type": "string"}}),
                json!("a"),
                r#"default: Invalid value: "": "" must not validate the schema (not)"#,
            ),
        ] {
            assert_eq!(causes(&schema, &value), [told], "{value} is no {schema}");
        }
    }
}
