//! Who is who and who may do what, as flags and as a section of the configuration file: upstream's flags of the
//! API server, under upstream's names.

use std::path::{Path, PathBuf};

use api_auth::authn::request_header::RequestHeaders;
use api_auth::authn::webhook::Version;
use api_auth::config::Duration;
use api_auth::config::authentication::LegacyIssuer;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// How long answers of a token webhook are kept: upstream's default.
const WEBHOOK_CACHE: Duration = Duration::seconds(120);

/// Every field is optional: what is not given is as upstream has it.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[command(next_help_heading = "Authentication and authorization")]
pub(crate) struct Access {
    /// AuthenticationConfiguration (apiserver.config.k8s.io): issuers of ID tokens, and where strangers may come in;
    /// read again when it changes
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authentication_config: Option<PathBuf>,
    /// Whether requests without credentials are let in as system:anonymous; they are by default
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) anonymous_auth: Option<bool>,
    /// CSV of tokens that never end: token, user, uid, "groups"; read at the start
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// Kubeconfig of a service that is sent TokenReviews for tokens that are not known here
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of those TokenReviews: v1 or v1beta1 (upstream's default)
    #[arg(long, value_name = "VERSION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authentication_token_webhook_version: Option<String>,
    /// How long its answers are kept; 2m by default
    #[arg(long, value_name = "DURATION")]
    #[serde(rename = "authenticationTokenWebhookCacheTTL", skip_serializing_if = "Option::is_none")]
    pub(crate) authentication_token_webhook_cache_ttl: Option<Duration>,
    /// CA of front proxies, who say in headers whom a request is from
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "requestheaderClientCAFile", skip_serializing_if = "Option::is_none")]
    pub(crate) requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of their certificates; any of that CA when none is given
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name; X-Remote-User by default
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) requestheader_username_headers: Vec<String>,
    /// Headers with the user's uid; X-Remote-Uid by default
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) requestheader_uid_headers: Vec<String>,
    /// Headers with groups; X-Remote-Group by default
    #[arg(long, value_name = "HEADERS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) requestheader_group_headers: Vec<String>,
    /// What headers with extra begin with; X-Remote-Extra- by default
    #[arg(long, value_name = "PREFIXES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) requestheader_extra_headers_prefix: Vec<String>,
    /// One issuer of ID tokens (https://...), where --authentication-config names none
    #[arg(long, value_name = "URL")]
    #[serde(rename = "oidcIssuerURL", skip_serializing_if = "Option::is_none")]
    pub(crate) oidc_issuer_url: Option<String>,
    /// Whom its tokens must be for
    #[arg(long, value_name = "ID")]
    #[serde(rename = "oidcClientID", skip_serializing_if = "Option::is_none")]
    pub(crate) oidc_client_id: Option<String>,
    /// CA of the issuer; the host's CAs by default
    #[arg(long, value_name = "FILE")]
    #[serde(rename = "oidcCAFile", skip_serializing_if = "Option::is_none")]
    pub(crate) oidc_ca_file: Option<PathBuf>,
    /// Claim with the user's name; sub by default
    #[arg(long, value_name = "CLAIM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oidc_username_claim: Option<String>,
    /// What names begin with; `-` for nothing, the issuer's URL and # by default
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oidc_username_prefix: Option<String>,
    /// Claim with the groups
    #[arg(long, value_name = "CLAIM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oidc_groups_claim: Option<String>,
    /// What groups begin with
    #[arg(long, value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oidc_groups_prefix: Option<String>,
    /// Algorithms of its signatures; RS256 by default
    #[arg(long, value_name = "ALGORITHMS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) oidc_signing_algs: Vec<String>,
    /// A claim that must be there, and its value (CLAIM=VALUE); may be repeated
    #[arg(long, value_name = "CLAIM=VALUE")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) oidc_required_claim: Vec<String>,
    /// AuthorizationConfiguration (apiserver.config.k8s.io): who is asked, in which order; Node and RBAC by default;
    /// read again when it changes
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authorization_config: Option<PathBuf>,
}

impl Access {
    /// Files by their whole path: another process, in another directory, reads them.
    pub(crate) fn absolute(mut self) -> Result<Self, Failure> {
        let files = [
            &mut self.authentication_config,
            &mut self.token_auth_file,
            &mut self.authentication_token_webhook_config_file,
            &mut self.requestheader_client_ca_file,
            &mut self.oidc_ca_file,
            &mut self.authorization_config,
        ];
        for file in files.into_iter().flatten() {
            *file = std::path::absolute(&*file)?;
        }
        Ok(self)
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn webhook_version(&self) -> Result<Version, Failure> {
        match self.authentication_token_webhook_version.as_deref() {
            None | Some("v1beta1") => Ok(Version::V1beta1),
            Some("v1") => Ok(Version::V1),
            Some(other) => Err(format!(
                "unsupported authentication webhook version {other:?}, supported versions are \"v1\", \"v1beta1\""
            )
            .into()),
        }
    }

    pub(crate) fn webhook_cache_ttl(&self) -> std::time::Duration {
        self.authentication_token_webhook_cache_ttl.unwrap_or(WEBHOOK_CACHE).0
    }

    /// Which headers name a user, with upstream's usual names.
    pub(crate) fn request_headers(&self) -> Result<RequestHeaders, Failure> {
        Ok(RequestHeaders {
            username: names(&self.requestheader_username_headers, "X-Remote-User")?,
            uid: names(&self.requestheader_uid_headers, "X-Remote-Uid")?,
            group: names(&self.requestheader_group_headers, "X-Remote-Group")?,
            extra_prefixes: names(&self.requestheader_extra_headers_prefix, "X-Remote-Extra-")?,
            allowed_names: self.requestheader_allowed_names.clone(),
        })
    }

    /// Whoever has a certificate of an ordinary client must not be taken for a front proxy.
    pub(crate) fn check_front_proxies(&self, client_ca: &Path) -> Result<(), Failure> {
        let Some(ca) = &self.requestheader_client_ca_file else { return Ok(()) };
        if !self.requestheader_allowed_names.is_empty() {
            return Ok(());
        }
        let clients = pki::authority::pem_certificates(&read(client_ca)?)?;
        let proxies = pki::authority::pem_certificates(&read(ca)?)?;
        if proxies.iter().any(|one| clients.contains(one)) {
            return Err("--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; \
                        --requestheader-allowed-names must be specified to ensure regular client certificates cannot \
                        set authenticating proxy headers for arbitrary users"
                .into());
        }
        Ok(())
    }

    /// The issuer that flags describe, and the algorithms it may sign with.
    pub(crate) fn legacy_issuer(&self) -> Result<Option<(LegacyIssuer, Vec<String>)>, Failure> {
        let (Some(url), Some(client)) = (&self.oidc_issuer_url, &self.oidc_client_id) else {
            return match (&self.oidc_issuer_url, &self.oidc_client_id) {
                (None, None) => Ok(None),
                _ => Err("oidc-issuer-url and oidc-client-id must be specified together".into()),
            };
        };
        let ca = self.oidc_ca_file.as_deref().map(read).transpose()?;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let required = self.oidc_required_claim.iter().map(|one| {
            let pair = one.split_once('=').map(|(claim, value)| (claim.to_owned(), value.to_owned()));
            pair.ok_or_else(|| format!("--oidc-required-claim {one:?} is not CLAIM=VALUE"))
        });
        let issuer = LegacyIssuer {
            issuer_url: url.clone(),
            client_id: client.clone(),
            ca: ca.unwrap_or_default(),
            username_claim: self.oidc_username_claim.clone().unwrap_or_else(|| "sub".to_owned()),
            username_prefix: text(&self.oidc_username_prefix),
            groups_claim: text(&self.oidc_groups_claim),
            groups_prefix: text(&self.oidc_groups_prefix),
            required_claims: required.collect::<Result<_, _>>()?,
        };
        let algorithms = match self.oidc_signing_algs.is_empty() {
            true => vec!["RS256".to_owned()],
            false => self.oidc_signing_algs.clone(),
        };
        Ok(Some((issuer, algorithms)))
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

fn names(given: &[String], usual: &str) -> Result<Vec<String>, Failure> {
    let trimmed: Vec<String> = given.iter().map(|name| name.trim().to_owned()).collect();
    match trimmed.iter().any(String::is_empty) {
        true => Err("empty header name among --requestheader-*".into()),
        false if trimmed.is_empty() => Ok(vec![usual.to_owned()]),
        false => Ok(trimmed),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::overlay;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        access: Access,
    }

    fn flags(line: &str) -> Access {
        Cli::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).expect("good flags").access
    }

    #[test]
    fn flags_go_over_the_file() {
        let file = "anonymousAuth: true\nrequestheaderAllowedNames: [a]\nauthenticationTokenWebhookCacheTTL: 1m\n";
        let file: Access = serde_saphyr::from_str(file).expect("a section");
        let over = |line: &str| overlay::over(&flags(line), &file).expect("merges");
        let both = over("--anonymous-auth=false --requestheader-allowed-names=b,c");
        assert_eq!(
            (both.anonymous_auth, both.requestheader_allowed_names),
            (Some(false), vec!["b".into(), "c".into()])
        );
        assert_eq!(both.authentication_token_webhook_cache_ttl, Some(Duration::seconds(60)));
        assert_eq!(over(""), file);
        let text = serde_saphyr::to_string(&file).expect("writes");
        assert_eq!(serde_saphyr::from_str::<Access>(&text).expect("reads"), file);
        assert_eq!(flags("").request_headers().expect("names").username, ["X-Remote-User"]);
        assert!(flags("--requestheader-uid-headers=a,").request_headers().is_err());
    }

    #[test]
    fn a22_a_shared_ca_needs_names() {
        let dir = tempfile::tempdir().expect("dir");
        let now = "2026-11-22T00:00:00Z".parse().expect("time");
        let file = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("writes");
            path
        };
        let authority =
            |name: &str| pki::authority::Authority::create(name, now).expect("a CA").certificate_pem().to_owned();
        let (one, two) = (authority("one"), authority("two"));
        let clients = file("clients", one.clone());
        let proxies = file("proxies", two.clone());
        let both = file("both", format!("{two}{one}"));
        let check = |ca: &Path, more: &str| {
            let line = format!("--requestheader-client-ca-file={} {more}", ca.display());
            flags(&line).check_front_proxies(&clients).is_ok()
        };
        assert!(check(&proxies, ""));
        assert!(!check(&clients, "") && !check(&both, ""));
        assert!(check(&clients, "--requestheader-allowed-names=front"));
    }

    #[test]
    fn one_issuer_by_flags() {
        assert!(flags("").legacy_issuer().expect("none").is_none());
        assert!(flags("--oidc-issuer-url=https://a").legacy_issuer().is_err());
        let line = "--oidc-issuer-url=https://a --oidc-client-id=k --oidc-required-claim=hd=x --oidc-username-prefix=-";
        let (issuer, algorithms) = flags(line).legacy_issuer().expect("good").expect("one");
        assert_eq!((issuer.username_claim.as_str(), issuer.username_prefix.as_str()), ("sub", "-"));
        assert_eq!((issuer.required_claims, algorithms), (vec![("hd".into(), "x".into())], vec!["RS256".to_owned()]));
    }
}
