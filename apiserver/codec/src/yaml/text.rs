//! How a text is written: bare, in quotes of either kind, or as the lines it has.

use super::{STEP, Writer, meaning};

/// Texts are folded at the first space behind this column.
const WIDTH: usize = 80;
/// Longer keys, and those of several lines, stand behind a question mark. Bytes.
const MAX_SIMPLE_KEY: usize = 128;

pub(super) fn is_simple_key(key: &str) -> bool {
    key.len() <= MAX_SIMPLE_KEY && !key.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Bare,
    Single,
    Double,
    Lines,
}

/// What decides which styles can hold a text.
#[derive(Default)]
struct Traits {
    /// Begins or ends with a space or a line break.
    edged: bool,
    ends_with_space: bool,
    /// A space follows a line break.
    break_space: bool,
    /// A line break follows a space.
    space_break: bool,
    /// Characters that only escapes can stand for.
    special: bool,
    /// Characters that would mean something.
    indicator: bool,
}

impl Traits {
    fn of(text: &str) -> Self {
        let is_edge = |c: char| matches!(c, ' ' | '\n');
        Self {
            edged: text.starts_with(is_edge) || text.ends_with(is_edge),
            ends_with_space: text.ends_with(' '),
            break_space: text.contains("\n "),
            space_break: text.contains(" \n"),
            special: text.chars().any(|c| !is_printable(c) || is_separator(c)),
            indicator: has_indicator(text),
        }
    }
}

/// Only line breaks of other kinds than `\n`: upstream writes them as they are, and its readers differ about them.
fn is_separator(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}')
}

fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{fffd}') && character != '\u{feff}'
}

fn has_indicator(text: &str) -> bool {
    let first = text.starts_with(|c| "#,[]{}&*!|>'\"%@`".contains(c));
    // Before an end or a blank these separate.
    let lone = text.starts_with(['?', ':', '-']) && is_blank_or_end(text[1..].chars().next());
    let colon = text.match_indices(':').any(|(at, _)| is_blank_or_end(text[at + 1..].chars().next()));
    let comment = text.match_indices('#').any(|(at, _)| text[..at].ends_with([' ', '\t', '\n', '\r', '\0']));
    first || lone || colon || comment || text.starts_with("---") || text.starts_with("...")
}

fn is_blank_or_end(character: Option<char>) -> bool {
    matches!(character, None | Some(' ' | '\t'))
}

fn style(text: &str) -> Style {
    let Traits { edged, ends_with_space, break_space, space_break, special, indicator } = Traits::of(text);
    let quotable = !(break_space || space_break || special);
    if text.contains('\n') {
        let whole = !(ends_with_space || space_break || special);
        return if whole { Style::Lines } else { Style::Double };
    }
    match meaning::is_text(text) {
        true if quotable && !edged && !indicator => Style::Bare,
        true if quotable => Style::Single,
        _ => Style::Double,
    }
}

impl Writer {
    /// `indent`: that of further lines; `None`: a key, which has none.
    pub(super) fn text(&mut self, text: &str, indent: Option<usize>) {
        match style(text) {
            Style::Bare => self.folded(text, indent, false),
            Style::Single => {
                self.put('\'');
                self.folded(text, indent, true);
                self.put('\'');
            }
            Style::Double => self.escaped(text, indent),
            Style::Lines => self.lines(text, indent.unwrap_or(STEP)),
        }
    }

    /// Goes on in a new line where this one is long enough.
    fn fold(&mut self, indent: Option<usize>) -> bool {
        let Some(indent) = indent.filter(|_| self.column > WIDTH) else { return false };
        self.line_break();
        self.indent(indent);
        true
    }

    fn folded(&mut self, text: &str, indent: Option<usize>, quoted: bool) {
        let mut after_space = false;
        for (at, character) in text.char_indices() {
            let next = text[at + character.len_utf8()..].chars().next();
            let inside = !quoted || at > 0 && next.is_some();
            let may_fold = character == ' ' && !after_space && inside && next != Some(' ');
            if !(may_fold && self.fold(indent)) {
                if quoted && character == '\'' {
                    self.put('\'');
                }
                self.put(character);
            }
            after_space = character == ' ';
        }
    }

    fn escaped(&mut self, text: &str, indent: Option<usize>) {
        self.put('"');
        let mut after_space = false;
        for (at, character) in text.char_indices() {
            let next = text[at + character.len_utf8()..].chars().next();
            let may_fold = character == ' ' && !after_space && at > 0 && next.is_some();
            if may_fold && self.fold(indent) {
                // Spaces at the start of a line would be lost.
                if next == Some(' ') {
                    self.put('\\');
                }
            } else {
                self.quoted_character(character);
            }
            after_space = character == ' ';
        }
        self.put('"');
    }

    fn quoted_character(&mut self, character: char) {
        if is_printable(character) && !matches!(character, '"' | '\\' | '\n') && !is_separator(character) {
            return self.put(character);
        }
        self.put('\\');
        let short = match character {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '\u{85}' => 'N',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            '"' | '\\' => character,
            _ => return self.numbered(u32::from(character)),
        };
        self.put(short);
    }

    fn numbered(&mut self, number: u32) {
        let escape = match number {
            ..=0xff => format!("x{number:02X}"),
            0x100..=0xffff => format!("u{number:04X}"),
            _ => format!("U{number:08X}"),
        };
        escape.chars().for_each(|character| self.put(character));
    }

    fn lines(&mut self, text: &str, indent: usize) {
        self.put('|');
        if text.starts_with([' ', '\n']) {
            self.put('2');
        }
        match text.strip_suffix('\n') {
            None => self.put('-'),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => self.put('+'),
            Some(_) => {}
        }
        self.line_break();
        for line in text.split_inclusive('\n') {
            if line != "\n" {
                self.indent(indent);
            }
            for character in line.trim_end_matches('\n').chars() {
                self.put(character);
            }
            if line.ends_with('\n') {
                self.line_break();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::yaml::to_string;

    #[test]
    fn styles() {
        for (text, wanted) in [
            ("plain text", Style::Bare),
            ("a:b", Style::Bare),
            ("a#b", Style::Bare),
            ("-a", Style::Bare),
            ("<<", Style::Bare),
            ("a: b", Style::Single),
            ("a:", Style::Single),
            ("a #b", Style::Single),
            ("*", Style::Single),
            ("- a", Style::Single),
            ("---", Style::Single),
            (" a", Style::Single),
            ("a ", Style::Single),
            ("it's", Style::Bare),
            ("{}", Style::Single),
            ("true", Style::Double),
            ("1", Style::Double),
            ("", Style::Double),
            ("a\tb", Style::Double),
            ("\u{1f600}", Style::Double),
            ("a\nb", Style::Lines),
            ("a\n b", Style::Lines),
            ("a\nb ", Style::Double),
            ("a \nb", Style::Double),
            ("\n", Style::Lines),
        ] {
            assert_eq!(style(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn long_texts_are_folded() {
        let words = "word ".repeat(40);
        let text = to_string(&json!({"a": words.trim_end(), "b": format!("x: {words}y"), "c": format!("\t{words}y")}));
        assert!(text.lines().all(|line| line.len() < 90) && text.lines().count() > 8, "{text}");
        let back: serde_json::Value = serde_saphyr::from_str(&text).expect("is YAML");
        assert_eq!(back, json!({"a": words.trim_end(), "b": format!("x: {words}y"), "c": format!("\t{words}y")}));
    }
}
