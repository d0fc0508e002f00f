//! Join tokens: `ID.SECRET` bootstrap tokens as kubeadm's, with the CA hash to check the server by:
//! `abcdef.0123456789abcdef:sha256:<hex>`.

use rand::Rng;

/// What `--token` carries.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Six characters `[a-z0-9]`.
    pub id: String,
    /// Sixteen characters `[a-z0-9]`.
    pub secret: String,
    /// `sha256:<hex>` of the CA's public key.
    pub ca_hash: String,
}

/// The secret stays out of logs.
impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinToken({}.***)", self.id)
    }
}

const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

impl JoinToken {
    pub fn generate(ca_hash: &str) -> Self {
        Self { id: random(ID_LENGTH), secret: random(SECRET_LENGTH), ca_hash: ca_hash.to_owned() }
    }

    /// The error says what a token looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || "a join token looks like abcdef.0123456789abcdef:sha256:<64 hex digits>".to_owned();
        let (bearer, ca_hash) = text.trim().split_once(':').ok_or_else(bad)?;
        let (id, secret) = bearer.split_once('.').ok_or_else(bad)?;
        let digits = ca_hash.strip_prefix("sha256:").ok_or_else(bad)?;
        let plain = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let is_hash = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !plain(id, ID_LENGTH) || !plain(secret, SECRET_LENGTH) || !is_hash {
            return Err(bad());
        }
        Ok(Self { id: id.to_owned(), secret: secret.to_owned(), ca_hash: ca_hash.to_lowercase() })
    }

    /// `ID.SECRET`, what is sent as bearer token.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

#[expect(clippy::disallowed_methods, reason = "a secret comes from the operating system's randomness")]
fn random(length: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

impl std::fmt::Display for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}:{}", self.id, self.secret, self.ca_hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let token = JoinToken::generate(&format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(JoinToken::parse(&token.to_string()), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&token.secret));
    }

    #[test]
    fn refuses_what_is_not_a_token() {
        let hash = format!("sha256:{}", "0".repeat(64));
        for bad in [
            "",
            "a.b:c",
            "abcdef.0123456789abcdef",
            &format!("ABCDEF.0123456789abcdef:{hash}"),
            &format!("abcdef.short:{hash}"),
            "abcdef.0123456789abcdef:sha256:zz",
        ] {
            assert!(JoinToken::parse(bad).is_err(), "{bad}");
        }
    }
}
