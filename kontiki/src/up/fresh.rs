//! What is true since this start, and not left over from an earlier one.
//!
//! Objects say of nodes and pods what was last heard of them. After a restart that is old until their kubelets
//! speak again.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

/// Nodes that are not Ready, or have not been heard of since `start`.
pub(super) fn missing_nodes(nodes: &Value, leases: &Value, wished: &[String], start: Timestamp) -> Vec<String> {
    let renewed = |name: &str| {
        let lease = items(leases).find(|lease| self::name(lease) == Some(name));
        lease.and_then(|lease| time(&lease["spec"]["renewTime"])).is_some_and(|renewed| renewed > start)
    };
    let is_up = |node: &Value| {
        let ready = condition(node, "Ready");
        let heard = ready.filter(|ready| ready["status"] == "True").and_then(|ready| time(&ready["lastHeartbeatTime"]));
        // These times have no fractions of a second.
        heard.is_some_and(|heard| heard.as_second() >= start.as_second()) && name(node).is_some_and(renewed)
    };
    let up: BTreeSet<&str> = items(nodes).filter(|node| is_up(node)).filter_map(name).collect();
    wished.iter().filter(|node| !up.contains(node.as_str())).cloned().collect()
}

/// Pods of these nodes that their kubelets have not come to since `start`: those of an earlier run.
pub(super) fn unsettled_pods(pods: &Value, nodes: &[String], start: Timestamp) -> Vec<String> {
    let here = |pod: &Value| pod["spec"]["nodeName"].as_str().is_some_and(|node| nodes.iter().any(|one| one == node));
    let unsettled = items(pods).filter(|pod| here(pod) && !is_over(pod) && !is_settled(pod, start));
    unsettled.filter_map(name).map(str::to_owned).collect()
}

fn is_over(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str();
    !pod["metadata"]["deletionTimestamp"].is_null() || matches!(phase, Some("Succeeded" | "Failed"))
}

/// A container runs since `start` or says why not, and none is said to run from before.
fn is_settled(pod: &Value, start: Timestamp) -> bool {
    let all = ["initContainerStatuses", "containerStatuses"].map(|field| pod["status"][field].as_array());
    let runs_again = pod["spec"]["restartPolicy"].as_str().is_none_or(|policy| policy == "Always");
    let told = |one: &Value| told(&one["state"], runs_again, start);
    let states: Vec<_> = all.into_iter().flatten().flatten().map(told).collect();
    states.contains(&Told::New) && !states.contains(&Told::Old)
}

#[derive(PartialEq, Eq)]
enum Told {
    New,
    Old,
    Nothing,
}

fn told(state: &Value, runs_again: bool, start: Timestamp) -> Told {
    let since = |field: &Value| time(field).is_some_and(|time| time.as_second() >= start.as_second());
    if !state["running"].is_null() {
        return if since(&state["running"]["startedAt"]) { Told::New } else { Told::Old };
    }
    match state["waiting"]["reason"].as_str() {
        Some("ContainerCreating" | "PodInitializing") => Told::Nothing,
        Some(_) => Told::New,
        // That one has ended meanwhile is no news of one that is to run.
        None if !runs_again && since(&state["terminated"]["finishedAt"]) => Told::New,
        None => Told::Nothing,
    }
}

/// Pods that are Ready and whose containers run since `start`.
pub(super) fn running_pods(pods: &Value, start: Timestamp) -> usize {
    items(pods).filter(|pod| is_true(pod, "Ready") && has_run_since(pod, start)).count()
}

fn has_run_since(pod: &Value, start: Timestamp) -> bool {
    let containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let started = containers.filter_map(|one| time(&one["state"]["running"]["startedAt"]));
    started.into_iter().any(|started| started.as_second() >= start.as_second())
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn name(object: &Value) -> Option<&str> {
    object["metadata"]["name"].as_str()
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

pub(super) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|one| one["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn start() -> Timestamp {
        "2026-11-22T12:00:00.5Z".parse().expect("time")
    }

    fn node(name: &str, ready: &str, heard: &str) -> Value {
        let ready = json!({"type": "Ready", "status": ready, "lastHeartbeatTime": heard});
        json!({"metadata": {"name": name}, "status": {"conditions": [ready]}})
    }

    #[test]
    fn nodes_that_were_ready_before_are_not_yet() {
        let (old, new) = ("2026-11-22T11:59:58Z", "2026-11-22T12:00:00Z");
        let nodes = json!({"items": [
            node("up", "True", new), node("old", "True", old), node("bad", "False", new),
            node("silent", "True", new), node("stale-lease", "True", new),
        ]});
        let lease = |name: &str, time: &str| json!({"metadata": {"name": name}, "spec": {"renewTime": time}});
        let leases = json!({"items": [
            lease("up", "2026-11-22T12:00:01.000000Z"), lease("old", "2026-11-22T12:00:01.000000Z"),
            lease("bad", "2026-11-22T12:00:01.000000Z"), lease("stale-lease", "2026-11-22T12:00:00.400000Z"),
        ]});
        let wished = ["up", "old", "bad", "silent", "stale-lease", "none"].map(str::to_owned);
        let missing = missing_nodes(&nodes, &leases, &wished, start());
        assert_eq!(missing, ["old", "bad", "silent", "stale-lease", "none"]);
    }

    #[test]
    fn pods_that_ran_before_do_not_yet() {
        let pod = |name: &str, node: &str, ready: &str, started: &str| {
            let container = json!({"state": {"running": {"startedAt": started}}});
            json!({"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {
                "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [container]}})
        };
        let (old, new) = ("2026-11-22T11:59:58Z", "2026-11-22T12:00:01Z");
        let waiting = |name: &str, reason: &str| {
            let container = json!({"state": {"waiting": {"reason": reason}}});
            json!({"metadata": {"name": name}, "spec": {"nodeName": "n"}, "status": {"containerStatuses": [container]}})
        };
        let container = json!({"state": {"terminated": {"finishedAt": new}}});
        let killed = |policy: &str| {
            json!({"metadata": {"name": policy}, "spec": {"nodeName": "n", "restartPolicy": policy},
                "status": {"containerStatuses": [container]}})
        };
        let mut ended = pod("ended", "n", "False", old);
        ended["status"]["phase"] = json!("Succeeded");
        let mut leaving = pod("leaving", "n", "True", old);
        leaving["metadata"]["deletionTimestamp"] = json!(new);
        let pods = json!({"items": [
            pod("runs", "n", "True", new), pod("ran", "n", "True", old), pod("unready", "n", "False", old),
            pod("elsewhere", "m", "True", old), waiting("creating", "ContainerCreating"),
            waiting("broken", "CrashLoopBackOff"), ended, leaving, killed("Always"), killed("Never"), {"spec": {"nodeName": "n"}, "metadata": {"name": "new"}},
        ]});
        let unsettled = unsettled_pods(&pods, &["n".to_owned()], start());
        assert_eq!(unsettled, ["ran", "unready", "creating", "Always", "new"]);
        assert_eq!(running_pods(&pods, start()), 1);
    }
}
