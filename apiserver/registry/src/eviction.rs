//! `pods/eviction`: a delete that a PodDisruptionBudget may refuse.

use std::sync::Arc;

use api_admission::Operation;
use api_machinery::{ApiError, ErrorList, GroupKind, GroupResource, GroupVersionKind, ObjectKey, Path, Value, object};
use serde_json::json;

use crate::scope::Scope;
use crate::{Body, DeleteOptions, Registry, RequestInfo, Written, binding, body, budget, delete, metadata};

/// Looks again at a pod that changes while it is evicted, at most.
const TRIES: usize = 20;

fn gvk() -> GroupVersionKind {
    GroupVersionKind { group: "policy".into(), version: "v1".into(), kind: "Eviction".into() }
}

/// What protects a pod.
enum Protection {
    /// Nothing, whatever becomes of the pod, or a budget that was asked and has agreed.
    None,
    /// Nothing as long as the pod stays as it was seen.
    WhileUnchanged,
    /// The same, and this budget was asked.
    WhileUnready { budget: String },
}

impl Registry {
    pub(crate) async fn evict(&self, scope: &Scope<'_>, body: Body) -> Result<Written, ApiError> {
        let type_id = scope.resource.subresource("eviction").and_then(|sub| sub.type_id);
        let mut eviction = body::object(self.schema, scope, body, type_id, &gvk())?;
        metadata::settle_namespace(&mut eviction, scope.namespace)?;
        if !["", scope.name].contains(&object::name(&eviction)) {
            return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
        }
        let attributes = scope.attributes(Operation::Create, scope.name, None);
        self.admission.admit(&attributes, Some(&mut eviction), self).await?;
        check_options(&eviction, scope.name)?;
        let dry_run = is_dry_run(&eviction, scope.info.dry_run)?;
        self.admission.validate(&attributes, Some(&eviction), self).await?;
        let options = options(&eviction);
        let info = RequestInfo { dry_run, ..scope.info.clone() };
        let scope = Scope { info: &info, subresource: "", ..*scope };
        self.barrier().await?;
        let written = self.evict_as_seen(&scope, &options).await?;
        Ok(binding::success(written.revision))
    }

    /// Evicts the pod as it is; one that changed meanwhile is looked at again.
    async fn evict_as_seen(&self, scope: &Scope<'_>, options: &DeleteOptions) -> Result<Written, ApiError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let pod = self.fresh(&scope.key(scope.name)).await?.object.ok_or_else(|| scope.not_found(scope.name))?;
            let protection = self.protection(scope, &pod).await?;
            let (mut options, pinned) = (options.clone(), options.precondition_resource_version.is_some());
            if !pinned && !matches!(protection, Protection::None) {
                options.precondition_resource_version = Some(object::resource_version(&pod).to_owned());
            }
            match (self.delete_evicted(scope, &pod, options).await, protection) {
                (Err(error), Protection::WhileUnchanged) if error.code == 409 && !pinned && tries < TRIES => {}
                (Err(error), Protection::WhileUnready { budget }) if error.code == 409 && !pinned => {
                    return Err(budget::not_yet(&budget));
                }
                (outcome, _) => return outcome,
            }
        }
    }

    /// Asks the budget of the pod, if it has one.
    async fn protection(&self, scope: &Scope<'_>, pod: &Value) -> Result<Protection, ApiError> {
        if budget::needs_none(pod) {
            let may = budget::may_become_ready(pod);
            return Ok(if may { Protection::WhileUnchanged } else { Protection::None });
        }
        let all = self.cache.list(&budget::budgets(), Some(scope.namespace)).objects;
        let covering: Vec<Arc<Value>> =
            all.iter().map(|budget| budget.value()).filter(|budget| budget::covers(budget, pod)).collect();
        let budget = match covering.as_slice() {
            [] => return Ok(Protection::None),
            [budget] => budget,
            _ => return Err(budget::several()),
        };
        if !budget::is_ready(pod) && budget::lets_unready_go(budget) {
            return Ok(Protection::WhileUnready { budget: object::name(budget).to_owned() });
        }
        let key = ObjectKey::new(budget::budgets(), scope.namespace, object::name(budget));
        let edit = |budget: &Value| budget::spend(budget, pod, scope.now);
        self.raw_update(scope, &key, &edit).await?;
        Ok(Protection::None)
    }

    /// Says in the pod's conditions why it goes, then deletes it.
    async fn delete_evicted(
        &self,
        scope: &Scope<'_>,
        pod: &Value,
        mut options: DeleteOptions,
    ) -> Result<Written, ApiError> {
        options.precondition_uid.get_or_insert_with(|| object::uid(pod).to_owned());
        let condition = json!({
            "type": "DisruptionTarget", "status": "True",
            "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        });
        let edit = |pod: &Value| {
            delete::check_preconditions(&options, pod, &GroupResource::new("", "Pod"), object::name(pod))?;
            let mut pod = pod.clone();
            binding::set_condition(&mut pod, condition.clone(), scope.now);
            Ok(pod)
        };
        let (_, revision) = self.raw_update(scope, &scope.key(scope.name), &edit).await?;
        // The condition made another version of the pod that was asked for.
        let version = options.precondition_resource_version.take();
        options.precondition_resource_version = version.map(|_| revision.to_string());
        self.delete_object(scope, scope.name, &options).await
    }
}

fn check_options(eviction: &Value, name: &str) -> Result<(), ApiError> {
    const FIELD: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";
    let ignores = object::at(eviction, &format!("deleteOptions.{FIELD}")) == Some(&Value::Bool(true));
    if !ignores {
        return Ok(());
    }
    let mut errors = ErrorList::new();
    let detail = "can not be set for pod eviction, try after removing the option";
    errors.invalid(&Path::new("deleteOptions").child(FIELD), &Value::Bool(true), detail);
    Err(ApiError::invalid(&GroupKind { group: "policy".into(), kind: "Eviction".into() }, name, errors))
}

/// Whether request or content say so; where both say something it must be the same.
fn is_dry_run(eviction: &Value, asked: bool) -> Result<bool, ApiError> {
    let given = object::at(eviction, "deleteOptions.dryRun").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if asked && !given.is_empty() && given != ["All"] {
        let given = given.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        // Upstream answers 500; what a client does wrong never is that here.
        let why = format!("Non-matching dry-run options in request and content: [All] and [{given}]");
        return Err(ApiError::bad_request(why));
    }
    Ok(asked || !given.is_empty())
}

fn options(eviction: &Value) -> DeleteOptions {
    let given = eviction.get("deleteOptions").unwrap_or(&Value::Null);
    let text = |path: &str| object::at(given, path).and_then(Value::as_str).map(str::to_owned);
    DeleteOptions {
        grace_period_seconds: given.get("gracePeriodSeconds").and_then(Value::as_i64),
        precondition_uid: text("preconditions.uid"),
        precondition_resource_version: text("preconditions.resourceVersion"),
        propagation_policy: text("propagationPolicy"),
    }
}
