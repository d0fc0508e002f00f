//! LocalSubjectAccessReview. Answered, never stored.

use api_machinery::{ErrorList, GroupResource, Value};
use serde_json::json;

use crate::Kind;
use crate::at::At;
use crate::list::authorization_access as access;

pub(crate) struct LocalSubjectAccessReview;

impl Kind for LocalSubjectAccessReview {
    fn resource(&self) -> GroupResource {
        GroupResource::new(access::GROUP, "localsubjectaccessreviews")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview",
               "metadata": {"namespace": "default"},
               "spec": {"user": "u", "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        access::validate_attributes(&spec, errors);
        access::validate_user(&spec, errors);
        access::validate_selectors(&spec, errors);
        access::validate_metadata(&root, true, errors);
        access::validate_local(&root, errors);
    }
}
