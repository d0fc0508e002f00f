//! Which pod goes when the node runs short of memory or disk, and what it is told.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use api_machinery::quantity::{Format, Quantity};
use k8s_openapi::api::core::v1::Pod;

use crate::termination::{Cause, Termination};
use crate::{pods, resources};

/// Seconds a pod has to end: the node cannot wait.
const GRACE: i64 = 1;

/// What is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starved {
    Memory,
    Disk,
}

impl Starved {
    /// As requests name it.
    pub fn resource(self) -> &'static str {
        match self {
            Starved::Memory => "memory",
            Starved::Disk => "ephemeral-storage",
        }
    }
}

/// How short, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Shortage {
    pub of: Starved,
    pub threshold: i64,
    pub available: i64,
}

/// A pod that runs, and what it uses of what is short.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub pod: &'a Pod,
    /// Bytes by container.
    pub containers: BTreeMap<String, i64>,
    /// Bytes that belong to no container, such as those of its volumes.
    pub shared: i64,
}

impl Candidate<'_> {
    fn usage(&self) -> i64 {
        self.containers.values().fold(self.shared, |sum, one| sum.saturating_add(*one))
    }
}

/// The pod to evict: first those that use more than they request, then the least important, then those
/// that use the most above their requests.
pub fn choose<'a>(candidates: &'a [Candidate<'a>], of: Starved) -> Option<&'a Candidate<'a>> {
    let above = |one: &Candidate<'_>| one.usage().saturating_sub(resources::pod_request(one.pod, of.resource()));
    let evictable = candidates.iter().filter(|one| !pods::is_critical(one.pod));
    evictable.min_by_key(|one| (above(one) <= 0, pods::priority(one.pod), Reverse(above(one))))
}

/// The end of the pod that was chosen.
pub fn termination(chosen: &Candidate<'_>, shortage: Shortage) -> Termination {
    let cause = Cause {
        reason: "Evicted".to_owned(),
        message: message(chosen, shortage),
        disruption: Some("TerminationByKubelet"),
        refused: false,
    };
    Termination { grace: GRACE, reason: Some(cause) }
}

fn message(chosen: &Candidate<'_>, shortage: Shortage) -> String {
    let resource = shortage.of.resource();
    let bytes = |bytes: i64| Quantity::from_units(bytes, Format::BinarySI).to_string();
    let (threshold, available) = (bytes(shortage.threshold), bytes(shortage.available));
    let mut message =
        format!("The node was low on resource: {resource}. Threshold quantity: {threshold}, available: {available}. ");
    for spec in pods::app_containers(chosen.pod) {
        let Some(usage) = chosen.containers.get(&spec.name).copied() else { continue };
        let request = resources::request(spec, resource);
        if usage > request {
            message.push_str(&format!(
                "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
                spec.name,
                bytes(usage),
                bytes(request)
            ));
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, priority: i32, request: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"priority": priority, "containers": [
            {"name": "c", "resources": {"requests": {"memory": request}}},
        ]}}))
        .expect("a pod")
    }

    #[test]
    fn the_greediest_and_least_important_goes_first() {
        let modest = pod("modest", 0, "1Gi");
        let greedy = pod("greedy", 0, "1Mi");
        let greedier = pod("greedier", 0, "1Mi");
        let important = pod("important", 9, "1Mi");
        let critical = pod("critical", 2_000_000_000, "1Mi");
        let using = |pod, mebibytes: i64| Candidate {
            pod,
            containers: BTreeMap::from([("c".to_owned(), mebibytes << 20)]),
            shared: 0,
        };
        let all =
            [using(&modest, 512), using(&greedy, 2), using(&greedier, 3), using(&important, 99), using(&critical, 999)];
        let chosen = |all: &[Candidate<'_>]| {
            choose(all, Starved::Memory).and_then(|one| one.pod.metadata.name.clone()).unwrap_or_default()
        };
        assert_eq!(chosen(&all), "greedier");
        assert_eq!(chosen(&[all[0].clone(), all[3].clone()]), "important", "modesty outweighs importance");
        assert_eq!(chosen(&[all[0].clone(), all[4].clone()]), "modest");
        assert_eq!(chosen(&all[4..]), "");
        let shortage = Shortage { of: Starved::Memory, threshold: 100 << 20, available: 50 << 20 };
        let cause = termination(&all[2], shortage).reason.expect("a cause");
        assert_eq!(
            cause.message,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. \
             Container c was using 3Mi, request is 1Mi, has larger consumption of memory. "
        );
    }
}
