//! `pods/eviction`: a delete that a PodDisruptionBudget may refuse.

use std::sync::Arc;

use api_admission::Operation;
use api_machinery::labels::Selector;
use api_machinery::{ApiError, GroupResource, GroupVersionKind, ObjectKey, Value, object, time};
use jiff::Timestamp;
use serde_json::json;

use crate::scope::Scope;
use crate::{Body, DeleteOptions, Registry, RequestInfo, Written, binding, body, metadata};

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// Seconds.
const RETRY_AFTER: u32 = 10;
/// Evictions of one budget that its controller has not seen yet, at most.
const MAX_DISRUPTED: usize = 2_000;

fn gvk() -> GroupVersionKind {
    GroupVersionKind { group: "policy".into(), version: "v1".into(), kind: "Eviction".into() }
}

fn budgets() -> GroupResource {
    GroupResource::new("policy", "poddisruptionbudgets")
}

impl Registry {
    pub(crate) async fn evict(&self, scope: &Scope<'_>, body: Body) -> Result<Written, ApiError> {
        let type_id = scope.resource.subresource("eviction").and_then(|sub| sub.type_id);
        let incoming = body::object(self.schema, body, type_id, &gvk(), scope.info.field_validation)?;
        let mut eviction = incoming.value;
        metadata::settle_namespace(&mut eviction, scope.namespace)?;
        if !["", scope.name].contains(&object::name(&eviction)) {
            return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
        }
        let attributes = scope.attributes(Operation::Create, scope.name, None);
        self.admission.admit(&attributes, Some(&mut eviction), self).await?;
        self.admission.validate(&attributes, Some(&eviction), self).await?;
        let (options, dry_run) = options(&eviction);
        let info = RequestInfo { dry_run: scope.info.dry_run || dry_run, ..scope.info.clone() };
        let scope = Scope { info: &info, subresource: "", ..*scope };
        self.barrier().await?;
        let pod = self.fresh(&scope.key(scope.name)).await?.object.ok_or_else(|| scope.not_found(scope.name))?;
        if !needs_no_budget(&pod) {
            self.spend_budget(&scope, &pod).await?;
        }
        let written = self.delete_evicted(&scope, &pod, options).await?;
        Ok(binding::success(written.revision, incoming.warnings))
    }

    async fn spend_budget(&self, scope: &Scope<'_>, pod: &Value) -> Result<(), ApiError> {
        let all = self.cache.list(&budgets(), Some(scope.namespace)).objects;
        let covering: Vec<Arc<Value>> =
            all.iter().map(|budget| budget.value()).filter(|budget| covers(budget, pod)).collect();
        let budget = match covering.as_slice() {
            [] => return Ok(()),
            [budget] => budget,
            _ => {
                return Err(ApiError::internal(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        let key = ObjectKey::new(budgets(), scope.namespace, object::name(budget));
        let edit = |budget: &Value| spend(budget, pod, scope.now);
        self.raw_update(scope, &key, &edit).await.map(|_| ())
    }

    /// Says in the pod's conditions why it goes, then deletes it.
    async fn delete_evicted(
        &self,
        scope: &Scope<'_>,
        pod: &Value,
        mut options: DeleteOptions,
    ) -> Result<Written, ApiError> {
        let uid = object::uid(pod).to_owned();
        let condition = json!({
            "type": "DisruptionTarget", "status": "True",
            "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        });
        if options.precondition_resource_version.is_none() {
            let edit = |pod: &Value| {
                let mut pod = pod.clone();
                binding::set_condition(&mut pod, condition.clone(), scope.now);
                Ok(pod)
            };
            self.raw_update(scope, &scope.key(scope.name), &edit).await?;
        }
        options.precondition_uid.get_or_insert(uid);
        self.delete_object(scope, scope.name, &options).await
    }
}

fn options(eviction: &Value) -> (DeleteOptions, bool) {
    let given = eviction.get("deleteOptions").unwrap_or(&Value::Null);
    let text = |path: &str| object::at(given, path).and_then(Value::as_str).map(str::to_owned);
    let options = DeleteOptions {
        grace_period_seconds: given.get("gracePeriodSeconds").and_then(Value::as_i64),
        precondition_uid: text("preconditions.uid"),
        precondition_resource_version: text("preconditions.resourceVersion"),
        propagation_policy: text("propagationPolicy"),
    };
    let dry_run = given.get("dryRun").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    (options, dry_run)
}

/// Pods that serve nobody (any more) are not protected.
fn needs_no_budget(pod: &Value) -> bool {
    matches!(object::str_at(pod, "status.phase"), "Succeeded" | "Failed" | "Pending")
        || object::deletion_timestamp(pod).is_some()
}

fn covers(budget: &Value, pod: &Value) -> bool {
    Selector::from_object(object::at(budget, "spec.selector")).is_ok_and(|selector| selector.matches_object(pod))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = object::at(pod, "status.conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The budget after one more disruption, or why there may be none.
fn spend(budget: &Value, pod: &Value, now: Timestamp) -> Result<Value, ApiError> {
    let number = |path: &str| object::at(budget, path).and_then(Value::as_i64).unwrap_or(0);
    let refuse = || ApiError::too_many_requests(REFUSED, RETRY_AFTER);
    let name = object::name(budget);
    if !is_ready(pod) && unready_may_go(budget, number("status.currentHealthy"), number("status.desiredHealthy")) {
        return Ok(budget.clone());
    }
    if number("status.observedGeneration") < object::generation(budget) {
        return Err(refuse());
    }
    let allowed = number("status.disruptionsAllowed");
    if allowed < 0 {
        return Err(ApiError::forbidden(&budgets(), name, "pdb disruptions allowed is negative"));
    }
    let disrupted = object::at(budget, "status.disruptedPods").and_then(Value::as_object);
    if disrupted.is_some_and(|pods| pods.len() > MAX_DISRUPTED) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(ApiError::forbidden(&budgets(), name, why));
    }
    if allowed == 0 {
        return Err(refuse());
    }
    let mut spent = budget.clone();
    let mut disrupted = disrupted.cloned().unwrap_or_default();
    disrupted.insert(object::name(pod).to_owned(), time::seconds(now).into());
    spent["status"]["disruptedPods"] = disrupted.into();
    spent["status"]["disruptionsAllowed"] = (allowed - 1).into();
    Ok(spent)
}

/// `unhealthyPodEvictionPolicy` for a pod that is not ready.
fn unready_may_go(budget: &Value, current: i64, desired: i64) -> bool {
    match object::str_at(budget, "spec.unhealthyPodEvictionPolicy") {
        "AlwaysAllow" => true,
        _ => current >= desired && desired > 0,
    }
}
