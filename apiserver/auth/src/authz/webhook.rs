//! Somebody else decides: a SubjectAccessReview is posted to them, and the answer kept for a while.

use std::time::{Duration, Instant};

use api_cel::{Expression, Subject};
use api_machinery::{UserInfo, Value, fields, labels, object};
use async_trait::async_trait;
use metrics::{counter, histogram};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use super::{Authorizer, AuthzAttributes, Decision, Incomplete};
use crate::config::ConfigError;
use crate::config::authorization::Webhook as Config;
use crate::outbound::OutboundError;
use crate::replies::{Key, Replies};
use crate::reviews::Reviews;

/// Of all tries together: no request waits longer to be decided.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Answers kept, at most, twice over: 8192 as upstream.
const MAX_KEPT: usize = 4096;
/// Requests whose words are longer than this are not kept (bytes), as upstream.
const MAX_KEPT_WORDS: usize = 10_000;

pub struct Webhook {
    name: String,
    reviews: Reviews,
    api_version: String,
    /// All must hold, or it is not asked.
    conditions: Vec<Expression>,
    authorized_ttl: Duration,
    unauthorized_ttl: Duration,
    denies_on_failure: bool,
    kept: Replies<Decision>,
}

impl Webhook {
    pub fn new(name: &str, config: &Config) -> Result<Self, ConfigError> {
        let file = config.kubeconfig().ok_or_else(|| ConfigError::Invalid("kubeConfigFile is missing".to_owned()))?;
        let reviews = Reviews::load(file, config.timeout.0)?;
        let conditions = config.match_conditions().map(Expression::compile).collect::<Result<_, _>>();
        Ok(Self {
            name: name.to_owned(),
            reviews,
            api_version: format!("authorization.k8s.io/{}", config.subject_access_review_version),
            conditions: conditions.map_err(ConfigError::Invalid)?,
            authorized_ttl: config.authorized_ttl().0,
            unauthorized_ttl: config.unauthorized_ttl().0,
            denies_on_failure: config.denies_on_failure(),
            kept: Replies::new(MAX_KEPT),
        })
    }

    async fn ask(&self, mut spec: Value) -> Result<Value, OutboundError> {
        // The old version's name of the field.
        if self.api_version.ends_with("/v1beta1")
            && let Some(map) = spec.as_object_mut()
            && let Some(groups) = map.remove("groups")
        {
            map.insert("group".to_owned(), groups);
        }
        let review = json!({"apiVersion": self.api_version, "kind": "SubjectAccessReview",
            "metadata": {"creationTimestamp": null}, "spec": spec, "status": {"allowed": false}});
        self.reviews.post(&review, TIMEOUT, |answer, took| self.count(answer, took)).await
    }

    fn count(&self, answer: &Result<Value, OutboundError>, took: Duration) {
        let labels = [("name", self.name.clone()), ("result", result(answer).to_owned())];
        counter!("apiserver_authorization_webhook_evaluations_total", &labels).increment(1);
        histogram!("apiserver_authorization_webhook_duration_seconds", &labels).record(took.as_secs_f64());
    }

    fn failed(&self, error: &OutboundError) -> Decision {
        tracing::error!(%error, webhook = self.name, "failed to make webhook authorizer request");
        if !self.denies_on_failure {
            let labels = [("name", self.name.clone()), ("result", word(error).to_owned())];
            counter!("apiserver_authorization_webhook_evaluations_fail_open_total", &labels).increment(1);
        }
        Decision::Failed { error: error.to_string(), denied: self.denies_on_failure }
    }

    fn keep(&self, key: Key, decision: &Decision) {
        let ttl = if decision.allowed() { self.authorized_ttl } else { self.unauthorized_ttl };
        if !ttl.is_zero() {
            self.kept.put(key, decision.clone(), Instant::now() + ttl);
        }
    }
}

fn result(answer: &Result<Value, OutboundError>) -> &'static str {
    answer.as_ref().map_or_else(word, |_| "success")
}

fn word(error: &OutboundError) -> &'static str {
    if error.is_timeout() { "timeout" } else { "error" }
}

fn read(status: &Value) -> Decision {
    let reason = object::str_at(status, "reason").to_owned();
    match (status["denied"] == true, status["allowed"] == true) {
        (true, true) => Decision::Failed {
            error: "webhook subject access review returned both allow and deny response".to_owned(),
            denied: true,
        },
        (true, false) => Decision::Deny { reason },
        (false, true) => Decision::Allow { reason },
        (false, false) => Decision::NoOpinion { reason },
    }
}

/// Whether every condition holds. One that does not counts more than one that cannot be evaluated.
fn matches(conditions: &[Expression], asked: &AuthzAttributes) -> Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let (subject, mut failed) = (Subject::new("request", &request(asked)), Vec::new());
    for condition in conditions {
        match condition.holds(&subject) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(why) => failed.push(why),
        }
    }
    if failed.is_empty() { Ok(true) } else { Err(failed.join(", ")) }
}

/// The request as conditions see it: every text and list is there, also where it is empty.
fn request(asked: &AuthzAttributes) -> Value {
    let user = &asked.user;
    let mut seen = json!({"user": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
    if !asked.resource_request {
        seen["nonResourceAttributes"] = json!({"path": asked.path, "verb": asked.verb});
        return seen;
    }
    let mut attributes = json!({"namespace": asked.namespace, "verb": asked.verb, "group": asked.group,
        "version": asked.version, "resource": asked.resource, "subresource": asked.subresource, "name": asked.name});
    let sent = resource(asked);
    for field in ["fieldSelector", "labelSelector"] {
        if let Some(selector) = sent.get(field) {
            attributes[field] = selector.clone();
        }
    }
    seen["resourceAttributes"] = attributes;
    seen
}

/// `spec` of the review; what is empty is left out, as upstream's types do.
fn spec(asked: &AuthzAttributes) -> Value {
    let mut spec = user(&asked.user);
    match asked.resource_request {
        true => spec.insert("resourceAttributes".to_owned(), resource(asked)),
        false => {
            spec.insert("nonResourceAttributes".to_owned(), words(&[("path", &asked.path), ("verb", &asked.verb)]))
        }
    };
    Value::Object(spec)
}

fn words(all: &[(&str, &String)]) -> Value {
    let some = all.iter().filter(|(_, text)| !text.is_empty());
    Value::Object(some.map(|(field, text)| ((*field).to_owned(), text.as_str().into())).collect())
}

fn user(user: &UserInfo) -> Map<String, Value> {
    let fields = [
        ("user", json!(user.name), user.name.is_empty()),
        ("uid", json!(user.uid), user.uid.is_empty()),
        ("groups", json!(user.groups), user.groups.is_empty()),
        ("extra", json!(user.extra), user.extra.is_empty()),
    ];
    fields.into_iter().filter(|(_, _, empty)| !empty).map(|(name, value, _)| (name.to_owned(), value)).collect()
}

fn resource(asked: &AuthzAttributes) -> Value {
    let mut attributes = words(&[
        ("namespace", &asked.namespace),
        ("verb", &asked.verb),
        ("group", &asked.group),
        ("version", &asked.version),
        ("resource", &asked.resource),
        ("subresource", &asked.subresource),
        ("name", &asked.name),
    ]);
    let fields: Vec<Value> = asked.field_selector.iter().map(field_requirement).collect();
    if !fields.is_empty() {
        attributes["fieldSelector"] = json!({"requirements": fields});
    }
    let labels: Vec<Value> = asked.label_selector.iter().filter_map(label_requirement).collect();
    if !labels.is_empty() {
        attributes["labelSelector"] = json!({"requirements": labels});
    }
    attributes
}

fn field_requirement(term: &fields::Term) -> Value {
    let operator = if term.equal { "In" } else { "NotIn" };
    json!({"key": term.field, "operator": operator, "values": [term.value]})
}

/// What the API has no operator for is left out: all must hold, so less is asked to hold.
fn label_requirement(requirement: &labels::Requirement) -> Option<Value> {
    let operator = match requirement.operator {
        labels::Operator::In => "In",
        labels::Operator::NotIn => "NotIn",
        labels::Operator::Exists => "Exists",
        labels::Operator::DoesNotExist => "DoesNotExist",
        labels::Operator::GreaterThan | labels::Operator::LessThan => return None,
    };
    let mut out = json!({"key": requirement.key, "operator": operator});
    if !requirement.values.is_empty() {
        out["values"] = json!(requirement.values);
    }
    Some(out)
}

fn is_short(asked: &AuthzAttributes) -> bool {
    let texts = [&asked.namespace, &asked.verb, &asked.group, &asked.version, &asked.resource, &asked.subresource];
    let more = [&asked.name, &asked.path];
    texts.iter().chain(&more).map(|text| text.len()).sum::<usize>() < MAX_KEPT_WORDS
}

#[async_trait]
impl Authorizer for Webhook {
    async fn authorize(&self, attributes: &AuthzAttributes) -> Decision {
        match matches(&self.conditions, attributes) {
            Ok(true) => {}
            Ok(false) => return Decision::no_opinion(),
            Err(error) if self.denies_on_failure => return Decision::Failed { error, denied: true },
            Err(error) => {
                tracing::error!(error, webhook = self.name, "a match condition failed, the webhook is not asked");
                return Decision::Failed { error, denied: false };
            }
        }
        let spec = spec(attributes);
        let key: Key = Sha256::digest(spec.to_string()).into();
        if let Some(decision) = self.kept.get(&key, Instant::now()) {
            return decision;
        }
        match self.ask(spec).await {
            Err(error) => self.failed(&error),
            Ok(answer) => {
                let decision = read(&answer["status"]);
                if is_short(attributes) {
                    self.keep(key, &decision);
                }
                decision
            }
        }
    }

    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> (Vec<Value>, Vec<Value>) {
        (Vec::new(), Vec::new())
    }

    fn rules_incomplete(&self, _user: &UserInfo, _namespace: &str) -> Incomplete {
        let errors = vec!["webhook authorizer does not support user rule resolution".to_owned()];
        Incomplete { incomplete: true, errors }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use api_machinery::fields::FieldSelector;
    use api_machinery::labels::Selector;

    use super::*;

    #[test]
    fn what_is_asked() {
        let asked = AuthzAttributes {
            user: UserInfo {
                name: "ann".into(),
                groups: vec!["dev".into()],
                extra: BTreeMap::from([("a/b".into(), vec!["c".into()])]),
                ..UserInfo::default()
            },
            verb: "list".into(),
            resource_request: true,
            version: "v1".into(),
            resource: "pods".into(),
            field_selector: FieldSelector::parse("spec.nodeName=n,metadata.name!=x").expect("good").terms,
            label_selector: Selector::parse("app in (a,b),!old,n>3").expect("good").requirements,
            ..AuthzAttributes::default()
        };
        assert_eq!(
            spec(&asked),
            json!({"user": "ann", "groups": ["dev"], "extra": {"a/b": ["c"]}, "resourceAttributes": {
                "verb": "list", "version": "v1", "resource": "pods",
                "fieldSelector": {"requirements": [
                    {"key": "metadata.name", "operator": "NotIn", "values": ["x"]},
                    {"key": "spec.nodeName", "operator": "In", "values": ["n"]}]},
                "labelSelector": {"requirements": [
                    {"key": "app", "operator": "In", "values": ["a", "b"]},
                    {"key": "old", "operator": "DoesNotExist"}]}}})
        );
        let path = AuthzAttributes { verb: "get".into(), path: "/x".into(), ..AuthzAttributes::default() };
        assert_eq!(spec(&path), json!({"nonResourceAttributes": {"path": "/x", "verb": "get"}}));
    }

    #[test]
    fn who_is_not_asked() {
        let conditions = |texts: &[&str]| -> Vec<Expression> {
            texts.iter().map(|text| Expression::compile(text).expect("good")).collect()
        };
        let pods = AuthzAttributes {
            user: UserInfo { name: "ann".into(), groups: vec!["dev".into()], ..UserInfo::default() },
            verb: "list".into(),
            resource_request: true,
            resource: "pods".into(),
            namespace: "team".into(),
            ..AuthzAttributes::default()
        };
        let path = AuthzAttributes { verb: "get".into(), path: "/x".into(), ..AuthzAttributes::default() };
        let resource = "has(request.resourceAttributes)";
        for (texts, asked, wanted) in [
            (&[][..], &pods, Some(true)),
            (&[resource], &pods, Some(true)),
            (&[resource], &path, Some(false)),
            (&[resource, "request.resourceAttributes.namespace != 'kube-system'"], &pods, Some(true)),
            (&[resource, "request.resourceAttributes.namespace == 'kube-system'"], &pods, Some(false)),
            (&["!('system:serviceaccounts:kube-system' in request.groups)"], &pods, Some(true)),
            (&["request.nonResourceAttributes.path == '/x'"], &path, Some(true)),
            (&["request.nonResourceAttributes.path == '/x'"], &pods, None),
            (&["request.nonResourceAttributes.path == '/x'", "request.user != 'ann'"], &pods, Some(false)),
            (&["request.resourceAttributes.name == ''"], &pods, Some(true)),
            (&["request.user"], &pods, None),
        ] {
            assert_eq!(matches(&conditions(texts), asked).ok(), wanted, "{texts:?}");
        }
    }

    #[test]
    fn what_answers_come_to() {
        let reason = || "r".to_owned();
        for (status, decision) in [
            (json!({"allowed": true, "reason": "r"}), Decision::Allow { reason: reason() }),
            (json!({"allowed": false, "reason": "r"}), Decision::NoOpinion { reason: reason() }),
            (json!({"denied": true, "reason": "r"}), Decision::Deny { reason: reason() }),
            (json!({}), Decision::no_opinion()),
        ] {
            assert_eq!(read(&status), decision, "{status}");
        }
        let both = read(&json!({"allowed": true, "denied": true}));
        assert!(matches!(both, Decision::Failed { denied: true, .. }), "{both:?}");
    }
}
