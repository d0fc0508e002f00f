//! A file of tokens that never end: upstream's `--token-auth-file`, read once at the start. CSV: token, user, uid,
//! and optionally one quoted column of groups.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use api_machinery::{ApiError, UserInfo};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{Authenticator, Credentials};

/// A file larger than this is refused (bytes).
const MAX_BYTES: u64 = 4 << 20;

#[derive(Debug, Error)]
pub enum TokenFileError {
    #[error("cannot read token file {path}")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("token file '{path}' is larger than {MAX_BYTES} bytes")]
    TooLarge { path: String },
    #[error("token file '{path}' must have at least 3 columns (token, user name, user uid), found {found}")]
    Columns { path: String, found: usize },
    #[error("token file '{path}', line {line}: a quote is not closed, or stands within a field")]
    Quotes { path: String, line: usize },
}

/// Users by the hash of their token: comparing hashes takes no time that depends on a token, and none is held.
pub struct TokenFile {
    users: HashMap<[u8; 32], UserInfo>,
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenFile({} tokens)", self.users.len())
    }
}

impl TokenFile {
    pub fn load(path: &Path) -> Result<Self, TokenFileError> {
        let shown = path.display().to_string();
        let read = |source| TokenFileError::Read { path: shown.clone(), source };
        if std::fs::metadata(path).map_err(read)?.len() > MAX_BYTES {
            return Err(TokenFileError::TooLarge { path: shown });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse(&text, &shown)
    }

    /// A later line of a token counts more than an earlier one; a line without a token is skipped.
    fn parse(text: &str, path: &str) -> Result<Self, TokenFileError> {
        let mut users: HashMap<[u8; 32], UserInfo> = HashMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let line_number = index + 1;
            let quotes = || TokenFileError::Quotes { path: path.to_owned(), line: line_number };
            let record = fields(line).ok_or_else(quotes)?;
            let [token, name, uid, rest @ ..] = record.as_slice() else {
                return Err(TokenFileError::Columns { path: path.to_owned(), found: record.len() });
            };
            if token.is_empty() {
                tracing::warn!(path, line = line_number, "empty token has been found in token file");
                continue;
            }
            let groups: Vec<String> =
                rest.first().map_or_else(Vec::new, |groups| groups.split(',').map(str::to_owned).collect());
            let user = UserInfo { name: name.clone(), uid: uid.clone(), groups, ..UserInfo::default() };
            if users.insert(Sha256::digest(token).into(), user).is_some() {
                tracing::warn!(path, line = line_number, "duplicate token has been found in token file");
            }
        }
        Ok(Self { users })
    }
}

/// The fields of one line of CSV; `None` for quotes that do not match. A field does not go over lines: no name does.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let field = rest[..end].to_owned();
                (Some(field).filter(|field| !field.contains('"'))?, &rest[end..])
            }
        };
        out.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(out),
        }
    }
}

/// Up to the quote that ends it; two quotes are one.
fn quoted_field(mut rest: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Some((field, rest)),
        }
    }
}

#[async_trait]
impl Authenticator for TokenFile {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let Some(token) = credentials.bearer_token.as_deref() else { return Ok(None) };
        let hash: [u8; 32] = Sha256::digest(token).into();
        Ok(self.users.get(&hash).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tokens_of_a_file() {
        let text = "secret-1,ann,u1,\"dev,ops\"\nsecret-2,\"o\"\"neil\",u2\r\n\n,nobody,u3\nsecret-1,ann2,u4,dev\n";
        let file = TokenFile::parse(text, "f").expect("reads");
        assert_eq!(format!("{file:?}"), "TokenFile(2 tokens)");
        let who = async |token: &str| {
            let credentials = Credentials { bearer_token: Some(token.to_owned()), ..Credentials::default() };
            let user = file.authenticate(&credentials).await.expect("no error");
            user.map(|user| format!("{} {} {:?}", user.name, user.uid, user.groups))
        };
        assert_eq!(who("secret-1").await.as_deref(), Some(r#"ann2 u4 ["dev"]"#));
        assert_eq!(who("secret-2").await.as_deref(), Some(r#"o"neil u2 []"#));
        assert_eq!(who("secret-3").await, None);
        assert_eq!(who("").await, None);
    }

    #[test]
    fn files_that_say_something_else_are_refused() {
        for (text, why) in [
            ("t,ann", "token file 'f' must have at least 3 columns (token, user name, user uid), found 2"),
            ("t,\"ann,u1", "token file 'f', line 1: a quote is not closed, or stands within a field"),
            ("t,a\"nn,u1", "token file 'f', line 1: a quote is not closed, or stands within a field"),
        ] {
            assert_eq!(TokenFile::parse(text, "f").expect_err(text).to_string(), why);
        }
    }
}
