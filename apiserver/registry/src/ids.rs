//! Where randomness comes from. What decides takes it as an argument; the shells call these.

use store_api::RequestId;

/// Upstream's alphabet of generated names: no vowels, nothing that looks like something else.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LEN: usize = 5;
/// A longer `generateName` is cut, so that generated names have at most 63 bytes.
const MAX_BASE: usize = 63 - SUFFIX_LEN;

/// `generateName` and five random characters, as upstream's `SimpleNameGenerator`.
pub(crate) fn generated_name(base: &str, mut random: u64) -> String {
    let end = (0..=base.len().min(MAX_BASE)).rev().find(|&end| base.is_char_boundary(end)).unwrap_or(0);
    let mut name = base[..end].to_owned();
    for _ in 0..SUFFIX_LEN {
        let index = usize::try_from(random % ALPHABET.len() as u64).unwrap_or(0);
        name.push(char::from(ALPHABET[index]));
        random /= ALPHABET.len() as u64;
    }
    name
}

#[expect(clippy::disallowed_methods, reason = "the shell's one source of object uids")]
pub(crate) fn uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[expect(clippy::disallowed_methods, reason = "the shell's one source of random choices")]
pub(crate) fn random() -> u64 {
    rand::random()
}

#[expect(clippy::disallowed_methods, reason = "names this process in the ids of its requests")]
pub(crate) fn client() -> u128 {
    rand::random()
}

/// Numbers the requests of this process.
pub(crate) struct Requests {
    client: u128,
    seq: std::sync::atomic::AtomicU64,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { client: client(), seq: std::sync::atomic::AtomicU64::new(0) }
    }
    pub(crate) fn next(&self) -> RequestId {
        let seq = self.seq.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        RequestId { client: self.client, seq }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn generated_names() {
        assert_eq!(super::generated_name("web-", 0), "web-bbbbb");
        assert_eq!(super::generated_name("web-", 27 * 27 + 26), "web-9bcbb");
        let long = super::generated_name(&"x".repeat(100), u64::MAX);
        assert_eq!(long.len(), 63);
    }
}
