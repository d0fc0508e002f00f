//! `x-kubernetes-validations`: the rules of a schema, and the expressions that they and their messages are.

use api_cel::{Expected, Expression, is_own_word, located};
use api_machinery::{ErrorList, Value};

use crate::at::{At, child};
use crate::list::{apiextensions_field_path as field_path, apiextensions_shown as shown};

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// Fields of one expression that are told to be undefined.
const MAX_UNDEFINED: usize = 8;
/// What rules speak of: a value, and what that was before.
const DECLARED: [&str; 2] = ["oldSelf", "self"];

fn has_breaks(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// A rule, its expressions aside.
pub(crate) fn validate_rule(rule: &At<'_>, schema: &Value, errors: &mut ErrorList) {
    let (text, message, path) = (rule.field("rule"), rule.field("message"), rule.field("fieldPath"));
    if text.str().trim().is_empty() {
        text.required(errors, "rule is not specified");
    } else if !message.is_empty() && message.str().trim().is_empty() {
        message.invalid(errors, "must be non-empty if specified");
    } else if has_breaks(message.str().trim()) {
        message.invalid(errors, "must not contain line breaks");
    } else if has_breaks(text.str().trim()) && message.is_empty() {
        message.required(errors, "message must be specified if rule contains line breaks");
    }
    let expression = rule.field("messageExpression");
    if !expression.is_empty() && expression.str().trim().is_empty() {
        expression.required(errors, "messageExpression must be non-empty if specified");
    }
    rule.field("reason").one_of_if_present(errors, &REASONS);
    if !path.is_empty() && path.str().trim().is_empty() {
        path.invalid(errors, "must be non-empty if specified");
    }
    if has_breaks(path.str()) {
        path.invalid(errors, "must not contain line breaks");
    }
    if !path.is_empty() && field_path::resolve(path.str(), schema, true).is_err() {
        path.invalid(errors, "must be a valid path");
    }
}

/// What a rule is a rule of.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'s> {
    pub(crate) schema: &'s Value,
    /// Whether it has a kind, a version and metadata.
    pub(crate) is_resource: bool,
    /// The list or map in which nothing is anything that was there before.
    pub(crate) uncorrelated: Option<&'s At<'s>>,
}

/// The expressions of a rule that is right otherwise.
pub(crate) fn validate_expressions(rule: &At<'_>, subject: Subject<'_>, errors: &mut ErrorList) {
    let (text, message) = (rule.field("rule"), rule.field("messageExpression"));
    let optional = rule.field("optionalOldSelf");
    let invalid = |at: &At<'_>, why: &str, errors: &mut ErrorList| {
        shown::invalid(&at.path(), &shown::rule(rule.value), why, errors);
    };
    let why = check(text.str(), Expected::Bool, subject, optional.flag());
    let mut has_old = false;
    match why {
        Some(why) if why.starts_with("must evaluate to bool") => {
            invalid(&text, "cel expression must evaluate to a bool", errors);
        }
        Some(why) => invalid(&text, &why, errors),
        None => {
            has_old = speaks_of_old(text.str());
            let written = Some(message.str()).filter(|text| !text.is_empty());
            match written.and_then(|text| check(text, Expected::String, subject, optional.flag())) {
                None => {}
                Some(why) if why.starts_with("must evaluate to string") => {
                    invalid(&message, "messageExpression must evaluate to a string", errors);
                }
                Some(why) => invalid(&message, &format!("messageExpression {why}"), errors),
            }
        }
    }
    if has_old && let Some(list) = subject.uncorrelated {
        let path = list.path();
        let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {path}");
        text.invalid(errors, &detail);
    } else if !has_old && optional.present() {
        optional.invalid(errors, "may not be set if oldSelf is not used in rule");
    }
}

/// What is wrong with an expression.
fn check(text: &str, expected: Expected, subject: Subject<'_>, is_old_optional: bool) -> Option<String> {
    if let Err(why) = Expression::checked(text, &DECLARED, expected) {
        return Some(why);
    }
    let roots: &[&str] = if is_old_optional { &["self"] } else { &DECLARED };
    let unknown: Vec<String> = selections(text, roots)
        .iter()
        .filter_map(|selection| undefined(selection, subject))
        .take(MAX_UNDEFINED)
        .map(|(at, name)| located(text, at, &format!("undefined field '{name}'")))
        .collect();
    (!unknown.is_empty()).then(|| format!("compilation failed: {}", unknown.join("\n")))
}

/// What is wrong with an expression that may select of `root` only fields that it `has`.
pub(crate) fn why_wrong(
    text: &str,
    (declared, expected): (&[&str], Expected),
    root: &str,
    has: impl Fn(&str) -> bool,
) -> Option<String> {
    let why = Expression::checked(text, declared, expected).err();
    if why.as_deref().is_some_and(|why| !why.starts_with("must evaluate")) {
        return why;
    }
    let selected = selections(text, &[root]);
    let unknown: Vec<String> = selected
        .iter()
        .filter_map(|selection| selection.first())
        .filter(|(_, name)| !has(name))
        .take(MAX_UNDEFINED)
        .map(|(at, name)| located(text, *at, &format!("undefined field '{name}'")))
        .collect();
    if unknown.is_empty() { why } else { Some(format!("compilation failed: {}", unknown.join("\n"))) }
}

/// Whether a rule that can be read names what was before.
fn speaks_of_old(text: &str) -> bool {
    text.contains("oldSelf")
        && Expression::checked(text, &["self"], Expected::Anything).is_err_and(|why| why.contains("'oldSelf'"))
}

/// The fields that are selected one after the other, each with the place of its dot.
type Selection<'t> = Vec<(usize, &'t str)>;

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

/// `self.a.b` and the like in an expression that can be read, function names left out. Of expressions with strings
/// that span lines, raw strings or comments nothing is told.
fn selections<'t>(text: &'t str, roots: &[&str]) -> Vec<Selection<'t>> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    if ["'''", "\"\"\"", "//", "r'", "r\"", "R'", "R\""].iter().any(|part| text.contains(part)) {
        return found;
    }
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => at = end_of_string(bytes, at),
            byte if is_word(byte) => {
                let end = end_of_word(bytes, at);
                let is_root = roots.contains(&&text[at..end]) && !text[..at].trim_end().ends_with('.');
                at = end;
                if is_root {
                    found.push(selected(text, &mut at));
                }
            }
            _ => at += 1,
        }
    }
    found
}

fn end_of_word(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count()
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            byte if byte == bytes[start] => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The fields behind a name that ends at `at`, which is moved behind them.
fn selected<'t>(text: &'t str, at: &mut usize) -> Selection<'t> {
    let bytes = text.as_bytes();
    let blanks = |at: usize| at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let mut found = Vec::new();
    loop {
        let dot = blanks(*at);
        if bytes.get(dot) != Some(&b'.') {
            return found;
        }
        let start = blanks(dot + 1);
        let end = end_of_word(bytes, start);
        if start == end || bytes.get(blanks(end)) == Some(&b'(') {
            return found;
        }
        found.push((dot, &text[start..end]));
        *at = end;
    }
}

/// The first field of a selection that the schema does not have.
fn undefined<'t>(selection: &[(usize, &'t str)], subject: Subject<'_>) -> Option<(usize, &'t str)> {
    let (mut schema, mut is_resource) = (subject.schema, subject.is_resource);
    for (index, (at, name)) in selection.iter().enumerate() {
        let more = child(schema, "additionalProperties");
        let is_metadata = is_resource && matches!(*name, "apiVersion" | "kind" | "metadata");
        if child(schema, "type") != "object" || child(schema, "x-kubernetes-int-or-string") == &Value::Bool(true) {
            return None;
        }
        if is_metadata {
            let inner = selection.get(index + 1).filter(|_| *name == "metadata")?;
            let declared = child(schema, "properties.metadata.properties").get(inner.1);
            return (!matches!(inner.1, "name" | "generateName") && declared.is_none()).then_some(*inner);
        }
        if more.is_object() {
            schema = more;
        } else {
            match child(schema, "properties").get(unescaped(name)?).filter(|property| is_exposed(property)) {
                Some(property) => schema = property,
                None => return Some((*at, *name)),
            }
        }
        is_resource = child(schema, "x-kubernetes-embedded-resource") == &Value::Bool(true);
    }
    None
}

/// Whether expressions can see a field: of what has no type they see nothing.
fn is_exposed(schema: &Value) -> bool {
    let more = child(schema, "additionalProperties");
    if child(schema, "x-kubernetes-int-or-string") == &Value::Bool(true) {
        return true;
    }
    match child(schema, "type").as_str() {
        Some("array") => is_exposed(child(schema, "items")),
        Some("object") => !more.is_object() || is_exposed(more),
        Some("string" | "boolean" | "number" | "integer") => true,
        _ => false,
    }
}

/// The field that expressions name so; none where no field is named so.
fn unescaped(name: &str) -> Option<String> {
    let word = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = word.filter(|word| is_own_word(word)) {
        return Some(word.to_owned());
    }
    let (mut plain, mut rest) = (String::with_capacity(name.len()), name);
    while let Some((before, escape)) = rest.split_once("__") {
        let (escape, behind) = escape.split_once("__")?;
        plain.push_str(before);
        plain.push_str(match escape {
            "dot" => ".",
            "dash" => "-",
            "slash" => "/",
            "underscores" => "__",
            _ => return None,
        });
        rest = behind;
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn why(text: &str, expected: Expected) -> Option<String> {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}, "b-c": {"type": "integer"},
            "d": {"type": "object", "properties": {"in": {"type": "integer"}}}, "any": {},
            "map": {"type": "object", "additionalProperties": {"type": "object"}}}});
        check(text, expected, Subject { schema: &schema, is_resource: true, uncorrelated: None }, false)
    }

    #[test]
    fn fields_that_are_there() {
        for text in [
            "self.a == 'self.x'",
            "self.b__dash__c > oldSelf.b__dash__c",
            "self.d.__in__ > 1 && self . a.startsWith('x')",
            "has(self.metadata.name) && self.kind == 'A'",
            "self.map.x == self.map.y",
            "size(self.map) > 1",
        ] {
            assert_eq!(why(text, Expected::Bool), None, "{text}");
        }
    }

    #[test]
    fn fields_that_are_not() {
        assert_eq!(
            why("self.a == self.x", Expected::Bool).as_deref(),
            Some(
                "compilation failed: ERROR: <input>:1:15: undefined field 'x'\n | self.a == self.x\n \
                 | ..............^"
            )
        );
        for text in ["self.d.x > 1", "oldSelf.x > 1", "self.metadata.labels.size() > 1", "has(self.any)"] {
            assert!(why(text, Expected::Bool).is_some_and(|why| why.contains("undefined field")), "{text}");
        }
    }

    #[test]
    fn what_was_before_is_found() {
        assert!(speaks_of_old("self == oldSelf"));
        assert!(!speaks_of_old("self == 'oldSelf'"));
    }
}
