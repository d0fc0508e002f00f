//! SubjectAccessReview. Answered, never stored.

use api_machinery::{ErrorList, GroupResource, Value};
use serde_json::json;

use crate::Kind;
use crate::at::At;
use crate::list::authorization_access as access;

pub(crate) struct SubjectAccessReview;

impl Kind for SubjectAccessReview {
    fn resource(&self) -> GroupResource {
        GroupResource::new(access::GROUP, "subjectaccessreviews")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
               "spec": {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}}})
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
        access::validate_metadata(&root, false, errors);
    }
}
