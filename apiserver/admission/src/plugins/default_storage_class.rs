//! DefaultStorageClass: a claim that names no class gets the default one.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Plugin, View, lookup};

pub(crate) struct DefaultStorageClass;

const MARKS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(claim) = object.filter(|_| attributes.creates("", "persistentvolumeclaims")) else { return Ok(()) };
        let by_annotation = object::annotation(claim, "volume.beta.kubernetes.io/storage-class").is_some();
        // The empty string is a choice: no class at all.
        if by_annotation || object::at(claim, "spec.storageClassName").is_some_and(|class| !class.is_null()) {
            return Ok(());
        }
        let classes = lookup::list(view, "storage.k8s.io", "storageclasses", None);
        if let Some(class) = lookup::newest_default(classes, &MARKS) {
            claim["spec"]["storageClassName"] = object::name(&class).into();
        }
        Ok(())
    }
}
