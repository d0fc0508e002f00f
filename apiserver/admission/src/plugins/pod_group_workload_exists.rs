//! PodGroupWorkloadExists: a group is made of a template that a workload has.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Plugin, View, lookup};

pub(crate) struct PodGroupWorkloadExists;

const GROUP: &str = "scheduling.k8s.io";

#[async_trait]
impl Plugin for PodGroupWorkloadExists {
    fn name(&self) -> &'static str {
        "PodGroupWorkloadExists"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(group) = object.filter(|_| attributes.creates(GROUP, "podgroups")) else { return Ok(()) };
        let reference = object::at(group, "spec.podGroupTemplateRef.workload").filter(|one| one.is_object());
        let Some(reference) = reference else { return Ok(()) };
        let name = object::str_at(reference, "workloadName");
        let workload = lookup::get(view, GROUP, "workloads", attributes.namespace, name).await?;
        let verdict = judge(workload.as_deref(), name, object::str_at(reference, "podGroupTemplateName"));
        verdict.map_err(|why| attributes.forbidden(Some(group), &format!("PodGroup rejected: {why}")))
    }
}

fn judge(workload: Option<&Value>, name: &str, template: &str) -> Result<(), String> {
    let Some(workload) = workload else { return Err(format!("Workload {name:?} not found")) };
    if object::deletion_timestamp(workload).is_some() {
        return Err(format!("Workload {name:?} is being deleted"));
    }
    let has = |one: &Value| object::str_at(one, "name") == template;
    if lookup::items(workload, "spec.podGroupTemplates").iter().any(has) {
        return Ok(());
    }
    Err(format!("PodGroupTemplate {template:?} not found in Workload {name:?}"))
}
