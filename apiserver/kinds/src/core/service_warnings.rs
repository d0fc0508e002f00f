//! What a client is told of a Service that is accepted.

use api_machinery::{Value, object};

use crate::at::At;
use crate::list::core_address_warnings as address_warnings;

pub(crate) fn of(object: &Value) -> Vec<String> {
    const OLD_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let root = At::root(object);
    let spec = root.field("spec");
    let mut warnings = Vec::new();
    if object::annotation(object, OLD_HINTS).is_some() {
        warnings.push(format!(
            "annotation {OLD_HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    if !matches!(spec.field("clusterIP").str(), "" | "None") {
        warnings.extend(spec.field("clusterIPs").items().filter_map(|ip| address_warnings::of_ip(&ip)));
    }
    warnings.extend(of_headless(&spec).into_iter().map(str::to_owned));
    let (kind, external) = (spec.field("type"), spec.field("externalIPs"));
    warnings.extend(external.items().filter_map(|ip| address_warnings::of_ip(&ip)));
    if !external.is_empty() && !is_headless(&spec) && kind.str() != "ExternalName" {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    warnings.extend(address_warnings::of_ip(&spec.field("loadBalancerIP")));
    let ranges = spec.field("loadBalancerSourceRanges");
    warnings.extend(ranges.items().flat_map(|range| address_warnings::of_cidr(&range)));
    if kind.str() == "ExternalName" && !external.is_empty() {
        warnings.push(r#"spec.externalIPs is ignored when spec.type is "ExternalName""#.to_owned());
    }
    if kind.str() != "ExternalName" && !spec.field("externalName").is_empty() {
        warnings.push(r#"spec.externalName is ignored when spec.type is not "ExternalName""#.to_owned());
    }
    if spec.field("trafficDistribution").str() == "PreferClose" {
        warnings.push(r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#.to_owned());
    }
    warnings
}

fn is_headless(spec: &At<'_>) -> bool {
    spec.field("type").str() == "ClusterIP" && spec.field("clusterIP").str() == "None"
}

fn of_headless(spec: &At<'_>) -> Vec<&'static str> {
    let ignored = [
        (!spec.field("loadBalancerIP").is_empty(), "spec.loadBalancerIP is ignored for headless services"),
        (!spec.field("externalIPs").is_empty(), "spec.externalIPs is ignored for headless services"),
        (spec.field("sessionAffinity").str() != "None", "spec.SessionAffinity is ignored for headless services"),
    ];
    let headless = is_headless(spec);
    ignored.into_iter().filter(|(set, _)| headless && *set).map(|(_, text)| text).collect()
}
