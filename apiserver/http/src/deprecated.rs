//! Versions that are still served and should not be used any more: each request is answered with a warning, in
//! upstream's words, and counted.

use metrics::gauge;

use crate::request_info::RequestInfo;

/// Group, version, resource; the warning.
const DEPRECATED: [(&str, &str, &str, &str); 2] = [
    ("", "v1", "componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    ("", "v1", "endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
];

/// What to say of a request that is allowed.
pub(crate) fn warning(info: &RequestInfo) -> Option<&'static str> {
    let found = DEPRECATED.iter().find(|(group, version, resource, _)| {
        info.is_resource && (info.group == *group && info.version == *version && info.resource == *resource)
    });
    let (group, version, resource, text) = found?;
    // None of these will be removed in a release that is known.
    gauge!("apiserver_requested_deprecated_apis", "group" => *group, "version" => *version,
        "resource" => *resource, "subresource" => "", "removed_release" => "")
    .set(1.0);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_only() {
        let of = |group: &str, version: &str, resource: &str| {
            let (group, version, resource) = (group.to_owned(), version.to_owned(), resource.to_owned());
            warning(&RequestInfo { is_resource: true, group, version, resource, ..RequestInfo::default() })
        };
        assert!(of("", "v1", "endpoints").is_some_and(|text| text.starts_with("v1 Endpoints is deprecated in v1.33+")));
        assert!(of("", "v1", "componentstatuses").is_some());
        assert_eq!(of("", "v1", "pods"), None);
        assert_eq!(of("discovery.k8s.io", "v1", "endpointslices"), None);
        assert_eq!(of("example.com", "v1", "endpoints"), None);
    }
}
