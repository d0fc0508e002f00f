//! Where in the text of an expression something is that is told of it, and how upstream's compiler shows that.

use std::sync::Arc;

use kube_cel::cel::ParseErrors;
use kube_cel::cel::common::ast::SourceInfo;
use kube_cel::cel::parser::Parser;

/// Messages of one expression.
const MAX_MESSAGES: usize = 100;
/// Brackets within each other that the parser follows for places: what is asked about has been read before.
const MAX_RECURSION: u16 = 128;
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
pub(crate) fn located(text: &str, at: usize, message: &str) -> String {
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

/// What is wrong with a part of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The part, as the parser has numbered it.
    pub(crate) part: u64,
    /// Whether the sign before it is of the part.
    pub(crate) is_signed: bool,
    pub(crate) message: String,
}

/// Everything that is wrong, in the order of the places. `None` of them are known where `places` is missing.
pub(crate) fn told(text: &str, places: Option<&Places>, found: &[Finding]) -> String {
    let mut placed: Vec<(Option<usize>, &Finding)> =
        found.iter().take(MAX_MESSAGES).map(|one| (places.and_then(|places| places.of(text, one)), one)).collect();
    placed.sort_by_key(|(at, _)| *at);
    let mut lines: Vec<String> = placed
        .into_iter()
        .map(|(at, one)| match at {
            Some(at) => located(text, at, &one.message),
            None => format!("ERROR: <input>: {}", one.message),
        })
        .collect();
    if found.len() > MAX_MESSAGES {
        lines.push(format!("{} more errors were truncated", found.len() - MAX_MESSAGES));
    }
    lines.join("\n")
}

/// Where the parts of a text are.
pub(crate) struct Places(Arc<SourceInfo>);

/// What stands before a text of which places are asked, and how many numbers the parser has given then.
const BEFORE: &str = "[";
const NUMBERED: u64 = 1;
/// What stands behind it. The parser tells of places only together with an error; this one leaves the rest as it is.
const BEHIND: &str = "\n, has(0)]";

impl Places {
    /// Reads the text once more. It takes stack, as every reading.
    pub(crate) fn find(text: &str) -> Option<Self> {
        let parser = Parser::new().enable_optional_syntax(true).max_recursion_depth(MAX_RECURSION);
        let found = parser.parse(&format!("{BEFORE}{text}{BEHIND}")).err()?;
        let [only] = &found.errors[..] else { return None };
        only.source_info.clone().map(Self)
    }

    /// The first byte of a part.
    fn of(&self, text: &str, one: &Finding) -> Option<usize> {
        let (start, _) = self.0.offset_for(one.part + NUMBERED)?;
        let at = usize::try_from(start).ok()?.checked_sub(BEFORE.len())?;
        let (before, behind) = (text.get(..at)?, text.get(at..)?);
        let is_number = behind.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let sign = before.trim_end().strip_suffix('-').filter(|_| one.is_signed && is_number);
        Some(sign.map_or(at, str::len))
    }
}

pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
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
