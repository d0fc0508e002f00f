//! Which values are sealed, and how: the rules of a configuration, in order.

use std::sync::Arc;

use api_machinery::{GroupResource, ObjectKey};

use crate::cipher::{Cipher, Entropy};
use crate::config::{self, ConfigError, PluginAddress};
use crate::kms::{self, KeyPlugin, Kms, Wrapped};

/// How a plugin is reached.
pub type Connect<'a> = &'a (dyn Fn(&PluginAddress) -> Arc<dyn KeyPlugin> + Send + Sync);

/// What every sealed value begins with; no JSON does.
const SEALED: &[u8] = b"k8s:enc:";

/// A value that no key at hand opens. The text is upstream's, without anything of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to transform key {key:?}: {why}")]
pub struct Unreadable {
    pub key: String,
    pub why: &'static str,
}

/// Resources a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    One(GroupResource),
    /// `*.GROUP`; `*.` is the core group.
    Group(String),
    /// `*.*`
    All,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
        };
        if text == "*.*" {
            return Some(Self::All);
        }
        if let Some(group) = text.strip_prefix("*.") {
            return plain(group).then(|| Self::Group(group.to_owned()));
        }
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        (!resource.is_empty() && plain(text)).then(|| Self::One(GroupResource::new(group, resource)))
    }

    fn matches(&self, resource: &GroupResource) -> bool {
        match self {
            Self::One(own) => own == resource,
            Self::Group(group) => *resource.group == **group,
            Self::All => true,
        }
    }

    /// Whether everything of the other is of this one already.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (own, Self::One(resource)) => own.matches(resource),
            (own, other) => own == other,
        }
    }
}

/// One key, or none.
pub(crate) struct Provider {
    /// Empty for values as they are.
    pub(crate) prefix: Vec<u8>,
    pub(crate) cipher: Cipher,
}

/// The first provider writes, all read.
pub(crate) struct Rule {
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) providers: Vec<Provider>,
}

/// A configuration that is in force.
pub struct Transformers {
    rules: Vec<Rule>,
}

/// A value as it is outside the store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) plain: Vec<u8>,
    /// It would be sealed otherwise today.
    pub(crate) stale: bool,
}

impl Transformers {
    /// Reads a configuration.
    pub fn parse(text: &str, connect: Connect<'_>) -> Result<Self, ConfigError> {
        Ok(Self { rules: config::parse(text, connect)? })
    }

    fn plugins(&self) -> impl Iterator<Item = &Arc<Kms>> {
        let providers = self.rules.iter().flat_map(|rule| &rule.providers);
        providers.filter_map(|provider| match &provider.cipher {
            Cipher::Managed(kms) => Some(kms),
            _ => None,
        })
    }

    /// Has every plugin make a seed, and looks after it from then on. A plugin that does not answer is asked again:
    /// until then nothing can be written with it.
    pub async fn start(&self) {
        for kms in self.plugins() {
            if let Err(error) = kms.refresh().await {
                tracing::error!(error, "a key management plugin does not answer yet");
            }
            tokio::spawn(kms::keep(Arc::downgrade(kms)));
        }
    }

    /// The plugin to ask before a value can be opened, and for what.
    pub(crate) fn missing(&self, key: &[u8], stored: &[u8]) -> Option<(&Arc<Kms>, Wrapped)> {
        if !stored.starts_with(SEALED) {
            return None;
        }
        self.rule(key)?.providers.iter().find_map(|provider| match &provider.cipher {
            Cipher::Managed(kms) => Some((kms, kms.missing(stored.strip_prefix(&provider.prefix[..])?)?)),
            _ => None,
        })
    }

    fn rule(&self, key: &[u8]) -> Option<&Rule> {
        let key = std::str::from_utf8(key).ok().and_then(ObjectKey::from_store_key)?;
        self.rules.iter().find(|rule| rule.patterns.iter().any(|pattern| pattern.matches(&key.resource)))
    }

    /// Whether some rule is about this key of the store.
    pub(crate) fn concerns(&self, key: &[u8]) -> bool {
        self.rule(key).is_some()
    }

    /// `None`: the value goes as it is.
    pub(crate) fn seal(&self, key: &[u8], plain: &[u8], entropy: &Entropy) -> Option<Result<Vec<u8>, Unreadable>> {
        let first = self.rule(key)?.providers.first()?;
        if first.prefix.is_empty() {
            return None;
        }
        let sealed = first.cipher.seal(plain, key, entropy);
        let whole = sealed.map(|sealed| [&first.prefix[..], &sealed].concat());
        Some(whole.map_err(|_| unreadable(key, "the value could not be encrypted")))
    }

    /// `None`: the value is as it is, and should be.
    pub(crate) fn open(&self, key: &[u8], stored: &[u8]) -> Option<Result<Opened, Unreadable>> {
        let providers = self.rule(key).map_or(&[][..], |rule| &rule.providers);
        if !stored.starts_with(SEALED) {
            return self.open_plain(key, stored, providers);
        }
        let mut tried = false;
        for (index, provider) in providers.iter().enumerate().filter(|(_, one)| !one.prefix.is_empty()) {
            let Some(sealed) = stored.strip_prefix(&provider.prefix[..]) else { continue };
            tried = true;
            if let Ok(plain) = provider.cipher.open(sealed, key) {
                return Some(Ok(Opened { plain, stale: index != 0 || provider.cipher.is_old(sealed) }));
            }
        }
        let why = match (tried, providers.is_empty()) {
            (true, _) => "the value does not open with its key",
            (false, true) => "identity transformer tried to read encrypted data",
            (false, false) => "no matching prefix found",
        };
        Some(Err(unreadable(key, why)))
    }

    /// A value that was never sealed: read only where the configuration says so.
    fn open_plain(&self, key: &[u8], stored: &[u8], providers: &[Provider]) -> Option<Result<Opened, Unreadable>> {
        match providers.iter().position(|provider| provider.prefix.is_empty()) {
            _ if providers.is_empty() => None,
            Some(0) => None,
            Some(_) => Some(Ok(Opened { plain: stored.to_vec(), stale: true })),
            None => Some(Err(unreadable(key, "no matching prefix found"))),
        }
    }
}

fn unreadable(key: &[u8], why: &'static str) -> Unreadable {
    Unreadable { key: String::from_utf8_lossy(key).into_owned(), why }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two keys of 32 bytes.
    const SECRETS: [&str; 2] =
        ["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="];

    pub(crate) fn no_plugin(_address: &PluginAddress) -> Arc<dyn KeyPlugin> {
        panic!("no plugin is named")
    }

    /// Secrets under providers like `aesgcm/0`; `identity` is one too.
    pub(crate) fn secrets_under(providers: &[&str]) -> Transformers {
        let one = |text: &&str| match text.split_once('/') {
            None => "{identity: {}}".to_owned(),
            Some((kind, number)) => {
                let secret = SECRETS[number.parse::<usize>().expect("a number")];
                format!("{{{kind}: {{keys: [{{name: key{number}, secret: {secret}}}]}}}}")
            }
        };
        let providers: Vec<String> = providers.iter().map(one).collect();
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
             - resources: [secrets]\n  providers: [{}]\n",
            providers.join(", ")
        );
        Transformers::parse(&text, &no_plugin).expect("a configuration")
    }

    const KEY: &[u8] = b"/registry/core/secrets/default/a";
    const OTHER: &[u8] = b"/registry/core/secrets/default/b";

    fn sealed(transformers: &Transformers) -> Vec<u8> {
        transformers.seal(KEY, b"{}", &[3; 24]).expect("a rule").expect("sealed")
    }

    fn why(opened: Option<Result<Opened, Unreadable>>) -> &'static str {
        opened.expect("a rule").expect_err("unreadable").why
    }

    #[test]
    fn the_first_writes_and_all_read() {
        let old = secrets_under(&["aesgcm/0", "identity"]);
        let new = secrets_under(&["secretbox/1", "aesgcm/0", "identity"]);
        let written = sealed(&old);
        assert!(written.starts_with(b"k8s:enc:aesgcm:v1:key0:"));
        let plain = |stale| Some(Ok(Opened { plain: b"{}".to_vec(), stale }));
        assert_eq!(old.open(KEY, &written), plain(false));
        assert_eq!(new.open(KEY, &written), plain(true), "to be written again");
        assert_eq!(new.open(KEY, b"{}"), plain(true), "as it was before there was encryption");
        assert_eq!(new.open(KEY, &sealed(&new)), plain(false));
        assert_eq!(new.open(b"/registry/core/pods/default/a", b"{}"), None, "none of its business");
        assert!(new.seal(b"/registry/core/pods/default/a", b"{}", &[3; 24]).is_none());
    }

    #[test]
    fn what_does_not_open_is_said_to_be_unreadable() {
        let gcm = secrets_under(&["aesgcm/0"]);
        let written = sealed(&gcm);
        assert_eq!(why(gcm.open(OTHER, &written)), "the value does not open with its key", "moved");
        assert_eq!(why(gcm.open(KEY, &written[..written.len() - 1])), "the value does not open with its key", "cut");
        assert_eq!(why(secrets_under(&["aesgcm/1"]).open(KEY, &written)), "no matching prefix found", "another key");
        assert_eq!(why(secrets_under(&["identity"]).open(KEY, &written)), "no matching prefix found");
        assert_eq!(why(gcm.open(KEY, b"{}")), "no matching prefix found", "nothing unsealed is trusted");
        let pods = b"/registry/core/pods/default/a";
        assert_eq!(why(gcm.open(pods, &written)), "identity transformer tried to read encrypted data");
        // A key of the same name with another secret.
        let renamed = Transformers::parse(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
             - resources: [secrets]\n  providers: [{aesgcm: {keys: [{name: key0, \
             secret: ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=}]}}]\n",
            &no_plugin,
        );
        assert_eq!(why(renamed.expect("fine").open(KEY, &written)), "the value does not open with its key");
    }

    #[test]
    fn patterns_are_upstreams() {
        let resource = |text: &str| match Pattern::parse(text).expect("a pattern") {
            Pattern::One(resource) => resource,
            other => panic!("{other:?}"),
        };
        let matches = |pattern: &str, text: &str| Pattern::parse(pattern).expect("one").matches(&resource(text));
        assert!(matches("*.*", "deployments.apps") && matches("*.apps", "deployments.apps") && matches("*.", "pods"));
        assert!(!matches("*.", "deployments.apps") && !matches("*.apps", "pods") && !matches("pods", "pods.x"));
        assert_eq!((Pattern::parse("*"), Pattern::parse(""), Pattern::parse("Pods")), (None, None, None));
        let covers =
            |one: &str, other: &str| Pattern::parse(one).expect("one").covers(&Pattern::parse(other).expect("one"));
        assert!(covers("*.*", "*.apps") && covers("*.apps", "deployments.apps") && covers("pods", "pods"));
        assert!(!covers("deployments.apps", "*.apps"), "what is said first of one is kept");
    }
}
