//! SelfSubjectAccessReview. Answered, never stored.

use api_machinery::{ErrorList, GroupResource, Value};
use serde_json::json;

use crate::Kind;
use crate::at::At;
use crate::list::authorization_access as access;

pub(crate) struct SelfSubjectAccessReview;

impl Kind for SelfSubjectAccessReview {
    fn resource(&self) -> GroupResource {
        GroupResource::new(access::GROUP, "selfsubjectaccessreviews")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
               "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        access::validate_attributes(&spec, errors);
        access::validate_selectors(&spec, errors);
        access::validate_metadata(&root, false, errors);
    }
}
