//! `AuthenticationConfiguration` (`apiserver.config.k8s.io`): issuers of tokens, and who may come without any.

use std::collections::BTreeSet;

use api_cel::{Environment, Expected};
use api_machinery::{ErrorList, Path};
use serde::Deserialize;

use super::{ConfigError, check_expression, read, settle};
use crate::outbound;

const VERSIONS: &[&str] =
    &["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// Upstream's bound.
const MAX_ISSUERS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthenticationConfiguration {
    pub jwt: Vec<JwtAuthenticator>,
    pub anonymous: Option<Anonymous>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Anonymous {
    pub enabled: bool,
    pub conditions: Vec<AnonymousCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AnonymousCondition {
    pub path: String,
}

/// One issuer and what its tokens mean.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtAuthenticator {
    pub issuer: Issuer,
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    pub claim_mappings: ClaimMappings,
    pub user_validation_rules: Vec<UserValidationRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Issuer {
    pub url: String,
    /// Where the discovery document is, when not below the URL.
    #[serde(rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// PEM.
    pub certificate_authority: String,
    pub audiences: Vec<String>,
    audience_match_policy: String,
    egress_selector_type: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimValidationRule {
    pub claim: String,
    pub required_value: String,
    pub expression: Option<String>,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimMappings {
    pub username: PrefixedClaim,
    pub groups: PrefixedClaim,
    pub uid: Claim,
    pub extra: Vec<ExtraMapping>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PrefixedClaim {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Claim {
    pub claim: String,
    pub expression: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtraMapping {
    pub key: String,
    pub value_expression: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserValidationRule {
    pub expression: Option<String>,
    pub message: String,
}

/// The `--oidc-*` flags: one issuer.
#[derive(Clone, Debug, Default)]
pub struct LegacyIssuer {
    pub issuer_url: String,
    pub client_id: String,
    /// PEM.
    pub ca: String,
    pub username_claim: String,
    /// `-`: none; empty: the issuer's URL and `#`, except for the claim `email`.
    pub username_prefix: String,
    pub groups_claim: String,
    pub groups_prefix: String,
    /// Claim and value.
    pub required_claims: Vec<(String, String)>,
}

impl From<LegacyIssuer> for JwtAuthenticator {
    fn from(flags: LegacyIssuer) -> Self {
        let prefix = match flags.username_prefix.as_str() {
            "-" => String::new(),
            "" if flags.username_claim != "email" => format!("{}#", flags.issuer_url),
            own => own.to_owned(),
        };
        let groups = match flags.groups_claim.is_empty() {
            true => PrefixedClaim::default(),
            false => PrefixedClaim { claim: flags.groups_claim, prefix: Some(flags.groups_prefix), expression: None },
        };
        let rule = |(claim, required_value)| ClaimValidationRule { claim, required_value, ..Default::default() };
        Self {
            issuer: Issuer {
                url: flags.issuer_url,
                certificate_authority: flags.ca,
                audiences: vec![flags.client_id],
                ..Issuer::default()
            },
            claim_validation_rules: flags.required_claims.into_iter().map(rule).collect(),
            claim_mappings: ClaimMappings {
                username: PrefixedClaim { claim: flags.username_claim, prefix: Some(prefix), expression: None },
                groups,
                ..ClaimMappings::default()
            },
            user_validation_rules: Vec::new(),
        }
    }
}

impl AuthenticationConfiguration {
    /// Reads and checks a file's text. `own_issuer`: of ServiceAccount tokens, which nobody else may be.
    pub fn parse(text: &str, own_issuer: &str) -> Result<Self, ConfigError> {
        let config: Self = read(text, "AuthenticationConfiguration", VERSIONS)?;
        config.check(own_issuer)?;
        Ok(config)
    }

    /// Every bad field, in upstream's words.
    pub fn check(&self, own_issuer: &str) -> Result<(), ConfigError> {
        let mut errors = ErrorList::new();
        self.validate(own_issuer, &mut errors);
        settle(&errors)
    }

    fn validate(&self, own_issuer: &str, errors: &mut ErrorList) {
        let root = Path::new("jwt");
        if self.jwt.len() > MAX_ISSUERS {
            return errors.too_many(&root, self.jwt.len(), MAX_ISSUERS);
        }
        let (mut urls, mut discovery) = (BTreeSet::new(), BTreeSet::new());
        for (index, one) in self.jwt.iter().enumerate() {
            let path = root.index(index);
            one.validate(own_issuer, &path, errors);
            if !urls.insert(&one.issuer.url) {
                errors.duplicate(&path.child("issuer").child("url"), &one.issuer.url.as_str().into());
            }
            if let Some(url) = one.issuer.discovery_url.as_deref().filter(|url| !url.is_empty())
                && !discovery.insert(url)
            {
                errors.duplicate(&path.child("issuer").child("discoveryURL"), &url.into());
            }
        }
        if let Some(anonymous) = self.anonymous.as_ref().filter(|one| !one.enabled && !one.conditions.is_empty()) {
            let paths: Vec<&str> = anonymous.conditions.iter().map(|condition| condition.path.as_str()).collect();
            let detail = "enabled should be set to true when conditions are defined";
            errors.invalid(&Path::new("anonymous").child("conditions"), &paths.into(), detail);
        }
    }
}

impl JwtAuthenticator {
    fn validate(&self, own_issuer: &str, path: &Path, errors: &mut ErrorList) {
        self.issuer.validate(own_issuer, &path.child("issuer"), errors);
        self.validate_rules(&path.child("claimValidationRules"), errors);
        self.claim_mappings.validate(&path.child("claimMappings"), errors);
        self.validate_email(&path.child("claimMappings").child("username").child("expression"), errors);
        for (index, rule) in self.user_validation_rules.iter().enumerate() {
            let path = path.child("userValidationRules").index(index).child("expression");
            match rule.expression.as_deref().unwrap_or("") {
                "" => errors.required(&path, ""),
                _ => check_expression(
                    rule.expression.as_ref(),
                    (&Environment::user(), Expected::BoolAlone),
                    &path,
                    errors,
                ),
            }
        }
    }

    /// Whoever has not shown that an address is theirs must not be known by it.
    fn validate_email(&self, path: &Path, errors: &mut ErrorList) {
        const VERIFIED: &str = "claims.email_verified";
        let of_name = self.claim_mappings.username.expression.as_deref().unwrap_or("");
        if !of_name.replace(VERIFIED, "").contains("claims.email") {
            return;
        }
        let extra = self.claim_mappings.extra.iter().filter_map(|one| one.value_expression.as_deref());
        let rules = self.claim_validation_rules.iter().filter_map(|rule| rule.expression.as_deref());
        if !extra.chain(rules).chain([of_name]).any(|text| text.contains(VERIFIED)) {
            let detail = "claims.email_verified must be used in claimMappings.username.expression or \
                          claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email \
                          is used in claimMappings.username.expression";
            errors.invalid(path, &of_name.into(), detail);
        }
    }

    fn validate_rules(&self, path: &Path, errors: &mut ErrorList) {
        let mut seen = BTreeSet::new();
        for (index, rule) in self.claim_validation_rules.iter().enumerate() {
            let path = path.index(index);
            let expression = rule.expression.as_deref().unwrap_or("");
            match (rule.claim.is_empty(), expression.is_empty()) {
                (false, false) => {
                    errors.invalid(&path, &rule.claim.as_str().into(), "claim and expression can't both be set");
                }
                (true, true) => errors.required(&path, "claim or expression is required"),
                (true, false) => {
                    let wanted = (&Environment::claims(), Expected::BoolAlone);
                    check_expression(rule.expression.as_ref(), wanted, &path.child("expression"), errors);
                }
                (false, true) if !rule.message.is_empty() => {
                    let detail = "may not be specified when claim is set";
                    errors.invalid(&path.child("message"), &rule.message.as_str().into(), detail);
                }
                (false, true) => {}
            }
            if !rule.claim.is_empty() && !seen.insert(&rule.claim) {
                errors.duplicate(&path.child("claim"), &rule.claim.as_str().into());
            }
        }
    }
}

impl Issuer {
    fn validate(&self, own_issuer: &str, path: &Path, errors: &mut ErrorList) {
        let at = path.child("url");
        match self.url.as_str() {
            "" => errors.required(&at, ""),
            url => {
                if url == own_issuer {
                    let detail = format!("URL must not overlap with disallowed issuers: [{own_issuer}]");
                    errors.invalid(&at, &url.into(), &detail);
                }
                check_url(url, &at, errors);
            }
        }
        if let Some(url) = self.discovery_url.as_deref().filter(|url| !url.is_empty()) {
            let at = path.child("discoveryURL");
            if !self.url.is_empty() && url.trim_end_matches('/') == self.url.trim_end_matches('/') {
                errors.invalid(&at, &url.into(), "discoveryURL must be different from URL");
            }
            check_url(url, &at, errors);
        }
        self.validate_audiences(path, errors);
        if !self.certificate_authority.is_empty()
            && let Err(error) = outbound::roots(&self.certificate_authority)
        {
            errors.invalid(&path.child("certificateAuthority"), &"<omitted>".into(), &error.to_string());
        }
        if !self.egress_selector_type.is_empty() {
            let detail = "egress selectors are not supported by this server";
            errors.forbidden(&path.child("egressSelectorType"), detail);
        }
    }

    fn validate_audiences(&self, path: &Path, errors: &mut ErrorList) {
        let at = path.child("audiences");
        if self.audiences.is_empty() {
            return errors.required(&at, &format!("at least one {at} is required"));
        }
        let mut seen = BTreeSet::new();
        for (index, audience) in self.audiences.iter().enumerate() {
            if audience.is_empty() {
                errors.required(&at.index(index), "");
            }
            if !seen.insert(audience) {
                errors.duplicate(&at.index(index), &audience.as_str().into());
            }
        }
        let policy = self.audience_match_policy.as_str();
        let detail = match (self.audiences.len(), policy) {
            (_, "MatchAny") | (1, "") => return,
            (1, _) => "audienceMatchPolicy must be empty or MatchAny for single audience",
            _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
        };
        errors.invalid(&path.child("audienceMatchPolicy"), &policy.into(), detail);
    }
}

fn check_url(text: &str, path: &Path, errors: &mut ErrorList) {
    // What follows `#` is cut off before the rest is read, as every reader of URLs does.
    let (plain, fragment) = text.split_once('#').unwrap_or((text, ""));
    let Ok(uri) = plain.parse::<http::Uri>() else {
        return errors.invalid(path, &text.into(), "invalid URL");
    };
    let mut refuse = |bad: bool, detail: &str| {
        if bad {
            errors.invalid(path, &text.into(), detail);
        }
    };
    refuse(uri.scheme_str() != Some("https"), "URL scheme must be https");
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    refuse(has_user, "URL must not contain a username or password");
    refuse(uri.query().is_some_and(|query| !query.is_empty()), "URL must not contain a query");
    refuse(!fragment.is_empty(), "URL must not contain a fragment");
}

impl ClaimMappings {
    fn validate(&self, path: &Path, errors: &mut ErrorList) {
        self.username.validate(true, &path.child("username"), errors);
        self.groups.validate(false, &path.child("groups"), errors);
        let uid = path.child("uid");
        let expression = self.uid.expression.as_deref().unwrap_or("");
        match (self.uid.claim.is_empty(), expression.is_empty()) {
            (false, false) => errors.invalid(&uid, &"".into(), "claim and expression can't both be set"),
            _ => check_claims(self.uid.expression.as_ref(), &uid.child("expression"), errors),
        }
        for (index, mapping) in self.extra.iter().enumerate() {
            let path = path.child("extra").index(index);
            if mapping.key.is_empty() {
                errors.required(&path.child("key"), "");
            }
            match mapping.value_expression.as_deref().unwrap_or("") {
                "" => errors.required(&path.child("valueExpression"), ""),
                _ => check_claims(mapping.value_expression.as_ref(), &path.child("valueExpression"), errors),
            }
        }
    }
}

/// What a part of a user is made of: its type is known when there are claims.
fn check_claims(expression: Option<&String>, path: &Path, errors: &mut ErrorList) {
    check_expression(expression, (&Environment::claims(), Expected::Anything), path, errors);
}

impl PrefixedClaim {
    fn validate(&self, required: bool, path: &Path, errors: &mut ErrorList) {
        let expression = self.expression.as_deref().unwrap_or("");
        match (self.claim.is_empty(), expression.is_empty()) {
            (false, false) => errors.invalid(path, &"".into(), "claim and expression can't both be set"),
            (true, true) if required => errors.required(path, "claim or expression is required"),
            (true, false) if self.prefix.is_some() => {
                let prefix = self.prefix.as_deref().unwrap_or("");
                errors.invalid(&path.child("prefix"), &prefix.into(), "prefix can't be set when expression is set");
            }
            (true, false) => check_claims(self.expression.as_ref(), &path.child("expression"), errors),
            (false, true) if self.prefix.is_none() => {
                let detail =
                    "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.required(&path.child("prefix"), detail);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";

    fn read(body: &str) -> String {
        match AuthenticationConfiguration::parse(&format!("{HEAD}{body}"), "https://own") {
            Ok(_) => "good".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn files() {
        let jwt = |rest: &str| {
            format!(
                "jwt:\n- issuer: {{url: https://a, audiences: [k]}}\n  claimMappings: {{username: {{claim: sub, prefix: ''}}}}\n{rest}"
            )
        };
        let issuer = |issuer: &str| {
            format!("jwt:\n- issuer: {issuer}\n  claimMappings: {{username: {{claim: sub, prefix: ''}}}}\n")
        };
        let mapping =
            |mapping: &str| format!("jwt:\n- issuer: {{url: https://a, audiences: [k]}}\n  claimMappings: {mapping}\n");
        let mut out = String::new();
        for body in [
            String::new(),
            jwt(""),
            jwt(
                "  claimValidationRules: [{claim: hd, requiredValue: x}]\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n",
            ),
            "anonymous: {enabled: false, conditions: [{path: /livez}]}\n".to_owned(),
            jwt("  userValidationRules: [{expression: 'user.username.startsWith(\"x\")'}]\n"),
            jwt("  claimValidationRules: [{expression: 'claims.hd == \"x\"'}]\n"),
            jwt("  claimValidationRules: [{claim: a}, {claim: a}, {}]\n"),
            issuer("{url: 'http://u:p@a/?q#f', audiences: [k]}"),
            issuer("{url: https://own, audiences: []}"),
            issuer("{url: https://a, discoveryURL: https://a/, audiences: [k, l]}"),
            issuer("{url: https://a, audiences: [k, k], audienceMatchPolicy: MatchAny}"),
            issuer("{url: https://a, audiences: [k], audienceMatchPolicy: MatchAll, certificateAuthority: x}"),
            mapping("{username: {expression: claims.sub}}"),
            mapping("{username: {claim: sub}}"),
            mapping("{username: {claim: sub, prefix: ''}, extra: [{key: a/b, valueExpression: claims.x}]}"),
            mapping(
                "{username: {claim: sub, prefix: ''}, uid: {expression: claims.x}, groups: {expression: claims.g}}",
            ),
            "jwts: []\n".to_owned(),
        ] {
            out.push_str(&read(&body));
            out.push('\n');
        }
        expect![[r#"
            good
            good
            good
            anonymous.conditions: Invalid value: ["/livez"]: enabled should be set to true when conditions are defined
            good
            good
            [jwt[0].claimValidationRules[1].claim: Duplicate value: "a", jwt[0].claimValidationRules[2]: Required value: claim or expression is required]
            [jwt[0].issuer.url: Invalid value: "http://u:p@a/?q#f": URL scheme must be https, jwt[0].issuer.url: Invalid value: "http://u:p@a/?q#f": URL must not contain a username or password, jwt[0].issuer.url: Invalid value: "http://u:p@a/?q#f": URL must not contain a query, jwt[0].issuer.url: Invalid value: "http://u:p@a/?q#f": URL must not contain a fragment]
            [jwt[0].issuer.url: Invalid value: "https://own": URL must not overlap with disallowed issuers: [https://own], jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required]
            [jwt[0].issuer.discoveryURL: Invalid value: "https://a/": discoveryURL must be different from URL, jwt[0].issuer.audienceMatchPolicy: Invalid value: "": audienceMatchPolicy must be MatchAny for multiple audiences]
            jwt[0].issuer.audiences[1]: Duplicate value: "k"
            [jwt[0].issuer.audienceMatchPolicy: Invalid value: "MatchAll": audienceMatchPolicy must be empty or MatchAny for single audience, jwt[0].issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates]
            good
            jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing
            good
            good
            unknown field `jwts`, expected `jwt` or `anonymous`
        "#]].assert_eq(&out);
    }

    #[test]
    fn flags_are_one_issuer() {
        let flags = LegacyIssuer {
            issuer_url: "https://a".into(),
            client_id: "k".into(),
            username_claim: "sub".into(),
            groups_claim: "groups".into(),
            required_claims: vec![("hd".into(), "x".into())],
            ..LegacyIssuer::default()
        };
        let prefix = |flags: LegacyIssuer| JwtAuthenticator::from(flags).claim_mappings.username.prefix;
        assert_eq!(prefix(flags.clone()).as_deref(), Some("https://a#"));
        assert_eq!(prefix(LegacyIssuer { username_claim: "email".into(), ..flags.clone() }).as_deref(), Some(""));
        assert_eq!(prefix(LegacyIssuer { username_prefix: "-".into(), ..flags.clone() }).as_deref(), Some(""));
        assert_eq!(prefix(LegacyIssuer { username_prefix: "x:".into(), ..flags.clone() }).as_deref(), Some("x:"));
        let config = AuthenticationConfiguration { jwt: vec![flags.into()], anonymous: None };
        config.check("https://own").expect("is a good configuration");
        assert_eq!(config.jwt[0].claim_mappings.groups.prefix.as_deref(), Some(""));
    }
}
