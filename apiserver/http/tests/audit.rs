//! What is recorded of typical requests, and that nothing of it is lost.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Running, now, pod};
use api_admission::{Attributes, Chain, Plugin, View};
use api_audit::Auditor;
use api_audit::backend::Backend;
use api_audit::event::Event;
use api_audit::policy::Policy;
use api_machinery::ApiError;
use api_schema::Schema;
use async_trait::async_trait;
use expect_test::expect_file;
use serde_json::{Value, json};
use tokio::sync::watch;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- level: None
  nonResourceURLs: ["/healthz*", "/readyz*", "/livez*"]
- level: Metadata
  resources:
  - {group: "", resources: [secrets, configmaps]}
  - {group: authentication.k8s.io, resources: [tokenreviews]}
- level: Request
  verbs: [get, list, watch]
  omitStages: [RequestReceived]
- level: RequestResponse
  omitStages: [RequestReceived]
"#;

/// Keeps records, and may refuse them.
struct Kept {
    events: watch::Sender<Vec<Arc<Event>>>,
    refuses: bool,
}

#[async_trait]
impl Backend for Kept {
    fn name(&self) -> &'static str {
        "test"
    }
    async fn process(&self, events: &[Arc<Event>]) -> bool {
        self.events.send_modify(|kept| kept.extend_from_slice(events));
        !self.refuses
    }
}

impl Kept {
    fn new(refuses: bool) -> Arc<Self> {
        Arc::new(Self { events: watch::Sender::new(Vec::new()), refuses })
    }

    fn auditor(self: &Arc<Self>, policy: &str) -> Option<Arc<Auditor>> {
        let (policy, warnings) = Policy::read(policy).expect("a good policy");
        assert_eq!(warnings, [""; 0]);
        Some(Arc::new(Auditor { policy, backends: vec![self.clone()], now }))
    }

    /// The records since the last call, when there are at least so many.
    async fn take(&self, count: usize) -> Vec<Value> {
        let mut changes = self.events.subscribe();
        let enough = changes.wait_for(|kept| kept.len() >= count);
        let came = tokio::time::timeout(Duration::from_secs(10), enough).await.is_ok();
        assert!(came, "{} of {count} records", self.events.borrow().len());
        let kept = self.events.send_replace(Vec::new());
        kept.iter().map(|event| serde_json::from_str(&event.to_json().expect("JSON")).expect("JSON")).collect()
    }
}

/// What differs from run to run is only named.
fn mask(value: &mut Value) {
    const CHANGING: [&str; 5] =
        ["requestReceivedTimestamp", "stageTimestamp", "creationTimestamp", "uid", "deletionTimestamp"];
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if CHANGING.contains(&key.as_str()) && inner.is_string() {
                    *inner = format!("({key})").into();
                }
                mask(inner);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::String(text) if text.starts_with("X509SHA256=") => *text = "X509SHA256=(hash)".to_owned(),
        _ => {}
    }
}

fn shown(title: &str, records: Vec<Value>) -> String {
    let mut text = format!("# {title}\n");
    for mut record in records {
        mask(&mut record);
        text.push_str(&serde_json::to_string(&record).expect("JSON"));
        text.push('\n');
    }
    text
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: (&str, &str) = ("content-type", "application/json");
const AGENT: (&str, &str) = ("user-agent", "test/1.0");

#[tokio::test]
async fn ten_typical_requests() {
    let kept = Kept::new(false);
    let auditor = kept.auditor(POLICY);
    let running = Running::with(|server| server.audit = auditor).await;
    let (admin, stranger) = (&running.admin, running.stranger());
    let mut text = String::new();
    let forwarded = ("x-forwarded-for", "192.0.2.7, 192.0.2.8");
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "a-secret"}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let patch = ("content-type", "application/merge-patch+json");
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}).to_string();
    let (own, limited, exec) = (format!("{PODS}/a"), format!("{PODS}?limit=1"), format!("{PODS}/a/exec?command=ls"));
    let own = own.as_str();
    for (title, method, target, header, body, records) in [
        ("create", "POST", PODS, JSON, pod("a").to_string(), 1),
        ("get", "GET", own, forwarded, String::new(), 1),
        ("list", "GET", limited.as_str(), JSON, String::new(), 1),
        ("patch", "PATCH", own, patch, r#"{"metadata":{"labels":{"b":"c"}}}"#.to_owned(), 1),
        ("exec", "POST", exec.as_str(), JSON, String::new(), 2),
        ("delete", "DELETE", own, JSON, options, 1),
        (
            "a conflict",
            "PUT",
            "/api/v1/namespaces/default",
            JSON,
            r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default","resourceVersion":"1"}}"#.to_owned(),
            1,
        ),
        ("TokenReview", "POST", reviews, JSON, review.to_string(), 2),
    ] {
        let id = format!("id-of-{}", title.replace(' ', "-"));
        let headers = [header, AGENT, ("audit-id", id.as_str())];
        let answer = admin.send(true, method, target, &headers, body).await;
        assert_eq!(answer.header("audit-id"), id);
        text.push_str(&shown(&format!("{title}: {}", answer.code), kept.take(records).await));
    }
    admin.post(PODS, &pod("b")).await;
    kept.take(1).await;
    let answer = admin.send(true, "DELETE", PODS, &[AGENT, ("audit-id", "id-of-all")], "").await;
    text.push_str(&shown(&format!("deletecollection: {}", answer.code), kept.take(1).await));
    let watch = format!("{PODS}?watch=true&timeoutSeconds=1");
    admin.with(&watch, &[AGENT, ("audit-id", "id-of-watch")]).await;
    text.push_str(&shown("watch", kept.take(2).await));
    let reader = [("authorization", "Bearer reader"), AGENT, ("audit-id", "id-of-403")];
    stranger.send(true, "DELETE", own, &reader, "").await;
    text.push_str(&shown("403", kept.take(1).await));
    let nobody = [("authorization", "Bearer nobody"), AGENT, ("audit-id", "id-of-401")];
    assert_eq!(stranger.send(true, "GET", PODS, &nobody, "").await.code, 401);
    text.push_str(&shown("401", kept.take(1).await));
    let impersonator = [("authorization", "Bearer impersonator"), AGENT, ("audit-id", "id-of-impersonation")];
    let as_user = |name| impersonator.into_iter().chain([("impersonate-user", name)]).collect::<Vec<_>>();
    assert_eq!(stranger.send(true, "GET", PODS, &as_user("reader"), "").await.code, 200);
    text.push_str(&shown("impersonation", kept.take(1).await));
    assert_eq!(stranger.send(true, "GET", PODS, &as_user("admin"), "").await.code, 403);
    text.push_str(&shown("impersonation that is not granted", kept.take(1).await));
    assert!(!text.contains("a-secret"), "a token at level Metadata");
    admin.get("/healthz").await;
    admin.get("/version").await;
    let records = kept.take(1).await;
    assert_eq!((records.len(), &records[0]["requestURI"]), (1, &json!("/version")), "health checks are left out");
    expect_file!["audit.txt"].assert_eq(&text);
}

/// The annotation of a write is where its change is in the history.
#[tokio::test]
async fn a_record_names_the_revision_of_its_write() {
    let kept = Kept::new(false);
    let auditor = kept.auditor(POLICY);
    let running = Running::with(|server| server.audit = auditor).await;
    let revision = |records: &[Value]| records[0]["annotations"]["audit.kontiki.io/revision"].clone();
    let made = running.admin.post(PODS, &pod("a")).await.json();
    assert_eq!(revision(&kept.take(1).await), made["metadata"]["resourceVersion"]);
    running.admin.post(&format!("{PODS}?dryRun=All"), &pod("b")).await;
    assert_eq!(revision(&kept.take(1).await), Value::Null, "nothing was written");
    running.admin.post(PODS, &pod("a")).await;
    assert_eq!(revision(&kept.take(1).await), Value::Null, "refused");
    let dead = running.admin.send(true, "DELETE", &format!("{PODS}/a?gracePeriodSeconds=0"), &[], "").await.json();
    let records = kept.take(1).await;
    assert_eq!(dead["metadata"]["resourceVersion"], revision(&records), "{dead}");
}

/// Says something of every write.
struct Noting;

#[async_trait]
impl Plugin for Noting {
    fn name(&self) -> &'static str {
        "Noting"
    }
    async fn validate(&self, attributes: &Attributes<'_>, _: Option<&Value>, _: &dyn View) -> Result<(), ApiError> {
        attributes.notes.annotate("noting.example.com/name", attributes.name);
        Ok(())
    }
}

#[tokio::test]
async fn what_plugins_say_is_recorded_whatever_is_answered() {
    let kept = Kept::new(false);
    let auditor = kept.auditor(POLICY);
    let chain = Chain::of(vec![Box::new(Noting)]);
    let running = Running::of(Schema::builtin(), chain, |server| server.audit = auditor).await;
    for code in [201, 409] {
        assert_eq!(running.admin.post(PODS, &pod("a")).await.code, code);
        assert_eq!(kept.take(1).await[0]["annotations"]["noting.example.com/name"], "a", "{code}");
    }
}

/// A client that leaves in the middle leaves a record all the same: of a write, with what became of it.
#[tokio::test]
async fn who_leaves_is_recorded() {
    let kept = Kept::new(false);
    let auditor = kept.auditor(POLICY);
    let running = Running::with(|server| server.audit = auditor).await;
    let watch = running.admin.request("GET", &format!("{PODS}?watch=true"), &[], "");
    let opened = running.admin.open(true, watch).await;
    let records = kept.take(1).await;
    assert_eq!(records[0]["stage"], "ResponseStarted");
    drop(opened);
    let records = kept.take(1).await;
    assert_eq!((&records[0]["stage"], &records[0]["verb"]), (&json!("ResponseComplete"), &json!("watch")));
}

#[tokio::test]
async fn what_must_be_recorded_and_cannot_be_is_refused() {
    let kept = Kept::new(true);
    let auditor = kept.auditor("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]");
    let running = Running::with(|server| server.audit = auditor).await;
    let refused = running.admin.post(PODS, &pod("a")).await;
    assert_eq!(refused.status(), "500 InternalError: Internal error occurred: failed to store audit event");
    let records = kept.take(1).await;
    assert_eq!((records.len(), &records[0]["stage"]), (1, &json!("RequestReceived")));
}

/// The server does not end before its records are handed over.
#[tokio::test]
async fn the_end_closes_what_is_open() {
    let kept = Kept::new(false);
    let auditor = kept.auditor(POLICY);
    let running = Running::with(|server| server.audit = auditor).await;
    let watch = running.admin.request("GET", &format!("{PODS}?watch=true"), &[], "");
    let _opened = running.admin.open(true, watch).await;
    kept.take(1).await;
    running.stop.cancel();
    running.served.await.expect("ends").expect("ends well");
    let last: Vec<Value> = kept.take(1).await;
    assert_eq!(last[0]["stage"], "ResponseComplete");
}
