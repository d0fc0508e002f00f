//! JobValidation: a Job whose pods are scheduled together or not at all keeps their number.

use api_machinery::{ApiError, GroupResource, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct JobValidation;

const GROUP: &str = "scheduling.k8s.io";

#[async_trait]
impl Plugin for JobValidation {
    fn name(&self) -> &'static str {
        "JobValidation"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let updates = attributes.operation == Operation::Update && attributes.is("batch", "jobs");
        let (Some(new), Some(old)) = (object.filter(|_| updates), attributes.old) else { return Ok(()) };
        if object::at(new, "spec.parallelism") == object::at(old, "spec.parallelism") {
            return Ok(());
        }
        let Some(group) = gang_of(attributes.namespace, old, view) else { return Ok(()) };
        let why = format!("cannot change parallelism for a Job referencing gang-scheduled PodGroup {group:?}");
        Err(attributes.forbidden(Some(new), &why))
    }
}

/// The name of the group that the Job's pods are in, where they are scheduled all together.
fn gang_of(namespace: &str, job: &Value, view: &dyn View) -> Option<String> {
    let name = object::str_at(job, "spec.template.spec.schedulingGroup.podGroupName");
    let gang = |group: &Value| object::at(group, "spec.schedulingPolicy.gang").is_some_and(Value::is_object);
    if !name.is_empty() {
        let group = view.get(&GroupResource::new(GROUP, "podgroups"), namespace, name)?;
        return gang(&group).then(|| name.to_owned());
    }
    let groups = lookup::list(view, GROUP, "podgroups", Some(namespace));
    let found = groups.iter().find(|group| is_controlled_by(group, object::uid(job)) && gang(group))?;
    Some(object::name(found).to_owned())
}

fn is_controlled_by(object: &Value, uid: &str) -> bool {
    let controls =
        |owner: &Value| owner.get("controller") == Some(&Value::Bool(true)) && object::str_at(owner, "uid") == uid;
    object::owner_references(object).iter().any(controls)
}
