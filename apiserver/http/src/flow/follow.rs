//! Keeps the levels in step with their API objects, those objects in step with what this server knows, and lends
//! seats.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api_flow::config::{FlowSchema, PriorityLevel};
use api_machinery::{GroupResource, Reason, Value, object, time};
use api_registry::{Body, RequestInfo as Caller, Target};
use serde_json::json;
use tokio::time::Instant;

use super::FlowControl;
use crate::state::State;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations";
const SCHEMAS: &str = "flowschemas";
/// Between two adjustments of what is lent, as upstream.
const ADJUST: Duration = Duration::from_secs(10);
/// Between two looks at the objects that every cluster has, as upstream.
const KEEP: Duration = Duration::from_secs(60);
/// Changes that come close together are taken over at once.
const SETTLE: Duration = Duration::from_millis(5);
/// Before opening watches again that the cache has ended.
const RETRY: Duration = Duration::from_millis(100);
/// Writes of one schema's status in a minute, as upstream: two servers that disagree do not write for ever.
const MAX_UPDATES: usize = 6;
const MINUTE: Duration = Duration::from_secs(60);
/// Who manages the status, as upstream.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
const USER: &str = "system:apiserver";

/// Until the server stops.
pub(crate) async fn run(state: Arc<State>) {
    let Some(control) = state.flow.clone() else { return };
    let work = async { tokio::join!(adjust(&control), follow(&state, &control), keep(&state)) };
    state.stop.run_until_cancelled(work).await;
}

async fn adjust(control: &FlowControl) {
    loop {
        tokio::time::sleep(ADJUST).await;
        control.adjust();
    }
}

/// Makes what was deleted again, and mends what this server keeps.
async fn keep(state: &State) {
    loop {
        tokio::time::sleep(KEEP).await;
        if let Err(error) = state.server.registry.keep_flow_control().await {
            tracing::debug!(%error, "cannot keep the objects of priority and fairness yet");
        }
    }
}

async fn follow(state: &State, control: &FlowControl) {
    let mut updates = Updates::default();
    loop {
        follow_once(state, control, &mut updates).await;
        tokio::time::sleep(RETRY).await;
    }
}

/// Until the cache ends a watch.
async fn follow_once(state: &State, control: &FlowControl, updates: &mut Updates) {
    let cache = &state.server.registry.cache;
    let from = cache.revision();
    let mut watchers = Vec::new();
    for resource in [LEVELS, SCHEMAS] {
        match cache.watch(&GroupResource::new(GROUP, resource), None, from) {
            Ok(watcher) => watchers.push(watcher),
            Err(error) => return tracing::warn!(%error, resource, "cannot watch"),
        }
    }
    loop {
        let schemas = take_over(state, control);
        for (schema, condition) in schemas {
            update_status(state, updates, &schema, condition).await;
        }
        let next = futures::future::select_all(watchers.iter_mut().map(|watcher| Box::pin(watcher.next())));
        // A status that was held back is looked at again after a while.
        if let Ok((Err(error), _, _)) = tokio::time::timeout(KEEP, next).await {
            return tracing::info!(%error, "priority and fairness starts over");
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// Configures the levels. Answers the schemas whose status is not what it should be, with what it should be.
fn take_over(state: &State, control: &FlowControl) -> Vec<(String, Value)> {
    let list = |resource: &str| -> Vec<Arc<Value>> {
        let listing = state.server.registry.cache.list(&GroupResource::new(GROUP, resource), None);
        listing.objects.iter().map(|object| object.kept_value()).collect()
    };
    let mut levels = Vec::new();
    for value in list(LEVELS) {
        match PriorityLevel::read(&value) {
            Ok(level) => levels.push(level),
            Err(why) => tracing::warn!(name = object::name(&value), why, "a priority level cannot be used"),
        }
    }
    let values = list(SCHEMAS);
    let schemas: Vec<FlowSchema> = values.iter().map(|value| FlowSchema::read(value)).collect();
    let known = |schema: &FlowSchema| levels.iter().any(|level| level.name == schema.level);
    let told = schemas.iter().zip(&values).filter_map(|(schema, value)| {
        let condition = dangling(&schema.level, known(schema), value)?;
        Some((schema.name.clone(), condition))
    });
    let told = told.collect();
    let now = control.now();
    let mut inner = control.inner.lock();
    let served = inner.flow.configure(levels, schemas, now);
    inner.wake(served);
    told
}

/// The condition that says whether a schema's level is there; `None` where it says so already.
fn dangling(level: &str, found: bool, schema: &Value) -> Option<Value> {
    let (status, reason, end) = match found {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}");
    let wanted = json!({"type": "Dangling", "status": status, "reason": reason, "message": message});
    let conditions = schema["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let own = conditions.iter().find(|condition| condition["type"] == "Dangling");
    let same = |own: &Value| ["status", "reason", "message"].iter().all(|field| own[*field] == wanted[*field]);
    (!own.is_some_and(same)).then_some(wanted)
}

/// When which schema was written.
#[derive(Default)]
struct Updates(HashMap<String, VecDeque<Instant>>);

impl Updates {
    /// Whether it may be written once more; counts that it is.
    fn allow(&mut self, schema: &str, now: Instant) -> bool {
        self.0.retain(|_, times| times.back().is_some_and(|last| now.duration_since(*last) < MINUTE));
        let times = self.0.entry(schema.to_owned()).or_default();
        while times.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            times.pop_front();
        }
        let allowed = times.len() < MAX_UPDATES;
        if allowed {
            times.push_back(now);
        }
        allowed
    }
}

async fn update_status(state: &State, updates: &mut Updates, schema: &str, mut condition: Value) {
    let registry = &state.server.registry;
    let Some(resource) = registry.schema.own(GROUP, "v1", SCHEMAS) else { return };
    if !updates.allow(schema, Instant::now()) {
        return;
    }
    condition["lastTransitionTime"] = time::seconds(state.now()).into();
    let configuration = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "FlowSchema",
        "metadata": {"name": schema}, "status": {"conditions": [condition]}});
    let caller = Caller { field_manager: MANAGER.to_owned(), ..Caller::internal(USER) };
    let target = Target { resource, namespace: "", name: schema, subresource: "status" };
    match registry.apply(&caller, &target, Body::Value(configuration), true).await {
        // Deleted meanwhile.
        Err(error) if error.reason == Reason::NotFound => {}
        Err(error) => tracing::debug!(%error, schema, "cannot write the status of a FlowSchema yet"),
        Ok(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_whether_its_level_is_there() {
        let schema = |conditions: Value| json!({"metadata": {"name": "s"}, "status": {"conditions": conditions}});
        let found = dangling("l", true, &schema(json!([]))).expect("is written");
        assert_eq!(
            found["message"],
            "This FlowSchema references the PriorityLevelConfiguration object named \"l\" and it exists"
        );
        assert_eq!(dangling("l", true, &schema(json!([found]))), None, "nothing is left to do");
        let gone = dangling("l", false, &schema(json!([found]))).expect("is written");
        assert_eq!((&gone["status"], &gone["reason"]), (&json!("True"), &json!("NotFound")));
    }

    #[test]
    fn a_schema_is_not_written_for_ever() {
        let (mut updates, start) = (Updates::default(), Instant::now());
        let allowed = |updates: &mut Updates, seconds| updates.allow("s", start + Duration::from_secs(seconds));
        let in_a_minute = (0..20).filter(|at| allowed(&mut updates, *at)).count();
        assert_eq!(in_a_minute, MAX_UPDATES);
        assert!(updates.allow("other", start));
        assert!(allowed(&mut updates, 60), "the first is a minute ago");
    }
}
