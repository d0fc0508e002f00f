//! Field selectors: `metadata.name=a,spec.nodeName!=b`.

use crate::quote::quoted;

/// A parsed selector; all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

/// Splits at commas that are not escaped; escapes stay in.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Left side, whether it is an equality, and the still escaped right side.
fn split_operator(term: &str) -> Option<(&str, bool, &str)> {
    let at = (0..term.len()).find(|&at| term.as_bytes()[at] == b'=' || term.as_bytes()[at..].starts_with(b"!="))?;
    let (field, rest) = term.split_at(at);
    let (equal, operator) = match rest {
        _ if rest.starts_with("!=") => (false, 2),
        _ if rest.starts_with("==") => (true, 2),
        _ => (true, 1),
    };
    Some((field, equal, &rest[operator..]))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(format!("invalid field selector: invalid escape sequence: \\{c}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            // Upstream prints the number of the character.
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {}", c as u32)),
            c => out.push(c),
        }
    }
    Ok(out)
}

impl FieldSelector {
    /// Parses the `fieldSelector` query parameter (with `\` escapes); the error is upstream's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let (field, equal, value) =
                split_operator(part).ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))?;
            terms.push(Term { field: field.to_owned(), equal, value: unescape(value)? });
        }
        Ok(Self { terms })
    }
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
    /// The value demanded of `field` by an equality term: `metadata.name=x` makes a list a get.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }
    /// `value_of` answers the value of a selectable field, the empty string when unset.
    pub fn matches(&self, value_of: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|term| (value_of(&term.field) == term.value) == term.equal)
    }
    /// Upstream's text for the first field that is not selectable.
    pub fn unsupported(&self, selectable: impl Fn(&str) -> bool) -> Option<String> {
        let term = self.terms.iter().find(|term| !selectable(&term.field))?;
        Some(format!("field label not supported: {}", term.field))
    }
}

/// `a=b,c!=d`, sorted, values escaped.
impl std::fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

/// Upstream's wording for a query parameter that does not parse.
pub fn unparsable(text: &str, why: &str) -> String {
    format!("unable to parse {}: {why}", quoted(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        let table: &[(&str, Result<&str, &str>)] = &[
            ("", Ok("")),
            ("a=b", Ok("a=b")),
            ("c!=d,a==b", Ok("a=b,c!=d")),
            (",a=", Ok("a=")),
            (r"a=b\,c\=\\", Ok(r"a=b\,c\=\\")),
            ("a!b=c", Ok("a!b=c")),
            ("a", Err("invalid selector: 'a'; can't understand 'a'")),
            ("a=b=c", Err("invalid field selector: unescaped character in value: 61")),
            (r"a=\x", Err(r"invalid field selector: invalid escape sequence: \x")),
            (r"a=b\", Err(r"invalid field selector: invalid escape sequence: \")),
        ];
        for (text, expect) in table {
            let parsed = FieldSelector::parse(text).map(|selector| selector.to_string());
            assert_eq!(parsed.as_deref().map_err(String::as_str), *expect, "{text:?}");
        }
    }

    #[test]
    fn matches() {
        let selector = FieldSelector::parse("metadata.name=a,spec.nodeName!=").expect("valid");
        let with = |name: &'static str, node: &'static str| {
            selector.matches(|field| if field == "metadata.name" { name.to_owned() } else { node.to_owned() })
        };
        assert!(with("a", "n1") && !with("a", "") && !with("b", "n1"));
        assert_eq!(selector.required("metadata.name"), Some("a"));
        assert_eq!(selector.required("spec.nodeName"), None);
        assert_eq!(
            selector.unsupported(|field| field == "metadata.name").as_deref(),
            Some("field label not supported: spec.nodeName")
        );
    }
}
