//! Where in the text of an expression something is that is told of it, and how upstream's compiler shows that.

use std::collections::{BTreeSet, HashMap};

use kube_cel::cel::ParseErrors;

use crate::nesting;

/// Messages of one expression.
const MAX_MESSAGES: usize = 100;
/// Words that are values or an operator.
const KEYWORDS: [&str; 4] = ["false", "in", "null", "true"];
/// Words that name nothing.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "void",
    "while",
];
/// What can follow an operand: upstream's parser does not name it among what it expected instead.
const CONTINUATIONS: [&str; 18] = [
    "'=='", "'!='", "'in'", "'<'", "'<='", "'>='", "'>'", "'&&'", "'||'", "'['", "'.'", "','", "'-'", "'?'", "'+'",
    "'*'", "'/'", "'%'",
];

/// Whether a word is one of the language: no variable is named so.
pub fn is_own_word(word: &str) -> bool {
    KEYWORDS.contains(&word) || RESERVED.contains(&word)
}

/// A message of the compiler about the place that is `at` bytes into the text.
pub fn located(text: &str, at: usize, message: &str) -> String {
    let before = &text[..at];
    let column = before.rsplit('\n').next().unwrap_or("").chars().count();
    shown(text, before.matches('\n').count(), column, message)
}

/// The same with the line and the column, both counted from zero.
fn shown(text: &str, line: usize, column: usize, message: &str) -> String {
    let source = text.split('\n').nth(line).unwrap_or("");
    let mut marks: String = source.chars().take(column).map(|c| if c.is_ascii() { '.' } else { '\u{ff0e}' }).collect();
    marks.push(if source.chars().nth(column).is_none_or(|c| c.is_ascii()) { '^' } else { '\u{ff3e}' });
    let source = source.replace('\t', " ");
    format!("ERROR: <input>:{}:{}: {message}\n | {source}\n | {marks}", line + 1, column + 1)
}

/// What the parser found.
pub(crate) fn syntax(text: &str, found: &ParseErrors) -> String {
    // Parts that are missing are told of twice.
    let is_repeat = |message: &str| message.starts_with("Incomplete `");
    let all = found.errors.iter().filter(|one| found.errors.len() == 1 || !is_repeat(&one.msg));
    let told = all.take(MAX_MESSAGES).map(|one| {
        let message = expected_only(&one.msg);
        if text.is_empty() {
            return format!("ERROR: <input>:1:0: {message}");
        }
        let place = |number: isize| usize::try_from(number - 1).unwrap_or(0);
        shown(text, place(one.pos.0), place(one.pos.1), &message)
    });
    told.collect::<Vec<_>>().join("\n")
}

/// Leaves out of what was expected how the operand before could have gone on.
fn expected_only(message: &str) -> String {
    const START: &str = " expecting {";
    let listed = message.split_once(START).and_then(|(head, rest)| Some((head, rest.strip_suffix('}')?)));
    let Some((head, list)) = listed.filter(|(_, list)| list.contains("'=='")) else { return message.to_owned() };
    match list.split(", ").filter(|token| !CONTINUATIONS.contains(token)).collect::<Vec<_>>()[..] {
        [] => message.to_owned(),
        [one] => format!("{head} expecting {one}"),
        ref several => format!("{head}{START}{}}}", several.join(", ")),
    }
}

/// Of names that mean nothing: as often as each of them is there, in the order of their places.
pub(crate) fn undeclared(text: &str, unknown: &[String]) -> String {
    let places = names(text);
    let is_reserved = |name: &str| RESERVED.contains(&name);
    // The parser finds these, and nothing is looked at behind it.
    let only_reserved = unknown.iter().any(|name| is_reserved(name));
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in unknown.iter().map(String::as_str).collect::<BTreeSet<_>>() {
        let all = places.get(name).map_or(&[][..], Vec::as_slice);
        let count = unknown.iter().filter(|one| *one == name).count();
        // One that is declared by something around it comes before one that is not.
        let wanted = if only_reserved == is_reserved(name) { count } else { 0 };
        found.extend(all.iter().skip(all.len().saturating_sub(wanted)).map(|at| (*at, name)));
    }
    found.sort_unstable();
    let told = found.into_iter().take(MAX_MESSAGES).map(|(at, name)| located(text, at, &meaningless(name)));
    match told.collect::<Vec<_>>() {
        told if told.is_empty() => unknown.first().map_or_else(String::new, |name| meaningless(name)),
        told => told.join("\n"),
    }
}

fn meaningless(name: &str) -> String {
    if RESERVED.contains(&name) {
        format!("reserved identifier: {name}")
    } else {
        format!("undeclared reference to '{name}' (in container '')")
    }
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}

/// Every word that is no field, no function, no type of a message and no part of a string, and where it is.
fn names(text: &str) -> HashMap<&str, Vec<usize>> {
    let bytes = text.as_bytes();
    let (mut found, mut at): (HashMap<&str, Vec<usize>>, usize) = (HashMap::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        at += match byte {
            b'\'' | b'"' => {
                let is_raw = at > 0 && matches!(bytes[at - 1], b'r' | b'R');
                nesting::string(&bytes[at..], is_raw).unwrap_or(1)
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at)
            }
            byte if is_word(byte) => {
                let length = bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
                let (before, behind) = (text[..at].trim_end(), &text[at + length..]);
                let is_named = behind.starts_with(['\'', '"']) || behind.trim_start().starts_with(['(', '{']);
                if !is_named && !before.ends_with('.') {
                    found.entry(&text[at..at + length]).or_default().push(at);
                }
                length
            }
            _ => 1,
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_marked() {
        assert_eq!(located("a\n\tb", 3, "why"), "ERROR: <input>:2:2: why\n |  b\n | .^");
        assert_eq!(located("\"é\" == b", 8, "why"), "ERROR: <input>:1:8: why\n | \"é\" == b\n | .\u{ff0e}.....^");
        assert_eq!(located("é", 0, "why"), "ERROR: <input>:1:1: why\n | é\n | \u{ff3e}");
    }

    #[test]
    fn every_name_that_means_nothing_is_told_of() {
        let told = |text: &str, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            undeclared(text, &names)
        };
        assert_eq!(
            told("[1].all(c, d) && c // d", &["d", "c"]),
            "ERROR: <input>:1:12: undeclared reference to 'd' (in container '')\n | [1].all(c, d) && c // d\n | \
             ...........^\nERROR: <input>:1:18: undeclared reference to 'c' (in container '')\n | [1].all(c, d) && c // \
             d\n | .................^"
        );
        assert_eq!(
            told("'x' + r'\\' + b.x + x(1) + x", &["x"]),
            "ERROR: <input>:1:27: undeclared reference to 'x' (in container '')\n | 'x' + r'\\' + b.x + x(1) + x\n | \
             ..........................^"
        );
        assert_eq!(told("a + if", &["a", "if"]), "ERROR: <input>:1:5: reserved identifier: if\n | a + if\n | ....^");
    }

    #[test]
    fn what_was_expected_is_as_short_as_upstreams() {
        for (message, wanted) in [
            ("mismatched input 'b' expecting {<EOF>, '==', '!=', '%'}", "mismatched input 'b' expecting <EOF>"),
            ("mismatched input '2' expecting {'==', '[', ')', '.', ',', '-'}", "mismatched input '2' expecting ')'"),
            ("mismatched input '2' expecting {']', ','}", "mismatched input '2' expecting {']', ','}"),
            ("missing ')' at '<EOF>'", "missing ')' at '<EOF>'"),
        ] {
            assert_eq!(expected_only(message), wanted);
        }
    }
}
