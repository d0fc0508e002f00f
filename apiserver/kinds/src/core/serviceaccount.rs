//! ServiceAccount.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::{Kind, cells, meta};

pub(crate) struct ServiceAccount;

impl Kind for ServiceAccount {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "serviceaccounts")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x", "namespace": "default"}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        keep_names_of_secrets(object);
    }
    fn prepare_update(&self, object: &mut Value, _old: &Value, _has_status: bool) {
        keep_names_of_secrets(object);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, true, errors);
    }
    /// Of new ones only, as nothing is known of what an update found.
    fn warnings(&self, object: &Value) -> Vec<String> {
        const ENFORCED: &str = "kubernetes.io/enforce-mountable-secrets";
        let set = meta::is_new(object) && object::annotation(object, ENFORCED).is_some();
        let say = || {
            format!(
                "metadata.annotations[{ENFORCED}]: deprecated in v1.32+; prefer separate namespaces to isolate access \
                 to mounted secrets"
            )
        };
        set.then(say).into_iter().collect()
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::age(object, now)])
    }
}

/// Nothing but the name of a secret is kept.
fn keep_names_of_secrets(object: &mut Value) {
    let secrets = object.get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten().filter_map(Value::as_object_mut) {
        secret.retain(|field, _| field == "name");
    }
}
