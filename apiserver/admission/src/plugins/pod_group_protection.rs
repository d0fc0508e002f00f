//! PodGroupProtection: a group stays while pods of it are there.
//!
//! Where PodGroups are not served, as with upstream's defaults, there is nothing to protect.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;
use serde_json::json;

use crate::{Attributes, Plugin, View};

pub(crate) struct PodGroupProtection;

const FINALIZER: &str = "scheduling.k8s.io/podgroup-protection";

#[async_trait]
impl Plugin for PodGroupProtection {
    fn name(&self) -> &'static str {
        "PodGroupProtection"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(group) = object.filter(|_| attributes.creates("scheduling.k8s.io", "podgroups")) else {
            return Ok(());
        };
        if object::finalizers(group).contains(&FINALIZER) {
            return Ok(());
        }
        let list = object::meta_mut(group).entry("finalizers").or_insert_with(|| json!([]));
        match list.as_array_mut() {
            Some(list) => list.push(FINALIZER.into()),
            None => *list = json!([FINALIZER]),
        }
        Ok(())
    }
}
