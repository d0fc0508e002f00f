//! ClusterTrustBundleAttest: who publishes trust anchors in the name of a signer must be allowed to attest for it.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;
use serde_json::{Map, json};

use crate::{Attributes, Operation, Plugin, View, signers};

pub(crate) struct ClusterTrustBundleAttest;

#[async_trait]
impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        let is_bundle = writes && attributes.is_any_of("certificates.k8s.io", "clustertrustbundles");
        let Some(new) = object.filter(|_| is_bundle) else { return Ok(()) };
        let signer = object::str_at(new, "spec.signerName");
        let attests_nothing = signer.is_empty() || attributes.old.is_some_and(|old| said(old) == said(new));
        if attests_nothing || signers::may(attributes, "attest", signer).await {
            return Ok(());
        }
        Err(attributes.forbidden(object, &format!("user not permitted to attest for signerName {signer:?}")))
    }
}

/// All but what the garbage collector changes.
fn said(bundle: &Value) -> Value {
    const OF_THE_COLLECTOR: [&str; 4] = ["ownerReferences", "finalizers", "managedFields", "resourceVersion"];
    let without = |map: &Map<String, Value>, fields: &[&str]| -> Value {
        let kept = map.iter().filter(|(field, _)| !fields.contains(&field.as_str()));
        Value::Object(kept.map(|(field, value)| (field.clone(), value.clone())).collect())
    };
    let metadata = object::meta(bundle).map(|metadata| without(metadata, &OF_THE_COLLECTOR));
    let rest = bundle.as_object().map(|bundle| without(bundle, &["metadata"]));
    json!([metadata, rest])
}
