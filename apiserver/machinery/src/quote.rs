//! Strings as Go's `%q` and its JSON print them, because upstream's messages do.

use std::fmt::Write as _;

/// `"text"` with Go's escapes.
pub fn quoted(text: &str) -> String {
    in_quotes(text, |out, c| match c {
        '\u{7}' => out.push_str("\\a"),
        '\u{b}' => out.push_str("\\v"),
        c if !c.is_control() => out.push(c),
        // Writing to a String cannot fail.
        c if (c as u32) < 0x80 => write!(out, "\\x{:02x}", c as u32).expect("a String takes all"),
        c => four_digits(out, c),
    })
}

/// `"text"` as Go writes it in JSON, which may be put into HTML and JavaScript.
pub fn json_quoted(text: &str) -> String {
    in_quotes(text, |out, c| match c {
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => four_digits(out, c),
        other => out.push(other),
    })
}

/// With the escapes that both have; what is to become of all other characters is said.
fn in_quotes(text: &str, other: fn(&mut String, char)) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => other(&mut out, c),
        }
    }
    out.push('"');
    out
}

fn four_digits(out: &mut String, c: char) {
    // Writing to a String cannot fail.
    write!(out, "\\u{:04x}", c as u32).expect("a String takes all");
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_as_go_does() {
        for (text, expect) in
            [("a", r#""a""#), ("a\"b\\", r#""a\"b\\""#), ("\n\t\u{1}", r#""\n\t\x01""#), ("\u{85}é", "\"\\u0085é\"")]
        {
            assert_eq!(super::quoted(text), expect);
        }
    }

    #[test]
    fn quotes_as_go_does_in_json() {
        for (text, expect) in [
            ("a\"b\\", r#""a\"b\\""#),
            ("\n\r\t\u{8}\u{c}", r#""\n\r\t\b\f""#),
            ("\0\u{b}\u{1f}\u{7f}é", "\"\\u0000\\u000b\\u001f\u{7f}é\""),
            ("<&>\u{2028}\u{2029}", r#""\u003c\u0026\u003e\u2028\u2029""#),
        ] {
            assert_eq!(super::json_quoted(text), expect);
        }
    }
}
