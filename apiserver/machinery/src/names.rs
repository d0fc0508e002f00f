//! Name, label, annotation and finalizer formats, with upstream's messages
//! (`k8s.io/apimachinery/pkg/util/validation`). Each function returns the messages of what is wrong.

pub const LABEL_MAX_BYTES: usize = 63;
pub const SUBDOMAIN_MAX_BYTES: usize = 253;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const UNDERSCORE_FORMAT: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const DNS1035_FORMAT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const KEY_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const VALUE_FORMAT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_KEY_FORMAT: &str = "[-._a-zA-Z0-9]+";
const KEY_MESSAGE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// Of names, where upstream counts bytes too, and calls them so.
fn name_too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// A message with the regular expression it was checked by, and examples.
pub fn regex_message(message: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{regex}')");
    }
    let examples = examples.iter().map(|example| format!("'{example}', ")).collect::<Vec<_>>().join(" or ");
    // Two spaces before each "or", as upstream has them.
    format!("{message} (e.g. {examples}regex used for validation is '{regex}')")
}

fn is_lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    is_lower(first) && is_lower(last) && bytes.iter().all(|&c| is_lower(c) || c == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(|&c| inner(c))
}

pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > LABEL_MAX_BYTES {
        messages.push(name_too_long(LABEL_MAX_BYTES));
    }
    if !is_label(text) {
        if is_subdomain(text) {
            messages.push("must not contain dots".to_owned());
        } else {
            messages.push(regex_message(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FORMAT,
                &["my-name", "123-abc"],
            ));
        }
    }
    messages
}

pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX_BYTES {
        messages.push(name_too_long(SUBDOMAIN_MAX_BYTES));
    }
    if !is_subdomain(text) {
        messages.push(regex_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_FORMAT,
            &["example.com"],
        ));
    }
    messages
}

/// A subdomain whose labels may have underscores, and begin with one.
pub fn dns1123_subdomain_with_underscore(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX_BYTES {
        messages.push(name_too_long(SUBDOMAIN_MAX_BYTES));
    }
    let is_label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        label.starts_with(|c: char| c != '_') && is_label(&label.replace('_', "-")) && !label.ends_with('_')
    };
    if !text.split('.').all(is_label) {
        messages.push(regex_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            UNDERSCORE_FORMAT,
            &["example.com"],
        ));
    }
    messages
}

/// `*.` and a subdomain.
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX_BYTES {
        messages.push(name_too_long(SUBDOMAIN_MAX_BYTES));
    }
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        messages.push(regex_message(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{SUBDOMAIN_FORMAT}"),
            &["*.example.com"],
        ));
    }
    messages
}

pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > LABEL_MAX_BYTES {
        messages.push(name_too_long(LABEL_MAX_BYTES));
    }
    if !is_label(text) || text.as_bytes()[0].is_ascii_digit() {
        messages.push(regex_message(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            DNS1035_FORMAT,
            &["my-name", "abc-123"],
        ));
    }
    messages
}

/// `[prefix/]name` of labels, annotations, finalizers, resources.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let mut parts = text.split('/');
    let first = parts.next().unwrap_or("");
    let name = match (parts.next(), parts.next()) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                messages.push("prefix part must be non-empty".to_owned());
            } else {
                let prefix = dns1123_subdomain(first).into_iter();
                messages.extend(
                    prefix.map(|message| format!("prefix part {}", message.replace("253 characters", "253 bytes"))),
                );
            }
            name
        }
        (Some(_), Some(_)) => {
            let message = regex_message(KEY_MESSAGE, KEY_FORMAT, &examples);
            let hint = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {message} {hint}")];
        }
    };
    if name.is_empty() {
        messages.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX_BYTES {
        messages.push(format!("name part {}", too_long(LABEL_MAX_BYTES)));
    }
    if !is_key(name) {
        messages.push(format!("name part {}", regex_message(KEY_MESSAGE, KEY_FORMAT, &examples)));
    }
    messages
}

pub fn label_value(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > LABEL_MAX_BYTES {
        messages.push(too_long(LABEL_MAX_BYTES));
    }
    if !text.is_empty() && !is_key(text) {
        messages.push(regex_message(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            VALUE_FORMAT,
            &["MyValue", "my_value", "12345"],
        ));
    }
    messages
}

/// A name that is one path segment (`rbac` names and the like): not `.`, `..`, no `/` or `%`.
pub fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    let illegal = ["/", "%"].into_iter().filter(|part| text.contains(part));
    illegal.map(|part| format!("may not contain '{part}'")).collect()
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > SUBDOMAIN_MAX_BYTES {
        messages.push(name_too_long(SUBDOMAIN_MAX_BYTES));
    }
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(inner) {
        messages.push(regex_message(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            CONFIG_KEY_FORMAT,
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    if text == "." || text == ".." {
        messages.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        messages.push("must not start with '..'".to_owned());
    }
    messages
}

/// An IANA service name, as port names are.
pub fn port_name(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if text.len() > 15 {
        messages.push(name_too_long(15));
    }
    if text.is_empty() || !text.bytes().all(|c| is_lower(c) || c == b'-') {
        messages.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|c| c.is_ascii_lowercase()) {
        messages.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        messages.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        messages.push("must not begin or end with a hyphen".to_owned());
    }
    messages
}

/// What a `generateName` is checked as: a trailing dash is followed by random characters, so it is no error.
pub fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            // Upstream replaces the last two bytes by one letter.
            let cut = rest.char_indices().next_back().map_or(0, |(at, _)| at);
            format!("{}a", &rest[..cut])
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        type Check = fn(&str) -> Vec<String>;
        let long63 = "a".repeat(63);
        let long64 = "a".repeat(64);
        let long253 = format!("{}a", "a.".repeat(126));
        let long255 = format!("{}a", "a.".repeat(127));
        let prefixed = format!("{long253}/{long63}");
        let table: &[(&str, Check, &[&str], &[&str])] = &[
            ("label", dns1123_label, &["a", "0", "a-b", &long63], &["", "-a", "a-", "A", "a.b", "a_b", "é", &long64]),
            ("subdomain", dns1123_subdomain, &["a", "a.b-c.0", &long253], &["", ".", "a..b", "a.", "A", &long255]),
            ("1035", dns1035_label, &["a", "a-0"], &["", "0a", "a-", "a.b", &long64]),
            (
                "qualified",
                qualified_name,
                &["a", "A.b_c-D", "example.com/x", &long63, &prefixed],
                &["", "/", "a/", "/a", "a/b/c", "-a", "a_", "A.b/c", &long64],
            ),
            ("value", label_value, &["", "a", "A_b.c", &long63], &["-", "a b", "a/", &long64]),
            ("segment", path_segment, &["", "a:b", "..."], &[".", "..", "a/b", "a%"]),
            ("config key", config_map_key, &["a", ".a", "A_b-c"], &["", ".", "..", "..a", "a/b"]),
            ("port name", port_name, &["http", "a-1"], &["", "1", "-a", "a-", "a--b", "A", "abcdefghijklmnop"]),
        ];
        for (what, check, good, bad) in table {
            for text in *good {
                assert_eq!(check(text), Vec::<String>::new(), "{what} {text:?}");
            }
            for text in *bad {
                assert!(!check(text).is_empty(), "{what} {text:?} is accepted");
            }
        }
    }

    #[test]
    fn messages() {
        assert_eq!(
            dns1123_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            qualified_name(""),
            [
                "name part must be non-empty",
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ]
        );
        assert_eq!(path_segment("a/%"), ["may not contain '/'", "may not contain '%'"]);
        assert_eq!(mask_trailing_dash("web-"), "wea");
        assert_eq!(mask_trailing_dash("-"), "-");
    }
}
