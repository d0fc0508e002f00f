//! References of images, as far as the default of their pull policy depends on them.

const HUB: [&str; 2] = ["docker.io", "index.docker.io"];
/// Where on the hub the images are that are named without a path.
const HUB_PREFIX: &str = "library/";
const MAX_PATH: usize = 255;
const MAX_TAG: usize = 128;
/// Algorithms of digests, and digits in one.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// Whether the tag is `latest`: as it says, or because there is neither a tag nor a digest. What is no reference has no
/// tag at all.
pub fn is_latest(image: &str) -> bool {
    let (domain, rest) = split_domain(image);
    let (named, digest) = rest.split_once('@').map_or((rest, None), |(named, digest)| (named, Some(digest)));
    let (path, tag) = named.split_once(':').map_or((named, None), |(path, tag)| (path, Some(tag)));
    let is_short = domain.is_none_or(|domain| HUB.contains(&domain)) && !rest.contains('/');
    let length = path.len() + if is_short { HUB_PREFIX.len() } else { 0 };
    let is_reference = !is_hash(image, 64)
        && domain.is_none_or(|domain| is_domain(domain) || is_component(domain))
        && path.split('/').all(is_component)
        && length <= MAX_PATH
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    is_reference && tag.map_or(digest.is_none(), |tag| tag == "latest")
}

/// The part before the first slash, if it looks like a host.
fn split_domain(image: &str) -> (Option<&str>, &str) {
    match image.split_once('/') {
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase) =>
        {
            (Some(first), rest)
        }
        _ => (None, image),
    }
}

/// A name or an address, and maybe a port.
fn is_domain(text: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    if let Some((address, after)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_address = !address.is_empty() && address.bytes().all(|c| c.is_ascii_hexdigit() || c == b':');
        return is_address && (after.is_empty() || after.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Small letters and digits, apart by a dot, one or two underscores, or dashes.
fn is_component(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|c| c == b'-');
    text.starts_with(inner) && text.ends_with(inner) && text.split(inner).all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|c| is_word(c) || c == b'.' || c == b'-')
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hash)) = text.split_once(':') else { return false };
    DIGESTS.iter().any(|(name, digits)| *name == algorithm && is_hash(hash, *digits))
}

fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let hash = "0a".repeat(32);
        let digest = format!("@sha256:{hash}");
        for image in ["x", "x:latest", "a.b:5000/x", "localhost/x/y", "[::1]:80/x", "A/x", "a__b-.c", "docker.io/x"] {
            assert_eq!(is_latest(image), image != "a__b-.c", "{image}");
        }
        for image in ["x:1", "a.b:5000/x:1", "A b!", "X", "", "x/", "x:", "x@sha256:0a", hash.as_str()] {
            assert!(!is_latest(image), "{image}");
        }
        assert!(!is_latest(&format!("x{digest}")));
        assert!(is_latest(&format!("x:latest{digest}")));
        assert!(!is_latest(&"x".repeat(248)) && is_latest(&"x".repeat(247)));
        assert!(is_latest(&format!("a.b/{}", "x".repeat(255))));
    }
}
