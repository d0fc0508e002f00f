//! `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, read and checked.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;

use crate::cipher::{Cipher, Failed};
use crate::kms::Kms;
use crate::transformers::{Connect, Pattern, Provider, Rule};

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the encryption configuration {path}")]
    Io {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// The text never names a key's secret.
    #[error("the encryption configuration is not valid: {0}")]
    Invalid(String),
}

fn invalid<T>(why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(why.into()))
}

// No `Debug`: secrets are in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<Choice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<Keys>,
    identity: Option<Nothing>,
    kms: Option<Plugin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    endpoint: String,
    /// Only of v1.
    cachesize: Option<i64>,
    timeout: Option<String>,
}

/// Where a plugin listens, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginAddress {
    pub socket: PathBuf,
    pub timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    #[serde(default)]
    name: String,
    /// Base64.
    #[serde(default)]
    secret: String,
}

const API_VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";

/// The rules of a YAML or JSON text, in order.
pub(crate) fn parse(text: &str, connect: Connect<'_>) -> Result<Vec<Rule>, ConfigError> {
    // The parser's message may quote the text: it is not shown.
    let document: Result<Document, _> = serde_saphyr::from_str(text);
    let Ok(document) = document else { return invalid(format!("it is not a {KIND} in YAML")) };
    if document.api_version != API_VERSION || document.kind != KIND {
        return invalid(format!("expected apiVersion {API_VERSION}, kind {KIND}"));
    }
    if document.resources.is_empty() {
        return invalid("resources: Required value: at least one resource must be defined");
    }
    let mut seen: Vec<(String, Pattern)> = Vec::new();
    document.resources.into_iter().enumerate().map(|(index, entry)| rule(index, entry, &mut seen, connect)).collect()
}

fn rule(
    index: usize,
    entry: Entry,
    seen: &mut Vec<(String, Pattern)>,
    connect: Connect<'_>,
) -> Result<Rule, ConfigError> {
    let at = format!("resources[{index}]");
    if entry.resources.is_empty() {
        return invalid(format!("{at}.resources: Required value"));
    }
    if entry.providers.is_empty() {
        return invalid(format!("{at}.providers: Required value"));
    }
    let mut patterns = Vec::new();
    for text in entry.resources {
        let Some(pattern) = Pattern::parse(&text) else {
            return invalid(format!(
                "{at}.resources: {text:?} is not a resource: write it as RESOURCE or RESOURCE.GROUP"
            ));
        };
        if let Some((earlier, _)) = seen.iter().find(|(_, earlier)| earlier.covers(&pattern)) {
            return invalid(format!("{at}.resources: {text:?} is masked by the earlier {earlier:?}"));
        }
        seen.push((text, pattern.clone()));
        patterns.push(pattern);
    }
    let mut providers = Vec::new();
    let mut names = HashSet::new();
    for (number, choice) in entry.providers.into_iter().enumerate() {
        add(&format!("{at}.providers[{number}]"), choice, connect, &mut names, &mut providers)?;
    }
    Ok(Rule { patterns, providers })
}

type MakeCipher = fn(&[u8]) -> Result<Cipher, Failed>;

fn add(
    at: &str,
    choice: Choice,
    connect: Connect<'_>,
    names: &mut HashSet<String>,
    providers: &mut Vec<Provider>,
) -> Result<(), ConfigError> {
    let keyed: [(&str, Option<Keys>, MakeCipher); 3] = [
        ("aesgcm", choice.aesgcm, Cipher::aes_gcm),
        ("aescbc", choice.aescbc, Cipher::aes_cbc),
        ("secretbox", choice.secretbox, Cipher::secretbox),
    ];
    let given = keyed.iter().filter(|(_, keys, _)| keys.is_some()).count()
        + usize::from(choice.identity.is_some())
        + usize::from(choice.kms.is_some());
    if given != 1 {
        return invalid(format!("{at}: exactly one provider must be given"));
    }
    for (kind, keys, make) in keyed {
        let Some(keys) = keys else { continue };
        if keys.keys.is_empty() {
            return invalid(format!("{at}.{kind}.keys: Required value"));
        }
        for key in keys.keys {
            providers.push(provider(at, kind, key, make, names)?);
        }
    }
    if let Some(plugin) = choice.kms {
        providers.push(managed(at, plugin, connect, names)?);
    }
    if choice.identity.is_some() {
        providers.push(Provider { prefix: Vec::new(), cipher: Cipher::Identity });
    }
    Ok(())
}

fn managed(
    at: &str,
    plugin: Plugin,
    connect: Connect<'_>,
    names: &mut HashSet<String>,
) -> Result<Provider, ConfigError> {
    let Plugin { api_version, name, endpoint, cachesize, timeout } = plugin;
    if api_version != "v2" {
        return invalid(format!("{at}.kms.apiVersion: only v2 is supported"));
    }
    if cachesize.is_some() {
        return invalid(format!("{at}.kms.cachesize: cachesize is not supported in v2"));
    }
    if name.is_empty() || name.contains(':') || !names.insert(format!("kms:{name}")) {
        return invalid(format!("{at}.kms.name: a plugin needs a name of its own, without colons"));
    }
    let Some(socket) = endpoint.strip_prefix("unix://").filter(|path| path.starts_with('/')) else {
        return invalid(format!("{at}.kms.endpoint: must be unix:///PATH"));
    };
    let Some(timeout) = timeout.as_deref().map_or(Some(PLUGIN_TIMEOUT), duration) else {
        return invalid(format!("{at}.kms.timeout: must be a positive duration, like 3s"));
    };
    let plugin = connect(&PluginAddress { socket: socket.into(), timeout });
    let prefix = format!("k8s:enc:kms:v2:{name}:").into_bytes();
    Ok(Provider { prefix, cipher: Cipher::Managed(Kms::new(&name, plugin)) })
}

/// Upstream's default.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Seconds or milliseconds, as Go writes them.
fn duration(text: &str) -> Option<Duration> {
    let found = match text.strip_suffix("ms") {
        Some(number) => Duration::from_millis(number.parse().ok()?),
        None => Duration::from_secs(text.strip_suffix('s')?.parse().ok()?),
    };
    (!found.is_zero()).then_some(found)
}

fn provider(
    at: &str,
    kind: &str,
    key: Key,
    make: MakeCipher,
    names: &mut HashSet<String>,
) -> Result<Provider, ConfigError> {
    let name = key.name;
    if name.is_empty() || name.contains(':') {
        return invalid(format!("{at}.{kind}.keys: a key needs a name without colons"));
    }
    if !names.insert(format!("{kind}:{name}")) {
        return invalid(format!("{at}.{kind}.keys: the name {name:?} is there twice"));
    }
    let Ok(secret) = base64::engine::general_purpose::STANDARD.decode(&key.secret) else {
        return invalid(format!("{at}.{kind}.keys: the secret of {name:?} must be base64 encoded"));
    };
    let Ok(cipher) = make(&secret) else {
        let lengths = if kind == "secretbox" { "32" } else { "16, 24, 32" };
        return invalid(format!("{at}.{kind}.keys: the secret of {name:?} is not of the expected length {lengths}"));
    };
    Ok(Provider { prefix: format!("k8s:enc:{kind}:v1:{name}:").into_bytes(), cipher })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
    /// 32 bytes.
    const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn parsed(text: &str) -> Result<Vec<Rule>, ConfigError> {
        parse(text, &|_| panic!("no plugin is named"))
    }

    fn error(body: &str) -> String {
        parsed(&format!("{HEAD}{body}")).err().expect("refused").to_string()
    }

    #[test]
    fn reads_upstreams_example() {
        let rules = parsed(&format!(
            "{HEAD}- resources: [secrets, configmaps, pandas.awesome.bears.example]
  providers:
  - identity: {{}}
  - aesgcm: {{keys: [{{name: key1, secret: {SECRET}}}, {{name: key2, secret: {SECRET}}}]}}
  - aescbc: {{keys: [{{name: key1, secret: {SECRET}}}]}}
  - secretbox: {{keys: [{{name: key1, secret: {SECRET}}}]}}
- resources: ['*.apps']
  providers: [{{secretbox: {{keys: [{{name: key2, secret: {SECRET}}}]}}}}]
"
        ))
        .expect("rules");
        let prefixes: Vec<_> =
            rules.iter().flat_map(|rule| &rule.providers).map(|own| String::from_utf8_lossy(&own.prefix)).collect();
        assert_eq!(
            prefixes,
            [
                "",
                "k8s:enc:aesgcm:v1:key1:",
                "k8s:enc:aesgcm:v1:key2:",
                "k8s:enc:aescbc:v1:key1:",
                "k8s:enc:secretbox:v1:key1:",
                "k8s:enc:secretbox:v1:key2:"
            ]
        );
    }

    #[test]
    fn says_what_is_wrong_and_never_a_secret() {
        let of = |providers: &str| format!("- resources: [secrets]\n  providers: [{providers}]\n");
        for (body, said) in [
            ("- resources: []\n  providers: [{identity: {}}]\n".to_owned(), "resources[0].resources: Required"),
            (of(""), "resources[0].providers: Required"),
            (of("{}"), "exactly one provider"),
            (of("{identity: {}, aesgcm: {keys: []}}"), "exactly one provider"),
            (of("{aesgcm: {keys: []}}"), "aesgcm.keys: Required"),
            (of("{aesgcm: {keys: [{name: a, secret: c2hvcnQ=}]}}"), "not of the expected length 16, 24, 32"),
            (of("{secretbox: {keys: [{name: a, secret: c2hvcnQ=}]}}"), "not of the expected length 32"),
            (of("{aesgcm: {keys: [{name: a, secret: '!'}]}}"), "must be base64"),
            (of(&format!("{{aesgcm: {{keys: [{{name: 'a:b', secret: {SECRET}}}]}}}}")), "without colons"),
            (
                of(&format!("{{aescbc: {{keys: [{{name: a, secret: {SECRET}}}, {{name: a, secret: {SECRET}}}]}}}}")),
                "\"a\" is there twice",
            ),
            (of("{kms: {name: a}}"), "kms.apiVersion: only v2"),
            (of("{kms: {apiVersion: v2, endpoint: 'unix:///x'}}"), "kms.name: a plugin needs a name"),
            (of("{kms: {apiVersion: v2, name: a, endpoint: /x}}"), "kms.endpoint: must be unix:///PATH"),
            (of("{kms: {apiVersion: v2, name: a, endpoint: 'unix:///x', timeout: 0s}}"), "kms.timeout"),
            (of("{kms: {apiVersion: v2, name: a, endpoint: 'unix:///x', cachesize: 5}}"), "not supported in v2"),
            (of("{odd: {}}"), "not a EncryptionConfiguration"),
            (
                "- resources: ['*.*', secrets]\n  providers: [{identity: {}}]\n".to_owned(),
                "masked by the earlier \"*.*\"",
            ),
            ("- resources: ['a/b']\n  providers: [{identity: {}}]\n".to_owned(), "is not a resource"),
        ] {
            let found = error(&body);
            assert!(found.contains(said), "{said}: {found}");
            assert!(!found.contains("MDEyMzQ1") && !found.contains("c2hvcnQ"), "{found}");
        }
        assert!(parsed("kind: x").is_err() && parsed(&format!("{}[]", HEAD.trim_end())).is_err());
    }
}
