//! Versions that are still served and should not be used any more: each request is answered with a warning, in
//! upstream's words, and counted. When a kind is deprecated, and when it will be gone, is among the schema's facts.

use api_machinery::GroupVersionKind;
use api_schema::{Lifecycle, Resource};
use metrics::gauge;

use crate::request_info::RequestInfo;

/// What to say of a request that is allowed.
pub(crate) fn warning(resource: Option<&Resource>, info: &RequestInfo) -> Option<String> {
    let resource = resource?;
    let lifecycle = resource.deprecation.as_ref()?;
    let removed = lifecycle.removed.map_or_else(String::new, |minor| format!("1.{minor}"));
    gauge!("apiserver_requested_deprecated_apis", "group" => info.group.clone(), "version" => info.version.clone(),
        "resource" => info.resource.clone(), "subresource" => info.subresource.clone(), "removed_release" => removed)
    .set(1.0);
    Some(text(&resource.gvk(), lifecycle))
}

fn text(kind: &GroupVersionKind, lifecycle: &Lifecycle) -> String {
    let GroupVersionKind { group, version, kind } = kind;
    let slash = if group.is_empty() { "" } else { "/" };
    let since = lifecycle.deprecated;
    let removed = lifecycle.removed.map_or_else(String::new, |minor| format!(", unavailable in v1.{minor}+"));
    let instead = lifecycle.replacement.as_ref().map_or_else(String::new, |other| format!("; use {other}"));
    format!("{group}{slash}{version} {kind} is deprecated in v1.{since}+{removed}{instead}")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use api_schema::Schema;
    use expect_test::expect;

    use super::*;

    /// All versions there are, each of which either says that it is deprecated or is not yet.
    #[test]
    fn every_version_says_what_it_is() {
        let gates = "ClusterTrustBundle=true,GenericWorkload=true,StorageVersionMigrator=true";
        let schema = Schema::serving("api/all=true", gates).expect("known");
        let (mut said, mut silent) = (String::new(), 0);
        for resource in schema.resources() {
            match warning(Some(resource), &RequestInfo::default()) {
                Some(text) => writeln!(said, "{text}").expect("text"),
                None => silent += 1,
            }
        }
        println!("{} kinds are deprecated, {silent} are not", said.lines().count());
        expect![[r#"
            v1 ComponentStatus is deprecated in v1.19+
            v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice
            admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicy is deprecated in v1.35+, unavailable in v1.38+
            admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicyBinding is deprecated in v1.35+, unavailable in v1.38+
            certificates.k8s.io/v1alpha1 ClusterTrustBundle is deprecated in v1.34+, unavailable in v1.37+
            coordination.k8s.io/v1beta1 LeaseCandidate is deprecated in v1.36+, unavailable in v1.39+
            coordination.k8s.io/v1alpha2 LeaseCandidate is deprecated in v1.35+, unavailable in v1.38+
            networking.k8s.io/v1beta1 IPAddress is deprecated in v1.34+, unavailable in v1.37+
            networking.k8s.io/v1beta1 ServiceCIDR is deprecated in v1.34+, unavailable in v1.37+
            resource.k8s.io/v1beta1 DeviceClass is deprecated in v1.35+, unavailable in v1.38+
            resource.k8s.io/v1beta1 ResourceClaim is deprecated in v1.35+, unavailable in v1.38+
            resource.k8s.io/v1beta1 ResourceClaimTemplate is deprecated in v1.35+, unavailable in v1.38+
            resource.k8s.io/v1beta1 ResourceSlice is deprecated in v1.35+, unavailable in v1.38+
            resource.k8s.io/v1beta2 DeviceClass is deprecated in v1.36+, unavailable in v1.39+
            resource.k8s.io/v1beta2 ResourceClaim is deprecated in v1.36+, unavailable in v1.39+
            resource.k8s.io/v1beta2 ResourceClaimTemplate is deprecated in v1.36+, unavailable in v1.39+
            resource.k8s.io/v1beta2 ResourceSlice is deprecated in v1.36+, unavailable in v1.39+
            resource.k8s.io/v1alpha3 DeviceTaintRule is deprecated in v1.36+, unavailable in v1.39+
            storage.k8s.io/v1beta1 VolumeAttributesClass is deprecated in v1.34+, unavailable in v1.37+; use storage.k8s.io/v1 VolumeAttributesClass
        "#]]
        .assert_eq(&said);
        assert_eq!(silent, 94 - 19);
    }

    #[test]
    fn what_is_not_served_says_nothing() {
        let of = |group: &str, version: &str, resource: &str| {
            warning(Schema::builtin().resource(group, version, resource), &RequestInfo::default())
        };
        assert!(of("", "v1", "endpoints").is_some());
        assert_eq!(of("", "v1", "pods"), None);
        assert_eq!(of("networking.k8s.io", "v1beta1", "ipaddresses"), None);
        assert_eq!(of("example.com", "v1", "endpoints"), None);
    }
}
