//! The object in watches of every form, from its first event to its last.

use api_machinery::Value;
use serde_json::json;

use super::forms::{Columns, as_kind, compare_table, partial};
use super::session::{Events, JSON, PROTOBUF, Session};
use super::{Case, Findings, LABEL};

pub(super) struct Watching {
    objects: [Events; 2],
    metadata: [Events; 2],
    table: Events,
    /// The last events that the objects were in.
    seen: Vec<Value>,
}

impl Watching {
    pub(super) async fn open(session: &Session<'_>, case: &Case) -> Self {
        let query = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let target = format!("{}?{LABEL}&{query}", case.collection);
        let open = async |accept: &str| session.watch(&target, accept).await;
        let in_protobuf = session.get(&target, &as_kind(PROTOBUF, "Table")).await;
        assert_eq!(in_protobuf.code, 406, "a watch of Tables in protobuf");
        let metadata = |format: &str| as_kind(format, "PartialObjectMetadata");
        Self {
            objects: [open(JSON).await, open(PROTOBUF).await],
            metadata: [open(&metadata(JSON)).await, open(&metadata(PROTOBUF)).await],
            table: open(&as_kind(JSON, "Table")).await,
            seen: Vec::new(),
        }
    }

    /// What there is, and the word that this is all.
    pub(super) async fn added(
        &mut self,
        case: &Case,
        served: &Value,
        columns: Option<&Columns>,
        findings: &mut Findings,
    ) {
        let name = case.name();
        for (events, wanted) in self
            .objects
            .iter_mut()
            .map(|events| (events, served.clone()))
            .chain(self.metadata.iter_mut().map(|events| (events, partial(served))))
        {
            let (kind, object) = events.next().await;
            findings.same(&format!("{name} watched"), &json!([kind, object]), &json!(["ADDED", wanted]));
            let (kind, bookmark) = events.next().await;
            let end = &bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"];
            findings.same(&format!("{name} bookmark"), &json!([kind, end]), &json!(["BOOKMARK", "true"]));
            findings.same(&format!("{name} bookmark"), &bookmark["kind"], &wanted["kind"]);
        }
        let (kind, table) = self.table.next().await;
        findings.same(&format!("Table of {name} watched"), &kind.into(), &json!("ADDED"));
        compare_table(&format!("Table of {name} watched"), &table, served, columns, findings);
        let (kind, bookmark) = self.table.next().await;
        findings.same(&format!("{name} bookmark"), &json!([kind, bookmark["kind"]]), &json!(["BOOKMARK", "Table"]));
    }

    /// The last events are those of the delete, and all forms tell of the same.
    pub(super) async fn deleted(&mut self, case: &Case, findings: &mut Findings) {
        let name = case.name();
        for events in &mut self.objects {
            self.seen.push(last(events).await);
        }
        findings.same(&format!("{name} deleted, watched"), &self.seen[1], &self.seen[0]);
        for events in &mut self.metadata {
            let object = last(events).await;
            findings.same(&format!("metadata of {name} deleted, watched"), &object, &partial(&self.seen[0]));
        }
        let table = last(&mut self.table).await;
        compare_table(&format!("Table of {name} deleted, watched"), &table, &self.seen[0], None, findings);
        let columns = &table["columnDefinitions"];
        findings.same(&format!("Table of {name} has columns once"), columns, &json!([]));
    }
}

/// What may end slowly is modified before.
async fn last(events: &mut Events) -> Value {
    loop {
        match events.next().await {
            (kind, object) if kind == "DELETED" => return object,
            (kind, object) => assert!(kind == "MODIFIED" || kind == "BOOKMARK", "{kind}: {object}"),
        }
    }
}
