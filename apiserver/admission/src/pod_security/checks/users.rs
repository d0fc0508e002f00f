//! As whom containers may run.

use api_machinery::Value;

use super::super::pods::{Pod, security};
use super::Finding;
use super::text::{containers, finding, names, setters};

const FIELD: &str = "runAsNonRoot";

pub(super) fn non_root(pod: Pod<'_>) -> Option<Finding> {
    let (no, of_pod) = (Some(false), pod.security(FIELD).and_then(Value::as_bool));
    let of = |container| security(container, FIELD).and_then(Value::as_bool);
    let explicit = names(pod, |container| of(container) == no);
    if let Some(who) = setters(of_pod == no, &explicit) {
        return finding("runAsNonRoot != true", format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = names(pod, |container| of(container).is_none() && of_pod != Some(true));
    if silent.is_empty() {
        return None;
    }
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent));
    finding("runAsNonRoot != true", detail)
}

pub(super) fn non_root_unless_own_users(pod: Pod<'_>) -> Option<Finding> {
    if pod.has_own_users() { None } else { non_root(pod) }
}

pub(super) fn user(pod: Pod<'_>) -> Option<Finding> {
    let is_root = |user: Option<&Value>| user.and_then(Value::as_i64) == Some(0);
    let bad = names(pod, |container| is_root(security(container, "runAsUser")));
    let who = setters(is_root(pod.security("runAsUser")), &bad)?;
    finding("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn user_unless_own_users(pod: Pod<'_>) -> Option<Finding> {
    if pod.has_own_users() { None } else { user(pod) }
}
