//! Bootstrap tokens: `ID.SECRET`, kept in Secrets `kube-system/bootstrap-token-ID`.

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, UserInfo, Value, object};
use async_trait::async_trait;
use base64::Engine as _;
use jiff::Timestamp;

use super::{Authenticator, Credentials};
use crate::Objects;

pub struct BootstrapTokens {
    pub objects: Arc<dyn Objects>,
    pub now: fn() -> Timestamp,
}

/// Every bootstrap token's user is in this group.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";

#[async_trait]
impl Authenticator for BootstrapTokens {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let Some((id, secret)) = credentials.bearer_token.as_deref().and_then(split) else { return Ok(None) };
        let look = || {
            let name = format!("bootstrap-token-{id}");
            self.objects.get(&GroupResource::new("", "secrets"), "kube-system", &name)
        };
        let mut stored = look();
        if stored.is_none() {
            self.objects.refresh().await?;
            stored = look();
        }
        Ok(stored.and_then(|stored| user_of(&stored, id, secret, (self.now)())))
    }
}

/// `abcdef.0123456789abcdef`
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

fn user_of(stored: &Value, id: &str, secret: &str, now: Timestamp) -> Option<UserInfo> {
    let field = |name: &str| {
        let text = stored.get("data")?.get(name)?.as_str()?;
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).ok()?).ok()
    };
    if object::deletion_timestamp(stored).is_some() {
        return None;
    }
    let is_token = stored.get("type").and_then(Value::as_str) == Some("bootstrap.kubernetes.io/token");
    if !is_token || field("token-id")? != id || !same(field("token-secret")?.as_bytes(), secret.as_bytes()) {
        return None;
    }
    if field("usage-bootstrap-authentication").as_deref() != Some("true") {
        return None;
    }
    if let Some(expiration) = field("expiration")
        && api_machinery::time::parse(&expiration)? <= now
    {
        return None;
    }
    let mut groups = vec![BOOTSTRAPPERS.to_owned()];
    for group in field("auth-extra-groups").iter().flat_map(|extra| extra.split(',')).filter(|one| !one.is_empty()) {
        groups.push(group.to_owned());
        // A token that claims more than it may gives nothing.
        if !is_bootstrap_group(group) {
            return None;
        }
    }
    Some(UserInfo { name: format!("system:bootstrap:{id}"), groups, ..UserInfo::default() })
}

/// `system:bootstrappers:` and up to 256 of `a-z0-9:-`, the last no mark.
fn is_bootstrap_group(group: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let Some(rest) = group.strip_prefix(BOOTSTRAPPERS).and_then(|rest| rest.strip_prefix(':')) else { return false };
    rest.len() <= 256
        && rest.bytes().all(|byte| plain(byte) || matches!(byte, b':' | b'-'))
        && rest.bytes().last().is_some_and(plain)
}

/// Compares in a time that does not depend on where the bytes differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0u8, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(usage: &str, expiration: &str) -> Value {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        serde_json::json!({"type": "bootstrap.kubernetes.io/token", "data": {
            "token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"),
            "usage-bootstrap-authentication": encode(usage), "expiration": encode(expiration),
            "auth-extra-groups": encode("system:bootstrappers:agents"),
        }})
    }

    #[test]
    fn knows_good_tokens_only() {
        let now = "2026-11-22T00:00:00Z".parse().expect("time");
        let good = stored("true", "2026-11-23T00:00:00Z");
        let user = user_of(&good, "abcdef", "0123456789abcdef", now).expect("known");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:agents"]);
        assert_eq!(user_of(&good, "abcdef", "0123456789abcdex", now), None, "wrong secret");
        assert_eq!(user_of(&stored("false", "2026-11-23T00:00:00Z"), "abcdef", "0123456789abcdef", now), None);
        assert_eq!(user_of(&stored("true", "2026-11-21T00:00:00Z"), "abcdef", "0123456789abcdef", now), None);
        assert_eq!(user_of(&stored("true", "garbage"), "abcdef", "0123456789abcdef", now), None, "unreadable end");
        let mut greedy = good.clone();
        greedy["data"]["auth-extra-groups"] =
            base64::engine::general_purpose::STANDARD.encode("system:bootstrappers:agents,system:masters").into();
        assert_eq!(user_of(&greedy, "abcdef", "0123456789abcdef", now), None, "a group that no token may give");
        let mut deleted = good.clone();
        deleted["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z".into();
        assert_eq!(user_of(&deleted, "abcdef", "0123456789abcdef", now), None, "deleted");
        assert_eq!(split("ABCDEF.0123456789abcdef"), None);
    }
}
