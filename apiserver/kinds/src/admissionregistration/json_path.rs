//! Whether a text is a JSON path template, `{.a[0]}`, with upstream's words for what it is not. Nothing is looked up.

use std::str::Chars;

const DELIMITERS: [char; 12] = [' ', '\t', '\r', '\n', '.', ',', '[', ']', '$', '@', '{', '}'];
const COMPARING: [char; 4] = ['!', '<', '>', '='];

/// What is wrong with a path, which is what stands in braces.
pub(crate) fn why_wrong(path: &str) -> Option<String> {
    check(&format!("{{{path}}}")).err()
}

/// Text with paths in braces.
fn check(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some((_, inside)) = rest.split_once('{') {
        rest = path(inside)?;
    }
    Ok(())
}

/// Reads a path with its closing brace; what follows is left.
fn path(text: &str) -> Result<&str, String> {
    let (mut rest, mut descends) = (text, false);
    loop {
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok(behind);
        }
        if let Some(behind) = rest.strip_prefix("..") {
            if descends {
                return Err("invalid multiple recursive descent".to_owned());
            }
            descends = !behind.starts_with(is_word);
            rest = if descends { behind } else { field(behind) };
            continue;
        }
        let Some(first) = rest.chars().next().filter(|first| !matches!(first, '\r' | '\n')) else {
            return Err("unclosed action".to_owned());
        };
        let behind = &rest[first.len_utf8()..];
        if matches!(first, ' ' | '@' | '$') {
            rest = behind;
            continue;
        }
        descends = false;
        rest = match first {
            '[' => match behind.strip_prefix("?(") {
                Some(inside) => filter(inside)?,
                None => array(behind)?,
            },
            '"' | '\'' => quote(behind, first)?,
            '.' => field(behind),
            '+' | '-' | '0'..='9' => number(rest)?,
            first if is_word(first) => &rest[rest.find(ends_word).unwrap_or(rest.len())..],
            first => return Err(format!("unrecognized character in action: {}", code_point(first))),
        };
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn ends_word(c: char) -> bool {
    DELIMITERS.contains(&c)
}

/// As Go prints a character: its number, and itself if it can be seen.
fn code_point(c: char) -> String {
    let number = format!("U+{:04X}", u32::from(c));
    if c.is_control() || c.is_whitespace() { number } else { format!("{number} '{c}'") }
}

/// A name, in which a backslash takes away what the next character means.
fn field(text: &str) -> &str {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if ends_word(c) {
            return &text[at..];
        }
    }
    ""
}

fn number(text: &str) -> Result<&str, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let behind = digits.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let number = &text[..text.len() - behind.len()];
    if number.parse::<f64>().is_ok_and(f64::is_finite) {
        return Ok(behind);
    }
    Err(format!("cannot parse number {number}"))
}

/// An index, a name in quotes, or several of them.
fn array(text: &str) -> Result<&str, String> {
    let end = text.find([']', '\n']).filter(|end| text[*end..].starts_with(']'));
    let (inside, behind) = end.map(|end| (&text[..end], &text[end + 1..])).ok_or("unterminated array")?;
    if inside.contains(',') {
        for part in inside.split(',') {
            check(&format!("{{[{}]}}", part.trim_matches(' ')))?;
        }
        return Ok(behind);
    }
    let name = inside.strip_prefix('\'').and_then(|name| name.strip_suffix('\'')).filter(|name| !name.contains('\''));
    match name {
        Some(name) => check(&format!("{{.{name}}}"))?,
        None if inside == "*" => {}
        None => slice(inside)?,
    }
    Ok(behind)
}

/// Begin, end and step, each of which may be missing.
fn slice(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_number = |part: &str| part.strip_prefix('-').unwrap_or(part).chars().all(|c| c.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(|part| is_number(part)) {
        return Err(format!("invalid array index {text}"));
    }
    match parts.iter().find(|part| !part.is_empty() && part.parse::<i64>().is_err()) {
        Some(part) => Err(format!("array index {part} is not a number")),
        None => Ok(()),
    }
}

/// `[?(@.a == "b")]`: only the first text in quotes may hold a bracket.
fn filter(text: &str) -> Result<&str, String> {
    let (mut opened, mut closed, mut before) = (None, false, '(');
    let mut end = None;
    for (at, c) in text.char_indices() {
        match c {
            '\n' => break,
            '"' | '\'' if opened.is_none() => opened = Some(c),
            '"' | '\'' => closed |= opened == Some(c) && before != '\\',
            ')' if opened.is_some() == closed => {
                end = Some(at);
                break;
            }
            _ => {}
        }
        before = c;
    }
    let end = end.ok_or("unterminated filter")?;
    let behind = text[end + 1..].strip_prefix(']').ok_or("unclosed array expect ]")?;
    let inside = &text[..end];
    let Some((left, right)) = compared(inside) else { return check(&format!("{{{inside}}}")).map(|()| behind) };
    for side in [left, right] {
        check(&format!("{{{side}}}"))?;
    }
    Ok(behind)
}

/// What stands before and behind an operator. The last of its characters is taken for the right side if nothing
/// else is there.
fn compared(text: &str) -> Option<(&str, &str)> {
    let (left, rest) = text.split_at(text.find(COMPARING).filter(|at| *at > 0)?);
    let right = rest.trim_start_matches(COMPARING);
    let right = if right.is_empty() { &rest[rest.len().max(2) - 1..] } else { right };
    (!right.is_empty()).then_some((left, right))
}

/// The rest of a text in quotes.
fn quote(text: &str, mark: char) -> Result<&str, String> {
    let mut before = mark;
    for (at, c) in text.char_indices() {
        if c == '\n' {
            break;
        }
        if c == mark && before != '\\' {
            let inside = &text[..at];
            if !is_literal(inside, mark) {
                return Err(format!("unquote string {mark}{inside}{mark} error invalid syntax"));
            }
            return Ok(&text[at + 1..]);
        }
        before = c;
    }
    Err("unterminated quoted string".to_owned())
}

/// Whether every backslash begins an escape that Go knows, and no other quote is in it.
fn is_literal(text: &str, mark: char) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let is_fine = if c == '\\' { is_escape(&mut chars, mark) } else { c != mark };
        if !is_fine {
            return false;
        }
    }
    true
}

/// Takes what follows a backslash.
fn is_escape(chars: &mut Chars<'_>, mark: char) -> bool {
    let Some(first) = chars.next() else { return false };
    let (count, radix) = match first {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return true,
        '"' | '\'' => return first == mark,
        'x' => (2, 16),
        'u' => (4, 16),
        'U' => (8, 16),
        '0'..='7' => (2, 8),
        _ => return false,
    };
    let digits: String = chars.by_ref().take(count).collect();
    if digits.len() != count || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return false;
    }
    match first {
        'x' => true,
        'u' | 'U' => u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32).is_some(),
        octal => octal <= '3',
    }
}

#[cfg(test)]
mod tests {
    use super::why_wrong;

    #[test]
    fn paths() {
        for path in [
            "spec.validations[0].expression",
            ".a['b.c'][1:2][*][0,1]",
            "..a[?(@.b == \"c)\")].d",
            "A b!",
            "example.com/x",
            "1.5",
            "'a\\'\\u00e9\\377' true",
            "a}b{c",
            "[]",
        ] {
            assert_eq!(why_wrong(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_none() {
        for (path, why) in [
            ("1.2.3.4", "cannot parse number 1.2.3.4"),
            ("-", "cannot parse number -"),
            ("a\n", "unclosed action"),
            (".a\\", "unclosed action"),
            ("!", "unrecognized character in action: U+0021 '!'"),
            ("a\tb", "unrecognized character in action: U+0009"),
            ("....a", "invalid multiple recursive descent"),
            ("a[0", "unterminated array"),
            ("a[b]", "invalid array index b"),
            ("a[1:2:3:4]", "invalid array index 1:2:3:4"),
            ("a[0,-]", "array index - is not a number"),
            ("'a", "unterminated quoted string"),
            ("'\\q'", "unquote string '\\q' error invalid syntax"),
            ("'\\400'", "unquote string '\\400' error invalid syntax"),
            ("[?(@.a", "unterminated filter"),
            ("[?(@.a) ]", "unclosed array expect ]"),
            ("[?(@.a==1.1.1)]", "cannot parse number 1.1.1"),
        ] {
            assert_eq!(why_wrong(path).as_deref(), Some(why), "{path}");
        }
    }
}
