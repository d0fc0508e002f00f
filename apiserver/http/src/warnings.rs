//! `Warning` headers: what was noted of a request on its way, in that order, also when it was refused in the end.

use http::{HeaderMap, HeaderValue};

/// Characters of all texts together; beyond them the long ones are cut.
const MAX_CHARS: usize = 4 * 1024;
/// What is left of each then.
const MAX_CUT_CHARS: usize = 256;

/// Adds them to the headers of an answer. None is empty, or there twice.
pub(crate) fn write(headers: &mut HeaderMap, warnings: &[String]) {
    for value in values(warnings) {
        headers.append("warning", value);
    }
}

/// As upstream's recorder: when the texts are too long together, all of them are cut, and none is added any more once
/// the cut ones are.
fn values(warnings: &[String]) -> Vec<HeaderValue> {
    let (mut values, mut chars, mut cuts) = (Vec::new(), 0, false);
    for (index, text) in warnings.iter().enumerate() {
        if cuts && chars >= MAX_CHARS {
            break;
        }
        let Some((value, length)) = value(text, cuts) else { continue };
        if cuts || chars + length <= MAX_CHARS {
            chars += length;
            values.push(value);
            continue;
        }
        cuts = true;
        let shortened: Vec<_> = warnings[..=index].iter().filter_map(|text| self::value(text, true)).collect();
        chars = shortened.iter().map(|(_, length)| length).sum();
        values = shortened.into_iter().map(|(value, _)| value).collect();
    }
    values
}

/// `299 - "text"`, and the characters of the text. What cannot stand in a header is left out.
fn value(text: &str, cut: bool) -> Option<(HeaderValue, usize)> {
    let end = if cut { text.char_indices().nth(MAX_CUT_CHARS).map_or(text.len(), |(at, _)| at) } else { text.len() };
    let text = &text[..end];
    if text.is_empty() || text.contains(char::is_control) {
        return None;
    }
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    let value = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()).ok()?;
    Some((value, text.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(warnings: &[String]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        write(&mut headers, warnings);
        let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec()).expect("UTF-8");
        headers.get_all("warning").iter().map(text).collect()
    }

    #[test]
    fn texts_are_quoted() {
        let warnings = [r#"unknown field "a\b""#, "", "two\nlines", "schön"].map(str::to_owned);
        assert_eq!(shown(&warnings), [r#"299 - "unknown field \"a\\b\"""#, r#"299 - "schön""#]);
    }

    /// Lengths of the texts, and of those that are sent.
    #[test]
    fn long_texts_are_cut_when_all_are_too_long_together() {
        let sent = |lengths: &[usize]| -> Vec<usize> {
            let warnings: Vec<String> = lengths.iter().map(|length| "ä".repeat(*length)).collect();
            shown(&warnings).iter().map(|value| value.chars().count() - r#"299 - """#.len()).collect()
        };
        assert_eq!(sent(&[4000, 96]), [4000, 96], "exactly as much as there may be");
        assert_eq!(sent(&[4000, 97]), [256, 97]);
        assert_eq!(sent(&[5000]), [256]);
        assert_eq!(sent(&[5000, 300, 20]), [256, 256, 20], "those that follow, too");
        assert_eq!(sent(&[300; 20]), [256; 16], "until there is enough");
        assert_eq!(sent(&[200; 25]), [200; 21], "with the one that was too much");
    }
}
