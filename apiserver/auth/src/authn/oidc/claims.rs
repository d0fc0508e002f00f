//! What the claims of an ID token mean. Pure.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use api_cel::{Expression, Subject};
use api_machinery::{UserInfo, Value};
use jiff::Timestamp;
use serde_json::json;

use super::Claims;
use crate::config::authentication::{JwtAuthenticator, PrefixedClaim};

/// `aud` is one audience or several; one of the wanted must be among them.
pub(super) fn check_audience(claims: &Claims, wanted: &[String]) -> Result<(), String> {
    let own: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    match own.iter().any(|own| wanted.iter().any(|wanted| wanted == own)) {
        true => Ok(()),
        false => Err(format!("expected audience in {wanted:?} got {own:?}")),
    }
}

/// Seconds since 1970, whole or not.
fn time(claims: &Claims, name: &str) -> Result<Option<i64>, String> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        #[expect(clippy::cast_possible_truncation, reason = "a fraction of a second does not matter, and it saturates")]
        Some(value) => match value.as_f64() {
            Some(seconds) => Ok(Some(seconds as i64)),
            None => Err(format!("claim {name} is not a time")),
        },
    }
}

/// `exp` must be there.
pub(super) fn check_times(claims: &Claims, now: Timestamp, early_seconds: i64) -> Result<(), String> {
    let now = now.as_second();
    if time(claims, "exp")?.is_none_or(|end| end < now) {
        return Err("token is expired".to_owned());
    }
    match time(claims, "nbf")? {
        Some(start) if start > now.saturating_add(early_seconds) => {
            Err("current time is before the nbf (not before) time".to_owned())
        }
        _ => Ok(()),
    }
}

/// What a configuration says by expressions.
pub(super) struct Expressions {
    name: Option<Expression>,
    groups: Option<Expression>,
    uid: Option<Expression>,
    /// Key and values.
    extra: Vec<(String, Expression)>,
    claim_rules: Vec<Rule>,
    user_rules: Vec<Rule>,
}

struct Rule {
    expression: Expression,
    /// Empty: its text says enough.
    message: String,
}

impl Rule {
    fn check(&self, subject: &Subject) -> Result<(), String> {
        match self.expression.holds(subject)? {
            true => Ok(()),
            false if self.message.is_empty() => {
                Err(format!("validation expression '{}' failed", self.expression.text()))
            }
            false => Err(format!("validation expression '{}' failed: {}", self.expression.text(), self.message)),
        }
    }
}

impl Expressions {
    pub(super) fn compile(config: &JwtAuthenticator) -> Result<Self, String> {
        let one = |text: &Option<String>| {
            let written = text.as_deref().filter(|text| !text.is_empty());
            written.map(Expression::compile).transpose()
        };
        let rule = |text: &Option<String>, message: &String| {
            Ok::<_, String>(one(text)?.map(|expression| Rule { expression, message: message.clone() }))
        };
        let mapping = &config.claim_mappings;
        let extra =
            mapping.extra.iter().map(|extra| Ok(one(&extra.value_expression)?.map(|it| (extra.key.clone(), it))));
        let claim_rules = config.claim_validation_rules.iter().map(|it| rule(&it.expression, &it.message));
        let user_rules = config.user_validation_rules.iter().map(|it| rule(&it.expression, &it.message));
        Ok(Self {
            name: one(&mapping.username.expression)?,
            groups: one(&mapping.groups.expression)?,
            uid: one(&mapping.uid.expression)?,
            extra: extra.filter_map(Result::transpose).collect::<Result<_, String>>()?,
            claim_rules: claim_rules.filter_map(Result::transpose).collect::<Result<_, String>>()?,
            user_rules: user_rules.filter_map(Result::transpose).collect::<Result<_, String>>()?,
        })
    }
}

/// The user that claims name, when every rule holds.
pub(super) fn user(config: &JwtAuthenticator, by: &Expressions, claims: &Claims) -> Result<UserInfo, String> {
    let mapping = &config.claim_mappings;
    let subject = LazyCell::new(|| Subject::of("claims", claims));
    let name = match &by.name {
        Some(expression) => expression.string(&subject)?,
        None => username(&mapping.username, claims)?,
    };
    if name.is_empty() {
        return Err("the username is empty".to_owned());
    }
    let groups = match &by.groups {
        Some(expression) => expression.strings(&subject)?,
        None => groups(&mapping.groups, claims)?,
    };
    let uid = match (&by.uid, mapping.uid.claim.as_str()) {
        (Some(expression), _) => expression.string(&subject)?,
        (None, "") => String::new(),
        (None, claim) => text(claims, claim)?.to_owned(),
    };
    by.claim_rules.iter().try_for_each(|rule| rule.check(&subject))?;
    for rule in config.claim_validation_rules.iter().filter(|rule| !rule.claim.is_empty()) {
        if !claims.contains_key(&rule.claim) {
            return Err(format!("required claim {} not present in ID token", rule.claim));
        }
        if text(claims, &rule.claim)? != rule.required_value {
            return Err(format!("required claim {} value does not match", rule.claim));
        }
    }
    let mut extra = BTreeMap::new();
    if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
        extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("JTI={id}")]);
    }
    for (key, expression) in &by.extra {
        let values = expression.strings(&subject)?;
        if !values.is_empty() {
            extra.insert(key.clone(), values);
        }
    }
    if !by.user_rules.is_empty() {
        let seen = json!({"username": name, "uid": uid, "groups": groups, "extra": extra});
        let subject = Subject::new("user", &seen);
        by.user_rules.iter().try_for_each(|rule| rule.check(&subject))?;
    }
    Ok(UserInfo { name, uid, groups, extra })
}

fn text<'a>(claims: &'a Claims, name: &str) -> Result<&'a str, String> {
    match claims.get(name) {
        None => Err(format!("claim {name:?} is not present")),
        Some(value) => value.as_str().ok_or_else(|| format!("claim {name:?} is not text")),
    }
}

fn username(mapping: &PrefixedClaim, claims: &Claims) -> Result<String, String> {
    let name = text(claims, &mapping.claim)?;
    // Whoever has not shown that an address is theirs is not who has that address.
    if mapping.claim == "email" && claims.get("email_verified").is_some_and(|verified| *verified != true) {
        return Err("email not verified".to_owned());
    }
    Ok(prefixed(mapping, name))
}

fn prefixed(mapping: &PrefixedClaim, text: &str) -> String {
    format!("{}{text}", mapping.prefix.as_deref().unwrap_or(""))
}

/// A list, or one by itself.
fn groups(mapping: &PrefixedClaim, claims: &Claims) -> Result<Vec<String>, String> {
    let Some(value) = claims.get(&mapping.claim).filter(|_| !mapping.claim.is_empty()) else { return Ok(Vec::new()) };
    let bad = || format!("claim {:?} is neither text nor a list of texts", mapping.claim);
    let one = |value: &Value| value.as_str().map(|text| prefixed(mapping, text)).ok_or_else(bad);
    match value {
        Value::Array(all) => all.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::authentication::AuthenticationConfiguration;

    fn config(mappings: &str) -> JwtAuthenticator {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {{url: https://a, audiences: [k]}}\n{mappings}"
        );
        let config = AuthenticationConfiguration::parse(&text, "").expect("a configuration");
        config.jwt.into_iter().next().expect("an issuer")
    }

    fn user(config: &JwtAuthenticator, claims: &Claims) -> Result<UserInfo, String> {
        super::user(config, &Expressions::compile(config).expect("good expressions"), claims)
    }

    fn claims(value: Value) -> Claims {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn who_claims_name() {
        let full = config(
            "  claimValidationRules: [{claim: hd, requiredValue: x}]\n  claimMappings: {username: {claim: sub, prefix: 'o:'}, groups: {claim: roles, prefix: 'g:'}, uid: {claim: oid}}\n",
        );
        let good = json!({"sub": "ann", "roles": ["a", "b"], "oid": "u", "hd": "x", "jti": "1"});
        let found = user(&full, &claims(good.clone())).expect("a user");
        assert_eq!((found.name.as_str(), found.uid.as_str()), ("o:ann", "u"));
        assert_eq!(found.groups, ["g:a", "g:b"]);
        assert_eq!(found.extra["authentication.kubernetes.io/credential-id"], ["JTI=1"]);
        let with = |field: &str, value: Value| {
            let mut changed = good.clone();
            changed[field] = value;
            user(&full, &claims(changed))
        };
        assert_eq!(with("roles", "one".into()).expect("a user").groups, ["g:one"]);
        for (field, value) in [
            ("sub", json!(7)),
            ("roles", json!([1])),
            ("roles", Value::Null),
            ("oid", Value::Null),
            ("hd", json!("y")),
            ("hd", json!(["x"])),
        ] {
            assert!(with(field, value.clone()).is_err(), "{field} {value}");
        }
        let missing = user(&full, &claims(json!({"sub": "ann", "oid": "u"}))).expect_err("a rule");
        assert_eq!(missing, "required claim hd not present in ID token");
        let email = config("  claimMappings: {username: {claim: email, prefix: ''}}\n");
        for (verified, good) in
            [(None, true), (Some(json!(true)), true), (Some(json!(false)), false), (Some(json!("true")), false)]
        {
            let mut own = json!({"email": "a@b"});
            if let Some(verified) = verified {
                own["email_verified"] = verified;
            }
            assert_eq!(user(&email, &claims(own.clone())).is_ok(), good, "{own}");
        }
    }

    #[test]
    fn who_expressions_name() {
        let config = config(
            r#"  claimValidationRules: [{expression: 'claims.exp - claims.nbf <= 3600', message: too long}]
  claimMappings:
    username: {expression: '"o:" + claims.sub'}
    groups: {expression: 'claims.roles.split(",")'}
    uid: {expression: 'claims.ids[0]'}
    extra: [{key: acme.com/team, valueExpression: 'claims.team'}, {key: acme.com/none, valueExpression: '""'}]
  userValidationRules: [{expression: '!user.username.startsWith("o:system:")', message: reserved}, {expression: 'user.groups.all(g, g != "root")'}]
"#,
        );
        let good = json!({"sub": "ann", "roles": "a,b", "ids": ["u"], "team": ["x", "y"], "exp": 2000, "nbf": 1000});
        let found = user(&config, &claims(good.clone())).expect("a user");
        assert_eq!((found.name.as_str(), found.uid.as_str()), ("o:ann", "u"));
        assert_eq!(found.groups, ["a", "b"]);
        assert_eq!(
            found.extra.into_iter().collect::<Vec<_>>(),
            [("acme.com/team".into(), vec!["x".into(), "y".into()])]
        );
        for (field, value, why) in [
            ("exp", json!(9000), "validation expression 'claims.exp - claims.nbf <= 3600' failed: too long"),
            ("sub", json!("system:root"), "failed: reserved"),
            ("roles", json!("a,root"), r#"validation expression 'user.groups.all(g, g != "root")' failed"#),
            ("sub", json!(7), "cannot be evaluated"),
            ("ids", json!([]), "cannot be evaluated"),
            ("team", json!(7), "must be a string or a list of strings"),
        ] {
            let mut changed = good.clone();
            changed[field] = value;
            let refused = user(&config, &claims(changed)).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn audiences_and_times() {
        let wanted = ["k".to_owned(), "l".to_owned()];
        for (aud, good) in [
            (json!("k"), true),
            (json!(["x", "l"]), true),
            (json!(["x"]), false),
            (json!([]), false),
            (json!("kl"), false),
            (json!({"k": 1}), false),
            (Value::Null, false),
        ] {
            assert_eq!(check_audience(&claims(json!({"aud": aud.clone()})), &wanted).is_ok(), good, "{aud}");
        }
        let now = Timestamp::from_second(1000).expect("a time");
        for (value, good) in [
            (json!({"exp": 1001}), true),
            (json!({"exp": 1000.5, "nbf": 1300}), true),
            (json!({"exp": 999}), false),
            (json!({}), false),
            (json!({"exp": "soon"}), false),
            (json!({"exp": 2000, "nbf": 1301}), false),
            (json!({"exp": 1e300}), true),
        ] {
            assert_eq!(check_times(&claims(value.clone()), now, 300).is_ok(), good, "{value}");
        }
    }
}
