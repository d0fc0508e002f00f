//! Label selectors: the query form (`a=b,c in (d,e),!f`) and LabelSelector objects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::names::{label_value, qualified_name};
use crate::quote::quoted;

/// A parsed selector; all requirements must hold. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Sorted by key.
    pub requirements: Vec<Requirement>,
    /// Matches nothing at all (a `LabelSelector` that is absent).
    pub nothing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

/// `=`, `==` are [`Operator::In`] with one value and `!=` is [`Operator::NotIn`]: they match the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

#[derive(Clone, Copy, PartialEq)]
enum Token<'a> {
    /// Also `in` and `notin`, which are operators only where one is expected.
    Word(&'a str),
    Symbol(&'static str),
    /// Symbols that make no operator.
    Broken(&'a str),
    End,
}

impl Token<'_> {
    fn shown(self) -> String {
        match self {
            Token::Word(text) => text.to_owned(),
            Token::Symbol(text) => text.to_owned(),
            Token::Broken(text) => format!("error expected: keyword found '{text}'"),
            Token::End => String::new(),
        }
    }
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    const SYMBOLS: [&str; 9] = ["==", "!=", ")", ",", "!", "=", ">", "<", "("];
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        // Upstream's scanner ends at a zero byte.
        let Some(first) = rest.chars().next().filter(|&c| c != '\0') else {
            tokens.push(Token::End);
            return tokens;
        };
        let (token, length) = if is_symbol(first) {
            match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
                Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                None => (Token::Broken(rest), rest.len()),
            }
        } else {
            let length = rest.find(|c| is_symbol(c) || " \t\r\n\0".contains(c)).unwrap_or(rest.len());
            (Token::Word(&rest[..length]), length)
        };
        tokens.push(token);
        rest = &rest[length..];
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.position).copied().unwrap_or(Token::End)
    }
    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn selector(mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(requirements),
                Token::Word(_) | Token::Symbol("!") => {}
                other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.shown())),
            }
            let requirement = self.requirement().map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => match self.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => return Err(format!("found '{}', expected: identifier after ','", other.shown())),
                },
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.shown())),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else { return Err(format!("found '{}', expected: identifier", token.shown())) };
        check_key(key, "<nil>")?;
        if negated {
            return requirement(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return requirement(key, Operator::Exists, Vec::new());
        }
        match self.next() {
            Token::Word("in") => requirement(key, Operator::In, self.values()?),
            Token::Word("notin") => requirement(key, Operator::NotIn, self.values()?),
            Token::Symbol("=" | "==") => requirement(key, Operator::In, self.exact_value()?),
            Token::Symbol("!=") => requirement(key, Operator::NotIn, self.exact_value()?),
            Token::Symbol(">") => requirement(key, Operator::GreaterThan, self.exact_value()?),
            Token::Symbol("<") => requirement(key, Operator::LessThan, self.exact_value()?),
            other => Err(format!("found '{}', expected: {BINARY_OPERATORS}", other.shown())),
        }
    }

    fn exact_value(&mut self) -> Result<Vec<String>, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(vec![String::new()]);
        }
        match self.next() {
            Token::Word(value) => Ok(vec![value.to_owned()]),
            other => Err(format!("found '{}', expected: identifier", other.shown())),
        }
    }

    /// `(x,y,)`: a set, sorted; a missing value is the empty string.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.shown()));
        }
        match self.peek() {
            Token::Word(_) | Token::Symbol("," | ")") => {}
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.shown())),
        }
        let mut values = BTreeSet::new();
        loop {
            match self.peek() {
                Token::Word(value) => {
                    values.insert(value.to_owned());
                    self.position += 1;
                }
                Token::Symbol("," | ")") => {
                    values.insert(String::new());
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.shown())),
            }
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values.into_iter().collect()),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.shown())),
            }
        }
    }
}

fn check_key(key: &str, path: &str) -> Result<(), String> {
    let messages = qualified_name(key);
    if messages.is_empty() {
        return Ok(());
    }
    Err(format!("{path}: Invalid value: {}: {}", quoted(key), messages.join("; ")))
}

/// Checks as upstream's `NewRequirement`.
fn requirement(key: &str, operator: Operator, values: Vec<String>) -> Result<Requirement, String> {
    let mut errors: Vec<String> = check_key(key, "key").err().into_iter().collect();
    let all = || Value::from(values.clone());
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            errors.push(format!(
                "values: Invalid value: {}: for 'in', 'notin' operators, values set can't be empty",
                all()
            ));
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            errors.push(format!(
                "values: Invalid value: {}: values set must be empty for exists and does not exist",
                all()
            ));
        }
        Operator::GreaterThan | Operator::LessThan => {
            for (index, value) in values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err()) {
                errors.push(format!(
                    "values[{index}]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                    quoted(value)
                ));
            }
        }
        _ => {}
    }
    for (index, value) in values.iter().enumerate() {
        let messages = label_value(value);
        if !messages.is_empty() {
            errors.push(format!("values[{index}][{key}]: Invalid value: {}: {}", quoted(value), messages.join("; ")));
        }
    }
    match errors.len() {
        0 => Ok(Requirement { key: key.to_owned(), operator, values }),
        1 => Err(errors.remove(0)),
        _ => Err(format!("[{}]", errors.join(", "))),
    }
}

fn object_requirement(expression: &Value) -> Result<Requirement, String> {
    let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or("");
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(format!("{} is not a valid label selector operator", quoted(other))),
    };
    let values = expression.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    requirement(text("key"), operator, values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return matches!(self.operator, Operator::NotIn | Operator::DoesNotExist) };
        let listed = || self.values.iter().any(|own| own == value);
        let number = || Some((value.parse::<i64>().ok()?, self.values.first()?.parse::<i64>().ok()?));
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => true,
            Operator::DoesNotExist => false,
            Operator::GreaterThan => number().is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => number().is_some_and(|(label, bound)| label < bound),
        }
    }
}

impl Selector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self::default()
    }
    /// Exactly these labels (a ReplicationController's or Service's selector), unchecked; empty matches everything.
    pub fn from_map(labels: &serde_json::Map<String, Value>) -> Self {
        let pair = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.as_str().unwrap_or("").to_owned()],
        };
        Self::sorted(labels.iter().map(pair).collect())
    }
    fn sorted(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }
    /// Parses the `labelSelector` query parameter; the error is upstream's text, without prefix.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::sorted(Parser { tokens: tokens(text), position: 0 }.selector()?))
    }
    /// Reads a `LabelSelector` object (`matchLabels`, `matchExpressions`). `null`/absent matches nothing, `{}` everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, String> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self { requirements: Vec::new(), nothing: true });
        };
        let mut requirements = Vec::new();
        if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or("").to_owned();
                requirements.push(requirement(key, Operator::In, vec![value])?);
            }
        }
        if let Some(expressions) = selector.get("matchExpressions").and_then(Value::as_array) {
            for expression in expressions {
                requirements.push(object_requirement(expression)?);
            }
        }
        Ok(Self::sorted(requirements))
    }
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }
    /// `labels` answers the value of a label.
    pub fn matches<'a>(&self, labels: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels(&requirement.key)))
    }
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches(|key| crate::object::label(object, key))
    }
    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches(|key| labels.get(key).map(String::as_str))
    }
}

/// The query form, as `scale` subresources show their selector.
impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, Requirement { key, operator, values }) in self.requirements.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            let values = values.join(",");
            match operator {
                Operator::Exists => write!(f, "{key}")?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::GreaterThan => write!(f, "{key}>{values}")?,
                Operator::LessThan => write!(f, "{key}<{values}")?,
                Operator::In if !values.contains(',') => write!(f, "{key}={values}")?,
                Operator::NotIn if !values.contains(',') => write!(f, "{key}!={values}")?,
                Operator::In => write!(f, "{key} in ({values})")?,
                Operator::NotIn => write!(f, "{key} notin ({values})")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parses() {
        let table: &[(&str, Result<&str, &str>)] = &[
            ("", Ok("")),
            ("  ", Ok("")),
            ("a=b", Ok("a=b")),
            ("a == b", Ok("a=b")),
            ("z,a!=b", Ok("a!=b,z")),
            ("a in (c,b,b)", Ok("a in (b,c)")),
            ("a notin (b)", Ok("a!=b")),
            ("a in ()", Ok("a=")),
            ("a in (,)", Ok("a=")),
            ("a in (b,,c)", Ok("a in (,b,c)")),
            ("a=,b=", Ok("a=,b=")),
            ("!a,b", Ok("!a,b")),
            ("a>1,b<2", Ok("a>1,b<2")),
            ("in in (in,notin)", Ok("in in (in,notin)")),
            ("notin=in", Ok("notin=in")),
            ("example.com/a=b", Ok("example.com/a=b")),
            ("a in (", Err("unable to parse requirement: found '', expected: ',', ')' or identifier")),
            ("a in b", Err("unable to parse requirement: found 'b' expected: '('")),
            ("a b", Err("unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt")),
            ("a,", Err("found '', expected: identifier after ','")),
            (",a", Err("found ',', expected: !, identifier, or 'end of string'")),
            ("a=b c", Err("found 'c', expected: ',' or 'end of string'")),
            ("a=(", Err("unable to parse requirement: found '(', expected: identifier")),
            ("!", Err("unable to parse requirement: found '', expected: identifier")),
            (
                "a>x",
                Err(
                    "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
                ),
            ),
        ];
        for (text, expect) in table {
            let parsed = Selector::parse(text).map(|selector| selector.to_string());
            assert_eq!(parsed.as_deref().map_err(String::as_str), *expect, "{text:?}");
        }
        let error = Selector::parse("-a=b").expect_err("a bad key");
        assert!(
            error.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must"),
            "{error}"
        );
        let error = Selector::parse("a=-").expect_err("a bad value");
        assert!(
            error.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid"),
            "{error}"
        );
    }

    #[test]
    fn matches() {
        let object = json!({"metadata": {"labels": {"app": "web", "n": "5", "empty": ""}}});
        let table = [
            ("", true),
            ("app=web", true),
            ("app!=web", false),
            ("app in (db,web)", true),
            ("app notin (db)", true),
            ("other notin (db)", true),
            ("other!=x", true),
            ("other=x", false),
            ("empty=", true),
            ("app,!other", true),
            ("!app", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app>1", false),
        ];
        for (text, expect) in table {
            assert_eq!(Selector::parse(text).expect(text).matches_object(&object), expect, "{text}");
        }
    }

    #[test]
    fn objects() {
        let matching = |selector: Value| Selector::from_object(Some(&selector)).map(|selector| selector.to_string());
        assert_eq!(
            matching(json!({"matchLabels": {"b": "c"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]})),
            Ok("a,b=c".into())
        );
        assert!(Selector::from_object(None).is_ok_and(|selector| selector.nothing && !selector.is_everything()));
        assert!(Selector::from_object(Some(&json!({}))).is_ok_and(|selector| selector.is_everything()));
        assert_eq!(
            matching(json!({"matchExpressions": [{"key": "a", "operator": "Is"}]})),
            Err("\"Is\" is not a valid label selector operator".into())
        );
        assert!(matching(json!({"matchExpressions": [{"key": "a", "operator": "In"}]})).is_err());
        assert!(matching(json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]})).is_err());
    }
}
