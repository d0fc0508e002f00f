//! Puts together who authenticates and who authorizes, and exchanges what of it stands in a file that changes.

mod reload;

use std::path::Path;
use std::sync::Arc;

use api_auth::authn::oidc::{self, Oidc};
use api_auth::authn::request_header::FrontProxy;
use api_auth::authn::token_file::TokenFile;
use api_auth::authn::webhook::TokenWebhook;
use api_auth::authn::{
    self, Anonymous, Authenticator, bootstrap_token::BootstrapTokens, service_account::ServiceAccounts, x509::X509,
};
use api_auth::authz::node::NodeAuthorizer;
use api_auth::authz::rbac::Rbac;
use api_auth::authz::set::{self, Parts};
use api_auth::authz::{Authorizer, Swappable};
use api_auth::config::authentication::AuthenticationConfiguration;
use api_auth::config::authorization::AuthorizationConfiguration;
use api_registry::Registry;
use tokio_util::sync::CancellationToken;

use super::client_certificates::Measured;
use super::objects::CachedObjects;
use crate::Failure;
use crate::access::Access;
use crate::config::ServerConfiguration;
use reload::Watched;

pub(super) struct Deciders {
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) front_proxy: Option<api_http::FrontProxyConfig>,
}

/// Reads every file that is named; a bad one keeps the replica from starting.
pub(super) fn deciders(
    config: &ServerConfiguration,
    registry: &Arc<Registry>,
    rbac: Arc<Rbac>,
    stop: &CancellationToken,
) -> Result<Deciders, Failure> {
    let access = &config.access;
    access.check_front_proxies(&config.pki_dir.join("ca.crt"))?;
    let objects: Arc<dyn api_auth::Objects> = Arc::new(CachedObjects(registry.clone()));
    let front_proxy = match &access.requestheader_client_ca_file {
        Some(ca) => Some(api_http::FrontProxyConfig { ca: ca.clone(), headers: access.request_headers()? }),
        None => None,
    };
    Ok(Deciders {
        authenticator: Arc::new(authenticator(config, registry, &objects, stop)?),
        authorizer: Arc::new(authorizer(config, objects, rbac, stop)?),
        front_proxy,
    })
}

fn authenticator(
    config: &ServerConfiguration,
    registry: &Arc<Registry>,
    objects: &Arc<dyn api_auth::Objects>,
    stop: &CancellationToken,
) -> Result<authn::Union, Failure> {
    let access = &config.access;
    let tokens = registry.config.tokens.clone();
    // In upstream's order.
    let mut methods: Vec<Box<dyn Authenticator>> = vec![Box::new(FrontProxy), Box::new(Measured::new(X509))];
    if let Some(file) = &access.token_auth_file {
        methods.push(Box::new(TokenFile::load(file)?));
    }
    methods.push(Box::new(ServiceAccounts { issuer: tokens.clone(), objects: objects.clone(), now: crate::now }));
    methods.push(Box::new(BootstrapTokens { objects: objects.clone(), now: crate::now }));
    let (issuers, anonymous) = issuers(config, tokens.issuer(), stop)?;
    methods.extend(issuers.map(|issuers| Box::new(issuers) as Box<dyn Authenticator>));
    if let Some(file) = &access.authentication_token_webhook_config_file {
        let (version, ttl) = (access.webhook_version()?, access.webhook_cache_ttl());
        methods.push(Box::new(TokenWebhook::load(file, version, ttl, tokens.api_audiences().to_vec())?));
    }
    Ok(authn::Union { methods, anonymous })
}

/// Issuers of ID tokens, by file or by flags, and who may come without any token.
fn issuers(
    config: &ServerConfiguration,
    own_issuer: &str,
    stop: &CancellationToken,
) -> Result<(Option<Arc<Oidc>>, Anonymous), Failure> {
    let access = &config.access;
    let by_flags = access.legacy_issuer()?;
    let enabled = access.anonymous_auth.unwrap_or(true);
    let Some(file) = &access.authentication_config else {
        let anonymous = Anonymous { enabled, paths: Vec::new() };
        let Some((issuer, algorithms)) = by_flags else { return Ok((None, anonymous)) };
        let config = AuthenticationConfiguration { jwt: vec![issuer.into()], anonymous: None };
        config.check(own_issuer)?;
        let algorithms = algorithms.iter().map(|name| algorithm(name)).collect::<Result<Vec<_>, _>>()?;
        return Ok((Some(start(Oidc::new(&config.jwt, &algorithms, crate::now)?)), anonymous));
    };
    let text = read(file)?;
    let first = AuthenticationConfiguration::parse(&text, own_issuer).map_err(|error| named(file, &error))?;
    if by_flags.is_some() && !first.jwt.is_empty() {
        return Err("authentication-config and oidc-* flags are mutually exclusive".into());
    }
    let anonymous = anonymous(&first, access)?;
    let issuers = start(Oidc::new(&first.jwt, &oidc::ALGORITHMS, crate::now)?);
    let watched = Watched::new("authentication", config.id, file, text);
    let (exchanged, own_issuer, before) = (issuers.clone(), own_issuer.to_owned(), first.anonymous);
    reload::follow(watched, stop.clone(), move |text| {
        let config = AuthenticationConfiguration::parse(text, &own_issuer)?;
        if config.anonymous != before {
            return Err("anonymous: Forbidden: changed from initial configuration file".into());
        }
        exchanged.exchange(&config.jwt, &oidc::ALGORITHMS)?;
        let fetching = exchanged.clone();
        tokio::spawn(async move { fetching.warm().await });
        Ok(())
    });
    Ok((Some(issuers), anonymous))
}

/// The first keys are fetched while nobody waits for them.
fn start(issuers: Oidc) -> Arc<Oidc> {
    let issuers = Arc::new(issuers);
    let fetching = issuers.clone();
    tokio::spawn(async move { fetching.warm().await });
    issuers
}

fn anonymous(config: &AuthenticationConfiguration, access: &Access) -> Result<Anonymous, Failure> {
    match (&config.anonymous, access.anonymous_auth) {
        (Some(_), Some(_)) => Err("anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is \
                                   configured in authentication configuration file"
            .into()),
        (Some(own), None) => {
            let paths = own.conditions.iter().map(|condition| condition.path.clone()).collect();
            Ok(Anonymous { enabled: own.enabled, paths })
        }
        (None, flag) => Ok(Anonymous { enabled: flag.unwrap_or(true), paths: Vec::new() }),
    }
}

/// An algorithm that a flag names.
fn algorithm(name: &str) -> Result<oidc::Algorithm, Failure> {
    let known = oidc::ALGORITHMS.into_iter().find(|known| format!("{known:?}") == name);
    known.ok_or_else(|| format!("oidc: unsupported signing alg: {name:?}").into())
}

fn authorizer(
    config: &ServerConfiguration,
    objects: Arc<dyn api_auth::Objects>,
    rbac: Arc<Rbac>,
    stop: &CancellationToken,
) -> Result<Arc<Swappable>, Failure> {
    let parts = Parts { node: Arc::new(NodeAuthorizer::new(objects)), rbac };
    let Some(file) = &config.access.authorization_config else {
        return Ok(Arc::new(Swappable::new(set::build(&AuthorizationConfiguration::standard(), &parts)?)));
    };
    let text = read(file)?;
    let first = AuthorizationConfiguration::parse(&text).map_err(|error| named(file, &error))?;
    let authorizers = Arc::new(Swappable::new(set::build(&first, &parts)?));
    let watched = Watched::new("authorization", config.id, file, text);
    let exchanged = authorizers.clone();
    reload::follow(watched, stop.clone(), move |text| {
        let config = AuthorizationConfiguration::parse(text)?;
        if config.fixed_types() != first.fixed_types() {
            let (wanted, found) = (first.fixed_types(), config.fixed_types());
            return Err(format!("authorizers of the types {wanted:?} are expected, found {found:?}").into());
        }
        exchanged.0.store(Arc::new(set::build(&config, &parts)?));
        Ok(())
    });
    Ok(authorizers)
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| named(file, &error))
}

fn named(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    format!("{}: {error}", file.display()).into()
}
