//! Which credentials are for which image: registries by host, globs and paths, as upstream matches them.

/// The registry that images without a host come from, as credentials name it.
const DEFAULT: &str = "index.docker.io";

/// What a credential is for, normalized: `HOST[:PORT][/PATH]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registry(String);

impl Registry {
    /// From a key of a Docker configuration: scheme and API version do not matter.
    pub fn parse(key: &str) -> Self {
        let plain = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = plain.split_at(plain.find('/').unwrap_or(plain.len()));
        let path = path.strip_prefix("/v1").or_else(|| path.strip_prefix("/v2")).filter(cut).unwrap_or(path);
        Self(if path == "/" { host.to_owned() } else { format!("{host}{path}") })
    }

    fn is_for(&self, image: &str) -> bool {
        let (host, path) = split(&self.0);
        let (image_host, image_path) = split(image);
        let ((name, port), (image_name, image_port)) = (port(host), port(image_host));
        let (parts, image_parts): (Vec<_>, Vec<_>) = (name.split('.').collect(), image_name.split('.').collect());
        port == image_port
            && image_path.starts_with(path)
            && parts.len() == image_parts.len()
            && parts.iter().zip(image_parts).all(|(pattern, part)| glob(pattern.as_bytes(), part.as_bytes()))
    }
}

/// `/v1` is the API's version, `/v1beta` somebody's path.
fn cut(rest: &&str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find('/').unwrap_or(text.len()))
}

fn port(host: &str) -> (&str, &str) {
    host.split_once(':').unwrap_or((host, ""))
}

/// The image with the host and the library that the default registry's images leave out.
fn full_name(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    }
}

/// All that may open an image, the longest name first; without any, what is for the default registry.
pub fn matching<T: Clone>(credentials: &[(Registry, T)], image: &str) -> Vec<T> {
    let name = full_name(image);
    let mut fit: Vec<_> = credentials.iter().filter(|(registry, _)| registry.is_for(&name)).collect();
    if fit.is_empty() && (name.starts_with("docker.io/") || name.starts_with("index.docker.io/")) {
        fit = credentials.iter().filter(|(registry, _)| registry.0 == DEFAULT).collect();
    }
    // Of the same name the first given comes first: the sort is stable.
    fit.sort_by(|(a, _), (b, _)| b.cmp(a));
    fit.into_iter().map(|(_, credential)| credential.clone()).collect()
}

/// `*`, `?` and `[a-z]` within one label of a host.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        ([b'?', rest @ ..], [_, after @ ..]) => glob(rest, after),
        ([b'[', rest @ ..], [first, after @ ..]) => class(rest, *first).is_some_and(|rest| glob(rest, after)),
        ([literal, rest @ ..], [first, after @ ..]) => literal == first && glob(rest, after),
        (_, []) => false,
    }
}

/// What follows a class that the byte is in.
fn class(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let end = pattern.iter().position(|b| *b == b']')?;
    let (mut members, rest) = (&pattern[..end], &pattern[end + 1..]);
    let negated = members.first() == Some(&b'^');
    members = if negated { &members[1..] } else { members };
    let mut found = false;
    while let [first, more @ ..] = members {
        let (last, more) = match more {
            [b'-', last, more @ ..] => (last, more),
            _ => (first, more),
        };
        found |= (first..=last).contains(&&byte);
        members = more;
    }
    (found != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_find_their_images() {
        let cases = [
            ("https://index.docker.io/v1/", "busybox:latest", true),
            ("index.docker.io", "someone/app:1", true),
            ("docker.io", "someone/app:1", true),
            ("docker.io/someone", "someone/app:1", true),
            ("docker.io/other", "someone/app:1", false),
            ("https://index.docker.io/v1/", "registry.example/app", false),
            ("registry.example", "registry.example/app:1", true),
            ("https://registry.example/v2/", "registry.example/app:1", true),
            ("registry.example/v1beta", "registry.example/v1beta/app:1", true),
            ("registry.example:5000", "registry.example/app:1", false),
            ("registry.example:5000", "registry.example:5000/app:1", true),
            ("*.example", "registry.example/app:1", true),
            ("*.example", "a.registry.example/app:1", false),
            ("reg*.ex?mple", "registry.example/app:1", true),
            ("[p-s]egistry.example", "registry.example/app:1", true),
            ("[^r]egistry.example", "registry.example/app:1", false),
            ("registry.example/team", "registry.example/team/app:1", true),
            ("registry.example/team", "registry.example/other/app:1", false),
        ];
        for (key, image, expected) in cases {
            let found = !matching(&[(Registry::parse(key), ())], image).is_empty();
            assert_eq!(found, expected, "{key} for {image}");
        }
    }

    #[test]
    fn the_nearest_is_tried_first() {
        let keys = ["registry.example", "*.example", "registry.example/team", "registry.example"];
        let all: Vec<_> = keys.iter().enumerate().map(|(n, key)| (Registry::parse(key), n)).collect();
        assert_eq!(matching(&all, "registry.example/team/app"), [2, 0, 3, 1]);
    }
}
