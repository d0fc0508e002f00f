//! Name, label, annotation and finalizer formats, with upstream's messages
//! (`k8s.io/apimachinery/pkg/util/validation`). Each function returns the messages of what is wrong.

pub fn dns1123_label(_text: &str) -> Vec<String> {
    todo!()
}
pub fn dns1123_subdomain(_text: &str) -> Vec<String> {
    todo!()
}
pub fn dns1035_label(_text: &str) -> Vec<String> {
    todo!()
}
/// `[prefix/]name` of labels, annotations, finalizers, resources.
pub fn qualified_name(_text: &str) -> Vec<String> {
    todo!()
}
pub fn label_value(_text: &str) -> Vec<String> {
    todo!()
}
/// A name that is one path segment (`rbac` names and the like): not `.`, `..`, no `/` or `%`.
pub fn path_segment(_text: &str) -> Vec<String> {
    todo!()
}
