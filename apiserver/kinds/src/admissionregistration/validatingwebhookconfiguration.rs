//! ValidatingWebhookConfiguration.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::Kind;
use crate::list::{admissionregistration_rules as rules, admissionregistration_webhooks as webhooks};

pub(crate) struct ValidatingWebhookConfiguration;

impl Kind for ValidatingWebhookConfiguration {
    fn resource(&self) -> GroupResource {
        GroupResource::new(rules::GROUP, "validatingwebhookconfigurations")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
               "metadata": {"name": "x"}, "webhooks": [{"name": "a.example.com", "sideEffects": "None",
                   "admissionReviewVersions": ["v1"], "clientConfig": {"service": {"namespace": "default", "name": "s"}},
                   "rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"],
                              "resources": ["foos"]}]}]})
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        webhooks::generation_grows(object, old)
    }
    fn default(&self, object: &mut Value) {
        webhooks::default(object);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        webhooks::validate(object, false, errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        webhooks::validate_update(object, old, false, errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        rules::warnings(object)
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(webhooks::cells(object, now))
    }
}
