//! Events of the node and its pods. Repeats within ten minutes become one event with a count.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kubelet_core::pods;
use serde_json::json;
use tokio::sync::mpsc;

use crate::api::Client;
use crate::clock;

/// Events waiting to be sent; more are dropped, as upstream does.
const QUEUE: usize = 1000;
/// Kinds of events remembered for counting.
const REMEMBERED: usize = 512;
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// Sends events in the background. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    node_name: String,
    queue: mpsc::Sender<Note>,
    /// Of many hollow nodes only warnings are of interest.
    warnings_only: bool,
}

struct Note {
    about: ObjectReference,
    warning: bool,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

struct Seen {
    path: String,
    count: i32,
    last: Timestamp,
}

impl Recorder {
    pub(crate) fn start(client: Client, node_name: String, warnings_only: bool) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE);
        tokio::spawn(send_all(client, node_name.clone(), notes));
        Self { node_name, queue, warnings_only }
    }

    pub(crate) fn pod(
        &self,
        pod: &Pod,
        container: Option<(kubelet_core::Kind, &str)>,
        normal: bool,
        reason: &'static str,
        message: String,
    ) {
        let (namespace, name, uid) = pods::identity(pod);
        let field = container.map(|(kind, name)| {
            let list = match kind {
                kubelet_core::Kind::Init => "initContainers",
                kubelet_core::Kind::App => "containers",
                kubelet_core::Kind::Ephemeral => "ephemeralContainers",
            };
            format!("spec.{list}{{{name}}}")
        });
        self.send(
            ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                uid: Some(uid.to_owned()),
                resource_version: pod.metadata.resource_version.clone(),
                field_path: field,
            },
            normal,
            reason,
            message,
        );
    }

    pub(crate) fn node(&self, normal: bool, reason: &'static str, message: String) {
        let about = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node_name.clone()),
            uid: Some(self.node_name.clone()),
            ..Default::default()
        };
        self.send(about, normal, reason, message);
    }

    fn send(&self, about: ObjectReference, normal: bool, reason: &'static str, message: String) {
        if normal && self.warnings_only {
            return;
        }
        let mut message = message;
        if message.len() > 1024 {
            message.truncate((0..=1020).rev().find(|n| message.is_char_boundary(*n)).unwrap_or(0));
            message.push_str("...");
        }
        // A full queue drops: events are a courtesy.
        let _ = self.queue.try_send(Note { about, warning: !normal, reason, message, at: clock::now() });
    }
}

async fn send_all(client: Client, node_name: String, mut notes: mpsc::Receiver<Note>) {
    let mut seen: HashMap<String, Seen> = HashMap::new();
    while let Some(note) = notes.recv().await {
        if let Err(error) = send(&client, &node_name, &mut seen, note).await {
            tracing::debug!(%error, "an event was lost");
        }
    }
}

async fn send(
    client: &Client,
    node_name: &str,
    seen: &mut HashMap<String, Seen>,
    note: Note,
) -> Result<(), crate::api::ApiFailure> {
    let about = &note.about;
    let key = format!(
        "{}/{}/{}/{}/{}",
        about.uid.as_deref().unwrap_or(""),
        about.field_path.as_deref().unwrap_or(""),
        note.reason,
        note.message,
        note.warning
    );
    let old = |s: &Seen| note.at.duration_since(s.last).unsigned_abs() > REMEMBERED_FOR;
    if let Some(earlier) = seen.get_mut(&key).filter(|s| !old(s)) {
        earlier.count += 1;
        earlier.last = note.at;
        let patch = json!({"count": earlier.count, "lastTimestamp": Time(note.at)});
        match client.patch::<serde_json::Value>(&earlier.path, &patch).await {
            Err(error) if error.is_not_found() => {}
            other => return other.map(drop),
        }
    }
    if seen.len() >= REMEMBERED {
        seen.retain(|_, s| !old(s));
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
    }
    let event = event(node_name, &note);
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let events = format!("/api/v1/namespaces/{namespace}/events");
    let path = format!("{events}/{}", event.metadata.name.clone().unwrap_or_default());
    seen.insert(key, Seen { path, count: 1, last: note.at });
    client.post::<serde_json::Value>(&events, &event).await.map(drop)
}

fn event(node_name: &str, note: &Note) -> Event {
    let about = note.about.clone();
    let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let name = format!("{}.{:x}", about.name.as_deref().unwrap_or(""), note.at.as_nanosecond());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..Default::default() },
        involved_object: about,
        reason: Some(note.reason.to_owned()),
        message: Some(note.message.clone()),
        source: Some(EventSource { component: Some("kubelet".into()), host: Some(node_name.to_owned()) }),
        first_timestamp: Some(Time(note.at)),
        last_timestamp: Some(Time(note.at)),
        count: Some(1),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        reporting_component: Some("kubelet".into()),
        reporting_instance: Some(node_name.to_owned()),
        ..Default::default()
    }
}
