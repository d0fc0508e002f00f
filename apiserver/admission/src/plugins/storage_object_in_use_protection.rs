//! StorageObjectInUseProtection: volumes, claims and classes in use are not deleted under their users.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;
use serde_json::json;

use crate::{Attributes, Plugin, View};

pub(crate) struct StorageObjectInUseProtection;

const PROTECTED: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let found = PROTECTED.iter().find(|(group, plural, _)| attributes.creates(group, plural));
        let (Some((_, _, finalizer)), Some(object)) = (found, object) else { return Ok(()) };
        if object::finalizers(object).contains(finalizer) {
            return Ok(());
        }
        let list = object::meta_mut(object).entry("finalizers").or_insert_with(|| json!([]));
        match list.as_array_mut() {
            Some(list) => list.push((*finalizer).into()),
            None => *list = json!([finalizer]),
        }
        Ok(())
    }
}
