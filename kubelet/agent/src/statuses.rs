//! Tells the API server what pods are doing: the newest status of each, and nothing twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kubelet_core::pods;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::api::{ApiFailure, Client};

/// Wait before the next try when no server takes a status.
const RETRY: Duration = Duration::from_millis(500);

/// Keys of a status that are ours: absent ones are removed from the server's.
const OURS: &[&str] = &[
    "phase",
    "reason",
    "message",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "qosClass",
    "startTime",
    "observedGeneration",
];

/// What is to be told of one pod.
struct Report {
    path: String,
    uid: String,
    status: Option<Value>,
    /// The pod has ended and is to be removed from the API server after its status.
    delete: bool,
}

#[derive(Default)]
struct State {
    pending: HashMap<String, Report>,
    /// The last status of each pod that a server took.
    sent: HashMap<String, Value>,
}

/// One queue per node; a pod appears in it at most once.
#[derive(Clone)]
pub(crate) struct Statuses {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

impl Statuses {
    pub(crate) fn start(client: Client) -> Self {
        let statuses = Self { state: Arc::default(), wake: Arc::default() };
        tokio::spawn(send_all(client, statuses.clone()));
        statuses
    }

    /// The pod's status is this now.
    pub(crate) fn report(&self, pod: &Pod, status: &PodStatus) {
        let Ok(value) = serde_json::to_value(status) else { return };
        let (_, _, uid) = pods::identity(pod);
        let mut state = self.state.lock();
        let pending = state.pending.get(uid).and_then(|r| r.status.as_ref());
        if pending.or_else(|| state.sent.get(uid)) == Some(&value) {
            return;
        }
        let report = state.pending.entry(uid.to_owned()).or_insert_with(|| Report::new(pod));
        report.status = Some(value);
        drop(state);
        self.wake.notify_one();
    }

    /// Nothing of the pod is left on this node: the object may go, after its last status.
    pub(crate) fn delete(&self, pod: &Pod) {
        let (_, _, uid) = pods::identity(pod);
        self.state.lock().pending.entry(uid.to_owned()).or_insert_with(|| Report::new(pod)).delete = true;
        self.wake.notify_one();
    }

    /// The pod is no longer on the API server.
    pub(crate) fn forget(&self, uid: &str) {
        let mut state = self.state.lock();
        state.pending.remove(uid);
        state.sent.remove(uid);
    }

    fn take(&self) -> Option<(Report, Option<Value>)> {
        let mut state = self.state.lock();
        let uid = state.pending.keys().next()?.clone();
        let report = state.pending.remove(&uid)?;
        let sent = state.sent.get(&uid).cloned();
        Some((report, sent))
    }

    /// Puts a report back, under what has come since.
    fn put_back(&self, report: Report) {
        let mut state = self.state.lock();
        match state.pending.get_mut(&report.uid) {
            Some(newer) => {
                newer.delete |= report.delete;
                newer.status = newer.status.take().or(report.status);
            }
            None => {
                state.pending.insert(report.uid.clone(), report);
            }
        }
    }
}

impl Report {
    fn new(pod: &Pod) -> Self {
        let (namespace, name, uid) = pods::identity(pod);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        Self { path, uid: uid.to_owned(), status: None, delete: false }
    }
}

async fn send_all(client: Client, statuses: Statuses) {
    loop {
        let Some((report, sent)) = statuses.take() else {
            if Arc::strong_count(&statuses.state) == 1 {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_secs(30), statuses.wake.notified()).await;
            continue;
        };
        carry_out(&client, &statuses, report, sent.as_ref()).await;
    }
}

/// What becomes of a report after a request for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    /// The pod is no longer there, or another by its name.
    Gone,
    /// No server takes it at the moment.
    Later,
    /// Not like this: the worker tells it again when it looks at its pod again.
    Refused,
}

fn judge(result: &Result<(), ApiFailure>) -> Verdict {
    match result {
        Ok(()) => Verdict::Done,
        Err(error) if error.is_not_found() => Verdict::Gone,
        Err(error) if error.is_transient() => Verdict::Later,
        Err(_) => Verdict::Refused,
    }
}

async fn carry_out(client: &Client, statuses: &Statuses, mut report: Report, sent: Option<&Value>) {
    if let Some(status) = report.status.take_if(|status| sent != Some(status)) {
        let result = tell(client, &report, &status, sent).await;
        match judge(&result) {
            Verdict::Done => {
                statuses.state.lock().sent.insert(report.uid.clone(), status);
            }
            Verdict::Gone => {
                tracing::debug!(pod = report.path, "the pod is gone");
                return;
            }
            Verdict::Later => return later(statuses, Report { status: Some(status), ..report }, result).await,
            // A pod that has ended may go all the same.
            Verdict::Refused => log_refusal(&report, "status", result),
        }
    }
    if report.delete {
        let result = remove(client, &report).await;
        match judge(&result) {
            Verdict::Done | Verdict::Gone => {}
            Verdict::Later => later(statuses, report, result).await,
            Verdict::Refused => log_refusal(&report, "deletion", result),
        }
    }
}

async fn later(statuses: &Statuses, report: Report, result: Result<(), ApiFailure>) {
    tracing::debug!(error = ?result.err(), pod = report.path, "a report waits");
    statuses.put_back(report);
    tokio::time::sleep(RETRY).await;
}

fn log_refusal(report: &Report, what: &str, result: Result<(), ApiFailure>) {
    if let Err(error) = result {
        tracing::warn!(%error, pod = report.path, "the API server refused a {what}");
    }
}

async fn tell(client: &Client, report: &Report, status: &Value, sent: Option<&Value>) -> Result<(), ApiFailure> {
    let body = json!({"metadata": {"uid": report.uid}, "status": patch(status, sent)});
    let path = format!("{}/status", report.path);
    match client.patch::<Value>(&path, &body).await {
        // Either someone else wrote at the same time, or it is another pod by this name.
        Err(error) if error.is_conflict() => {
            let present: Value = client.get(&report.path).await?;
            if present["metadata"]["uid"] != report.uid.as_str() {
                return Err(ApiFailure::gone(&report.path));
            }
            client.patch::<Value>(&path, &body).await.map(drop)
        }
        result => result.map(drop),
    }
}

async fn remove(client: &Client, report: &Report) -> Result<(), ApiFailure> {
    let options = json!({
        "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": report.uid},
    });
    match client.delete(&report.path, &options).await {
        // Another pod by this name.
        Err(error) if error.is_conflict() => Ok(()),
        result => result,
    }
}

/// A strategic merge patch that makes our keys of the server's status what they are here.
fn patch(status: &Value, sent: Option<&Value>) -> Value {
    let mut patch = Map::new();
    let Value::Object(fields) = status else { return Value::Object(patch) };
    for (key, value) in fields {
        if sent.and_then(|s| s.get(key)) == Some(value) {
            continue;
        }
        if matches!(key.as_str(), "podIPs" | "hostIPs") && sent.is_none_or(|s| s.get(key).is_some()) {
            // Merged by address otherwise: old ones would stay.
            let mut list = vec![json!({"$patch": "replace"})];
            list.extend(value.as_array().into_iter().flatten().cloned());
            patch.insert(key.clone(), Value::Array(list));
            continue;
        }
        patch.insert(key.clone(), value.clone());
    }
    for key in OURS {
        let had = sent.is_none_or(|s| s.get(key).is_some());
        if had && !fields.contains_key(*key) {
            patch.insert((*key).to_owned(), Value::Null);
        }
    }
    if let Some(conditions) = patch.get_mut("conditions").and_then(Value::as_array_mut) {
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            // Conditions merge by type: what is absent must be said to be.
            for key in ["reason", "message"] {
                condition.entry(key).or_insert(Value::Null);
            }
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_reports() {
        let status = |code: u16| Err(ApiFailure::Status { code, reason: String::new(), message: String::new() });
        let cases = [
            (Ok(()), Verdict::Done),
            (status(404), Verdict::Gone),
            (status(429), Verdict::Later),
            (status(503), Verdict::Later),
            (Err(ApiFailure::Transport(String::new())), Verdict::Later),
            (status(403), Verdict::Refused),
            (status(409), Verdict::Refused),
            (status(422), Verdict::Refused),
        ];
        for (result, expected) in cases {
            assert_eq!(judge(&result), expected, "{result:?}");
        }
    }

    #[test]
    fn patches_say_what_changed_and_what_went() {
        let before = json!({"phase": "Running", "podIPs": [{"ip": "a"}], "message": "m", "conditions": [{"type": "Ready", "status": "True"}]});
        let after = json!({"phase": "Running", "podIPs": [{"ip": "b"}], "conditions": [{"type": "Ready", "status": "False", "reason": "x"}]});
        let expected = json!({
            "podIPs": [{"$patch": "replace"}, {"ip": "b"}],
            "message": null,
            "conditions": [{"type": "Ready", "status": "False", "reason": "x", "message": null}],
        });
        assert_eq!(patch(&after, Some(&before)), expected);
        assert_eq!(patch(&before, Some(&before)), json!({}));
    }
}
