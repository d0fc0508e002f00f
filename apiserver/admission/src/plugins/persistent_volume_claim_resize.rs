//! PersistentVolumeClaimResize: a claim may grow where its class allows it.

use api_machinery::quantity::Quantity;
use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct PersistentVolumeClaimResize;

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let updates = attributes.operation == Operation::Update && attributes.is("", "persistentvolumeclaims");
        let (true, Some(claim), Some(old)) = (updates, object, attributes.old) else { return Ok(()) };
        let (Some(new_size), Some(old_size)) = (size(claim), size(old)) else { return Ok(()) };
        if new_size.nano <= old_size.nano || allows_growth(claim, view).await? {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                   support resize";
        Err(attributes.forbidden(Some(claim), why))
    }
}

fn size(claim: &Value) -> Option<Quantity> {
    Quantity::parse(object::str_at(claim, "spec.resources.requests.storage")).ok()
}

async fn allows_growth(claim: &Value, view: &dyn View) -> Result<bool, ApiError> {
    let name = match object::annotation(claim, "volume.beta.kubernetes.io/storage-class") {
        Some(name) => name,
        None => object::str_at(claim, "spec.storageClassName"),
    };
    if name.is_empty() {
        return Ok(false);
    }
    let class = lookup::get(view, "storage.k8s.io", "storageclasses", "", name).await?;
    Ok(class.is_some_and(|class| class.get("allowVolumeExpansion") == Some(&Value::Bool(true))))
}
