//! One request on its way through the chain, as far as it is known. Pure: what it makes is handed to backends by
//! whoever owns it.

use std::sync::Arc;

use api_machinery::{UserInfo, Value, object};
use jiff::Timestamp;

use crate::event::{Event, Level, ObjectRef, ResponseStatus, Stage, User, raw};
use crate::policy::{Attributes, Decision};

/// Of a user agent, as upstream (bytes).
const MAX_USER_AGENT_BYTES: usize = 1024;
const TRUNCATED: &str = "...TRUNCATED";
/// Annotations of one record; more are not kept.
const MAX_ANNOTATIONS: usize = 64;

/// The annotation that upstream does not have: the revision of the store at which a write took effect, by which it is
/// found in the history.
pub const REVISION: &str = "audit.kontiki.io/revision";
pub const DECISION: &str = "authorization.k8s.io/decision";
pub const REASON: &str = "authorization.k8s.io/reason";

/// What a record says of a request that its attributes do not.
#[derive(Clone, Debug)]
pub struct Request {
    pub audit_id: String,
    pub received: Timestamp,
    /// Path and query.
    pub uri: String,
    pub source_ips: Vec<String>,
    pub user_agent: String,
}

/// A request that is recorded.
pub struct Record {
    event: Event,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
}

impl Record {
    /// `None` at level `None`.
    pub fn open(decision: Decision, asked: &Attributes<'_>, request: Request) -> Option<Self> {
        if decision.level == Level::None {
            return None;
        }
        let mut event = Event::new(decision.level, request.audit_id, request.received);
        event.request_uri = request.uri;
        event.verb = asked.verb.to_owned();
        event.user = asked.user.map_or_else(User::default, User::from);
        event.source_ips = request.source_ips;
        event.user_agent = bounded(request.user_agent);
        event.object_ref = asked.is_resource.then(|| reference(asked));
        let Decision { omit_stages, omit_managed_fields, .. } = decision;
        Some(Self { event, omit_stages, omit_managed_fields })
    }

    pub fn level(&self) -> Level {
        self.event.level
    }

    pub fn impersonates(&mut self, user: &UserInfo) {
        self.event.impersonated_user = Some(User::from(user));
    }

    /// What is said first stays.
    pub fn annotate(&mut self, key: &str, value: impl Into<String>) {
        if self.event.annotations.len() < MAX_ANNOTATIONS {
            self.event.annotations.entry(key.to_owned()).or_insert_with(|| value.into());
        }
    }

    /// The object of a create or update as the client sent it. Below level `Request` only what names it is kept.
    pub fn request_object(&mut self, object: Value) {
        self.name_object(&object);
        if self.event.level >= Level::Request {
            self.event.request_object = raw(&self.without_managed_fields(object));
        }
    }

    /// Fills in of the reference what the path did not say.
    fn name_object(&mut self, object: &Value) {
        let Some(reference) = &mut self.event.object_ref else { return };
        for (own, given) in [
            (&mut reference.namespace, object::namespace(object)),
            (&mut reference.name, object::name(object)),
            (&mut reference.uid, object::uid(object)),
            (&mut reference.resource_version, object::resource_version(object)),
        ] {
            if own.is_empty() {
                given.clone_into(own);
            }
        }
    }

    /// A patch as it was sent, or delete options: they name nothing.
    pub fn request_body(&mut self, body: &Value) {
        if self.event.level >= Level::Request {
            self.event.request_object = raw(body);
        }
    }

    pub fn response_object(&mut self, object: Value) {
        if self.event.level >= Level::RequestResponse {
            self.event.response_object = raw(&self.without_managed_fields(object));
        }
    }

    pub fn has_status(&self) -> bool {
        self.event.response_status.is_some()
    }

    pub fn status(&mut self, status: ResponseStatus) {
        self.event.response_status = Some(status);
    }

    /// The record of a stage; `None` where the policy leaves that stage out.
    pub fn at(&mut self, stage: Stage, now: Timestamp) -> Option<Arc<Event>> {
        if self.omit_stages.contains(&stage) {
            return None;
        }
        self.event.stage = stage;
        self.event.stage_timestamp = match stage {
            Stage::RequestReceived => self.event.request_received_timestamp,
            _ => now,
        };
        Some(Arc::new(self.event.clone()))
    }

    fn without_managed_fields(&self, mut object: Value) -> Value {
        if self.omit_managed_fields {
            drop_managed_fields(&mut object);
            for (list, inner) in [("items", None), ("rows", Some("object"))] {
                for item in object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    match inner {
                        None => drop_managed_fields(item),
                        Some(field) => item.get_mut(field).into_iter().for_each(drop_managed_fields),
                    }
                }
            }
        }
        object
    }
}

fn drop_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

fn reference(asked: &Attributes<'_>) -> ObjectRef {
    ObjectRef {
        resource: asked.resource.to_owned(),
        namespace: asked.namespace.to_owned(),
        name: asked.name.to_owned(),
        api_group: asked.group.to_owned(),
        api_version: asked.version.to_owned(),
        subresource: asked.subresource.to_owned(),
        ..ObjectRef::default()
    }
}

fn bounded(mut agent: String) -> String {
    if agent.len() > MAX_USER_AGENT_BYTES {
        let end = (0..=MAX_USER_AGENT_BYTES).rev().find(|at| agent.is_char_boundary(*at)).unwrap_or(0);
        agent.truncate(end);
        agent.push_str(TRUNCATED);
    }
    agent
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn record(level: Level, omit_managed_fields: bool) -> Record {
        let user = UserInfo { name: "u".into(), groups: vec!["g".into()], ..UserInfo::default() };
        let asked = Attributes {
            user: Some(&user),
            verb: "create",
            is_resource: true,
            group: "apps",
            version: "v1",
            resource: "deployments",
            subresource: "",
            namespace: "a",
            name: "",
            path: "/apis/apps/v1/namespaces/a/deployments",
        };
        let request = Request {
            audit_id: "id".into(),
            received: "2026-01-02T03:04:05Z".parse().expect("a time"),
            uri: "/apis/apps/v1/namespaces/a/deployments?dryRun=All".into(),
            source_ips: vec!["10.0.0.1".into()],
            user_agent: "é".repeat(600),
        };
        let decision = Decision { level, omit_stages: vec![Stage::RequestReceived], omit_managed_fields };
        Record::open(decision, &asked, request).expect("is recorded")
    }

    fn shows(mut record: Record, want: &Expect) {
        let now: Timestamp = "2026-01-02T03:04:06.5Z".parse().expect("a time");
        assert!(record.at(Stage::RequestReceived, now).is_none(), "that stage is left out");
        let event = record.at(Stage::ResponseComplete, now).expect("is made");
        let text = event.to_json().expect("is JSON").replace(&"é".repeat(512), "é...");
        want.assert_eq(&text);
    }

    fn fill(mut record: Record) -> Record {
        record.request_object(json!({"metadata": {"name": "d", "uid": "1", "managedFields": []}, "spec": {"x": 1}}));
        record.response_object(json!({"items": [{"metadata": {"name": "d", "managedFields": []}}],
            "rows": [{"object": {"metadata": {"managedFields": []}}}]}));
        record.annotate(DECISION, "allow");
        record.annotate(DECISION, "forbid");
        record.status(ResponseStatus::code(201));
        record
    }

    #[test]
    fn a_level_says_how_much_is_kept() {
        shows(
            fill(record(Level::Metadata, false)),
            &expect![[
                r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments?dryRun=All","verb":"create","user":{"username":"u","groups":["g"]},"sourceIPs":["10.0.0.1"],"userAgent":"é......TRUNCATED","objectRef":{"resource":"deployments","namespace":"a","name":"d","uid":"1","apiGroup":"apps","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},"requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z","stageTimestamp":"2026-01-02T03:04:06.500000Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#
            ]],
        );
        shows(
            fill(record(Level::Request, false)),
            &expect![[
                r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"id","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments?dryRun=All","verb":"create","user":{"username":"u","groups":["g"]},"sourceIPs":["10.0.0.1"],"userAgent":"é......TRUNCATED","objectRef":{"resource":"deployments","namespace":"a","name":"d","uid":"1","apiGroup":"apps","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},"requestObject":{"metadata":{"managedFields":[],"name":"d","uid":"1"},"spec":{"x":1}},"requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z","stageTimestamp":"2026-01-02T03:04:06.500000Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#
            ]],
        );
        shows(
            fill(record(Level::RequestResponse, true)),
            &expect![[
                r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"id","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments?dryRun=All","verb":"create","user":{"username":"u","groups":["g"]},"sourceIPs":["10.0.0.1"],"userAgent":"é......TRUNCATED","objectRef":{"resource":"deployments","namespace":"a","name":"d","uid":"1","apiGroup":"apps","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},"requestObject":{"metadata":{"name":"d","uid":"1"},"spec":{"x":1}},"responseObject":{"items":[{"metadata":{"name":"d"}}],"rows":[{"object":{"metadata":{}}}]},"requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z","stageTimestamp":"2026-01-02T03:04:06.500000Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#
            ]],
        );
    }
}
