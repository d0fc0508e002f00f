//! How deep the brackets of an expression are, told from its text: the parser takes stack and time for each that is
//! open, many times over for lists.

/// Brackets within each other, at most; the parser itself goes no further.
const MAX_OPEN: usize = 96;

/// Upstream's words.
pub(crate) const TOO_DEEP: &str = "expression recursion limit exceeded";
const WRONG: &str = "syntax error";

/// Refuses what is too deep, and brackets and strings that are certainly none of CEL's: the parser goes on behind an
/// error, and could read on where this takes everything for a string.
pub(crate) fn check(text: &str) -> Result<(), &'static str> {
    let (bytes, mut at, mut word) = (text.as_bytes(), 0, 0);
    let mut open = Vec::new();
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'(' | b'[' | b'{' if open.len() == MAX_OPEN => return Err(TOO_DEEP),
            b'(' => open.push(b')'),
            b'[' | b'{' => open.push(byte + 2),
            b')' | b']' | b'}' if open.pop() != Some(byte) => return Err(WRONG),
            b'\'' | b'"' => {
                let raw = match &bytes[word..at] {
                    b"" | b"in" | b"b" | b"B" => false,
                    b"r" | b"R" | b"br" | b"bR" | b"Br" | b"BR" => true,
                    _ => return Err(WRONG),
                };
                at += string(&bytes[at..], raw).ok_or(WRONG)?;
                word = at;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at);
                word = at;
                continue;
            }
            _ => {}
        }
        at += 1;
        if !(byte.is_ascii_alphanumeric() || byte == b'_') {
            word = at;
        }
    }
    Ok(())
}

/// The length of the string that begins here; `None` when it is not closed, or escapes what cannot be escaped.
pub(crate) fn string(bytes: &[u8], raw: bool) -> Option<usize> {
    let quote = *bytes.first()?;
    let long = bytes.starts_with(&[quote; 3]);
    let end = if long { &bytes[..3] } else { &bytes[..1] };
    let mut at = end.len();
    loop {
        match *bytes.get(at)? {
            _ if bytes[at..].starts_with(end) => return Some(at + end.len()),
            b'\n' | b'\r' if !long => return None,
            b'\\' if !raw => at += escape(bytes.get(at + 1..)?)?,
            _ => {}
        }
        at += 1;
    }
}

/// How much follows a backslash.
fn escape(bytes: &[u8]) -> Option<usize> {
    let (digits, base) = match bytes.first()? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => (0, 16),
        b'x' | b'X' => (2, 16),
        b'u' => (4, 16),
        b'U' => (8, 16),
        b'0'..=b'3' => (2, 8),
        _ => return None,
    };
    let all = bytes.get(1..=digits)?;
    all.iter().all(|byte| char::from(*byte).is_digit(base)).then_some(1 + digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_counted_outside_of_strings_and_comments() {
        let nested = |open: &str, count: usize, close: &str| format!("{}{}", open.repeat(count), close.repeat(count));
        let brackets = "[".repeat(200);
        for text in [
            "a[1].b(c, {'d': [1]}) in [x]",
            &nested("([{", 32, "}])"),
            &format!("'{brackets}' + \"{brackets}\" + '''{brackets}\n'{brackets}''' == r'\\' + br\"{brackets}\""),
            &format!("'\\'{brackets}\\x5b\\u005b\\U0000005b\\133\\\\' == '' // {brackets}\n&& x in'{brackets}'"),
            "'' + \"\" + '''''' + r''",
            "'schlüssel' == \"日本\"",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        let hidden = |before: &str| format!("{before}{brackets}");
        for (text, why) in [
            (nested("[", 97, "]"), TOO_DEEP),
            (hidden(""), TOO_DEEP),
            (hidden("'a' // b\n"), TOO_DEEP),
            (hidden("r'\\'"), TOO_DEEP),
            ("[)".repeat(200), WRONG),
            ("]".repeat(200), WRONG),
            (hidden("'"), WRONG),
            (hidden("'\n") + "'", WRONG),
            (hidden("'\\q") + "'", WRONG),
            (hidden("'\\x5") + "'", WRONG),
            (hidden("'''"), WRONG),
            (hidden("1r'\\'") + "'", WRONG),
        ] {
            assert_eq!(check(&text), Err(why), "{text}");
        }
    }
}
