//! `x-kubernetes-validations`: the rules of a schema, and the expressions that they and their messages are.

use api_cel::{Environment, Expected, Expression, Old, Type};
use api_machinery::{ErrorList, Value};

use crate::at::At;
use crate::list::{apiextensions_field_path as field_path, apiextensions_shown as shown};

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// What rules call the value that was there before.
const OLD: &str = "oldSelf";

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
    /// What expressions see of it.
    pub(crate) kind: &'s Type,
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
    let environment = Environment::rule(subject.kind, if optional.flag() { Old::Optional } else { Old::Needed });
    let mut has_old = false;
    match Expression::checked(text.str(), &environment, Expected::Bool) {
        Err(why) if why.starts_with("must evaluate to bool") => {
            invalid(&text, "cel expression must evaluate to a bool", errors);
        }
        Err(why) => invalid(&text, &why, errors),
        Ok(expression) => {
            has_old = expression.names(OLD);
            let written = Some(message.str()).filter(|text| !text.is_empty());
            match written.and_then(|text| Expression::checked(text, &environment, Expected::String).err()) {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What is said of a rule and its message.
    fn told(rule: &Value, uncorrelated: bool) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}, "b-c": {"type": "integer"},
            "d": {"type": "object", "properties": {"in": {"type": "integer"}}}, "any": {},
            "map": {"type": "object", "additionalProperties": {"type": "object"}}}});
        let kind = api_cel::of_schema(&schema, true, &mut 100).expect("a type");
        let (rule, list) = (At::named(rule, "rule"), At::named(&schema, "list"));
        let mut errors = ErrorList::new();
        let subject = Subject { kind: &kind, uncorrelated: uncorrelated.then_some(&list) };
        validate_expressions(&rule, subject, &mut errors);
        errors.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn rules_that_are_right() {
        for text in [
            "self.a == 'self.x'",
            "self.b__dash__c > oldSelf.b__dash__c",
            "self.d.__in__ > 1 && self . a.startsWith('x')",
            "has(self.metadata.name) && self.kind == 'A'",
            "self.map.x == self.map.y",
            "size(self.map) > 1",
        ] {
            assert_eq!(told(&json!({"rule": text, "messageExpression": "'a' + self.a"}), false), [""; 0], "{text}");
        }
        let rule = json!({"rule": "oldSelf.hasValue() && oldSelf.value().a == self.a", "optionalOldSelf": true});
        assert_eq!(told(&rule, false), [""; 0]);
    }

    #[test]
    fn rules_that_are_not() {
        let shown = |told: Vec<String>| told.first().cloned().unwrap_or_default();
        let why = |text: &str| shown(told(&json!({"rule": text}), false));
        assert!(
            why("self.a == self.x").ends_with(
                "compilation failed: ERROR: <input>:1:15: undefined field 'x'\n | self.a == self.x\n | ..............^"
            ),
            "{}",
            why("self.a == self.x")
        );
        for (text, wanted) in [
            ("self.d.x > 1", "undefined field 'x'"),
            ("oldSelf.x > 1", "undefined field 'x'"),
            ("self.metadata.labels.size() > 1", "undefined field 'labels'"),
            ("has(self.any)", "undefined field 'any'"),
            ("self.a > 1", "found no matching overload for '_>_' applied to '(string, int)'"),
            ("self.a", "cel expression must evaluate to a bool"),
        ] {
            assert!(why(text).contains(wanted), "{text}: {}", why(text));
        }
        let message = shown(told(&json!({"rule": "true", "messageExpression": "self.b__dash__c"}), false));
        assert!(message.ends_with("messageExpression must evaluate to a string"), "{message}");
        let message = shown(told(&json!({"rule": "true", "messageExpression": "self.x"}), false));
        assert!(message.contains("messageExpression compilation failed: ERROR: <input>:1:5: undefined field"));
    }

    #[test]
    fn what_was_before() {
        let of_old = json!({"rule": "self == oldSelf", "optionalOldSelf": false});
        assert_eq!(told(&of_old, false), [""; 0]);
        assert!(told(&of_old, true).concat().contains("oldSelf cannot be used on the uncorrelatable portion"));
        let without = json!({"rule": "self.a == 'oldSelf'", "optionalOldSelf": true});
        assert!(told(&without, false).concat().contains("may not be set if oldSelf is not used in rule"));
    }
}
