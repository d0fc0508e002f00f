//! What a PodDisruptionBudget says about an eviction. Pure.

use api_machinery::invalid::CauseType;
use api_machinery::labels::Selector;
use api_machinery::{ApiError, Cause, GroupResource, Value, object, time};
use jiff::Timestamp;
use serde_json::json;

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// Seconds after which a client may hope that the budget's controller has looked.
const RETRY_AFTER: u32 = 10;
/// Evictions of one budget that its controller has not seen yet, at most.
const MAX_DISRUPTED: usize = 2_000;
const ALLOWED: &str = "DisruptionAllowed";

pub(crate) fn budgets() -> GroupResource {
    GroupResource::new("policy", "poddisruptionbudgets")
}

pub(crate) fn covers(budget: &Value, pod: &Value) -> bool {
    Selector::from_object(object::at(budget, "spec.selector")).is_ok_and(|selector| selector.matches_object(pod))
}

/// Upstream answers so, without a reason.
pub(crate) fn several() -> ApiError {
    let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    ApiError::new(500, api_machinery::Reason::Unknown, why)
}

/// Pods that serve nobody (any more) are not protected.
pub(crate) fn needs_none(pod: &Value) -> bool {
    matches!(object::str_at(pod, "status.phase"), "Succeeded" | "Failed" | "Pending")
        || object::deletion_timestamp(pod).is_some()
}

/// Whether a pod without protection may get it while it is being evicted: it may become ready.
pub(crate) fn may_become_ready(pod: &Value) -> bool {
    object::str_at(pod, "status.phase") == "Pending" && object::deletion_timestamp(pod).is_none()
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = object::at(pod, "status.conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn number(budget: &Value, path: &str) -> i64 {
    object::at(budget, path).and_then(Value::as_i64).unwrap_or(0)
}

/// Whether `unhealthyPodEvictionPolicy` lets a pod go that is not ready, at no cost.
pub(crate) fn lets_unready_go(budget: &Value) -> bool {
    let (current, desired) = (number(budget, "status.currentHealthy"), number(budget, "status.desiredHealthy"));
    match object::str_at(budget, "spec.unhealthyPodEvictionPolicy") {
        "AlwaysAllow" => true,
        _ => current >= desired && desired > 0,
    }
}

fn refuse(retry_after: u32, message: String) -> ApiError {
    let cause = Cause { reason: CauseType::DisruptionBudget, message, field: String::new() };
    ApiError::too_many_requests(REFUSED, retry_after).because(cause)
}

/// Nothing is decided yet: ask again soon.
pub(crate) fn not_yet(name: &str) -> ApiError {
    refuse(RETRY_AFTER, format!("The disruption budget {name} is still being processed by the server."))
}

/// Only another state of the pods changes the answer, so no time to ask again is named.
fn exhausted(budget: &Value) -> ApiError {
    let name = object::name(budget);
    let (current, desired) = (number(budget, "status.currentHealthy"), number(budget, "status.desiredHealthy"));
    let conditions = object::at(budget, "status.conditions").and_then(Value::as_array);
    let condition = conditions.into_iter().flatten().find(|one| one["type"] == ALLOWED && one["status"] == "False");
    let text = |field: &str| condition.map_or("", |condition| object::str_at(condition, field));
    let (reason, message) = (text("reason"), text("message"));
    let why = if reason == "SyncFailed" && !message.is_empty() {
        format!("The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}")
    } else if current <= desired {
        format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently")
    } else if !message.is_empty() {
        format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
    } else {
        format!("The disruption budget {name} does not allow evicting pods currently")
    };
    refuse(0, why)
}

/// The budget after one more disruption, or why there may be none.
pub(crate) fn spend(budget: &Value, pod: &Value, now: Timestamp) -> Result<Value, ApiError> {
    let name = object::name(budget);
    if number(budget, "status.observedGeneration") < object::generation(budget) {
        return Err(not_yet(name));
    }
    let allowed = number(budget, "status.disruptionsAllowed");
    if allowed < 0 {
        return Err(ApiError::forbidden(&singular(), name, "pdb disruptions allowed is negative"));
    }
    let disrupted = object::at(budget, "status.disruptedPods").and_then(Value::as_object);
    if disrupted.is_some_and(|pods| pods.len() > MAX_DISRUPTED) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(ApiError::forbidden(&singular(), name, why));
    }
    if allowed == 0 {
        return Err(exhausted(budget));
    }
    let mut disrupted = disrupted.cloned().unwrap_or_default();
    disrupted.insert(object::name(pod).to_owned(), time::seconds(now).into());
    let mut spent = budget.clone();
    spent["status"]["disruptedPods"] = disrupted.into();
    spent["status"]["disruptionsAllowed"] = (allowed - 1).into();
    if allowed == 1 {
        say_insufficient(&mut spent, now);
    }
    Ok(spent)
}

/// Upstream names the resource so in these refusals.
fn singular() -> GroupResource {
    GroupResource::new("policy", "poddisruptionbudget")
}

/// The condition that the budget's controller would set for no more allowed disruptions.
fn say_insufficient(budget: &mut Value, now: Timestamp) {
    let seen = number(budget, "status.observedGeneration");
    let mut condition = json!({
        "type": ALLOWED, "status": "False", "observedGeneration": seen, "lastTransitionTime": time::seconds(now),
        "reason": "InsufficientPods", "message": "",
    });
    if !budget["status"]["conditions"].is_array() {
        budget["status"]["conditions"] = json!([]);
    }
    let Some(list) = budget["status"]["conditions"].as_array_mut() else { return };
    match list.iter_mut().find(|old| old["type"] == ALLOWED) {
        None => list.push(condition),
        Some(old) => {
            if old["status"] == condition["status"] {
                condition["lastTransitionTime"] = old.get("lastTransitionTime").cloned().unwrap_or(Value::Null);
            }
            *old = condition;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "status": status})
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("a time")
    }

    #[test]
    fn refusals_say_what_a_client_can_do() {
        let failed = json!([{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no"}]);
        let other = json!([{"type": "DisruptionAllowed", "status": "False", "reason": "Why", "message": "so"}]);
        for (status, code, retry_after, cause) in [
            (json!({"observedGeneration": 1}), 429, 10, "b is still being processed by the server."),
            (
                json!({"observedGeneration": 2, "currentHealthy": 1, "desiredHealthy": 2}),
                429,
                0,
                "b needs 2 healthy pods and has 1 currently",
            ),
            (
                json!({"observedGeneration": 2, "conditions": failed}),
                429,
                0,
                "b does not allow evicting pods currently because it failed sync: no",
            ),
            (
                json!({"observedGeneration": 2, "currentHealthy": 1, "conditions": other}),
                429,
                0,
                "b does not allow evicting pods currently (Why): so",
            ),
            (json!({"observedGeneration": 2, "currentHealthy": 1}), 429, 0, "b does not allow evicting pods currently"),
        ] {
            let error = spend(&budget(status), &json!({"metadata": {"name": "p"}}), now()).expect_err("refused");
            let details = error.details.expect("details");
            assert_eq!((error.code, details.retry_after_seconds), (code, retry_after), "{cause}");
            let expect = json!({"reason": "DisruptionBudget", "message": format!("The disruption budget {cause}")});
            assert_eq!(details.causes.iter().map(Cause::to_json).collect::<Vec<_>>(), [expect]);
        }
    }

    #[test]
    fn the_last_disruption_is_marked() {
        let pod = json!({"metadata": {"name": "p"}});
        let two =
            spend(&budget(json!({"observedGeneration": 2, "disruptionsAllowed": 2})), &pod, now()).expect("spent");
        let status =
            json!({"observedGeneration": 2, "disruptionsAllowed": 1, "disruptedPods": {"p": "2027-01-15T08:00:00Z"}});
        assert_eq!(two["status"], status);
        let one = spend(&two, &json!({"metadata": {"name": "q"}}), now()).expect("spent");
        assert_eq!(one["status"]["disruptionsAllowed"], 0);
        assert_eq!(one["status"]["conditions"][0]["reason"], "InsufficientPods");
        assert_eq!(one["status"]["conditions"][0]["lastTransitionTime"], "2027-01-15T08:00:00Z");
    }
}
