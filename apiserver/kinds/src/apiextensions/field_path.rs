//! Paths to fields as definitions have them, `.spec['a.b']`, followed through a schema.

use api_machinery::{Path, Value};

use crate::at::{child, is_empty};

const NO_FIELD: &str = "does not refer to a valid field";
const NO_END: &str = "unexpected end of JSON path";

/// The path as messages have it, and the schema it leads to.
pub(crate) fn resolve<'s>(path: &str, schema: &'s Value, with_brackets: bool) -> Result<(Path, &'s Value), String> {
    let (mut found, mut schema, mut rest) = (Path::new(""), schema, path);
    while let Some(token) = take(&mut rest) {
        let name = match token {
            "." => take(&mut rest).ok_or(NO_END)?.to_owned(),
            "[" if !with_brackets => return Err("array notation is not allowed".to_owned()),
            "[" => quoted_name(&mut rest)?,
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        let (properties, more) = (child(schema, "properties"), child(schema, "additionalProperties"));
        (found, schema) = if !is_empty(properties) {
            (found.child(&name), properties.get(&name).ok_or(NO_FIELD)?)
        } else if more.is_null() {
            return Err(NO_FIELD.to_owned());
        } else {
            (found.key(&name), more)
        };
        if token == "[" {
            match take(&mut rest) {
                None => return Err(NO_END.to_owned()),
                Some("]") => {}
                Some(other) => return Err(format!("expected ] but got {other}")),
            }
        }
    }
    Ok((found, schema))
}

/// Dots and brackets are tokens; so are what is in single quotes, and what is between.
fn take<'t>(rest: &mut &'t str) -> Option<&'t str> {
    let text = *rest;
    let end = match text.chars().next()? {
        '\'' => {
            let mut quotes = text.match_indices('\'').skip(1).map(|(at, _)| at);
            quotes.find(|at| !text[..*at].ends_with('\\')).map_or(text.len(), |at| at + 1)
        }
        '.' | '[' | ']' => 1,
        _ => text.find(['.', '[', ']']).unwrap_or(text.len()),
    };
    let (token, behind) = text.split_at(end);
    *rest = behind;
    Some(token)
}

fn quoted_name(rest: &mut &str) -> Result<String, String> {
    let token = take(rest).ok_or(NO_END)?;
    let inner = token.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\''));
    let inner = inner.ok_or_else(|| format!("expected single quoted string but got {token}"))?;
    unescaped(inner).map_err(|why| format!("invalid string literal: {why}"))
}

fn unescaped(text: &str) -> Result<String, String> {
    let (mut plain, mut chars) = (String::with_capacity(text.len()), text.chars());
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        plain.push(match escaped {
            None => c,
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(same @ ('\'' | '\\')) => same,
            Some(other) => return Err(format!("invalid escape char \\{other}")),
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::resolve;

    #[test]
    fn paths_are_followed_or_refused() {
        let text = json!({"type": "string"});
        let schema = json!({"properties": {"spec": {"properties": {"a": text, "b.c": text, "it's": text}},
            "map": {"additionalProperties": text}}});
        let found = |path: &str, brackets: bool| {
            resolve(path, &schema, brackets).map(|(path, found)| (path.to_string(), found["type"] == "string"))
        };
        for (path, told) in [
            (".spec.a", "spec.a"),
            (".spec['b.c']", "spec.b.c"),
            (".spec['it\\'s']", "spec.it's"),
            (".map.x", "map[x]"),
            ("['spec']['a']", "spec.a"),
        ] {
            assert_eq!(found(path, true), Ok((told.to_owned(), true)), "{path}");
        }
        for (path, brackets, why) in [
            (".spec.x", true, "does not refer to a valid field"),
            (".spec.a.x", true, "does not refer to a valid field"),
            (".spec[0]", true, "expected single quoted string but got 0"),
            (".spec['a'", true, "unexpected end of JSON path"),
            (".spec['a']", false, "array notation is not allowed"),
            ("spec", true, "expected [ or . but got: spec"),
            (".", true, "unexpected end of JSON path"),
        ] {
            assert_eq!(found(path, brackets), Err(why.to_owned()), "{path}");
        }
    }
}
