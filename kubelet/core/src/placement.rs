//! What a pod demands of its node besides resources: labels, taints it bears, ports that are free.

use std::collections::BTreeMap;

use api_machinery::labels::{Operator, Requirement, Selector};
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration};

use crate::pods;

/// Whether `nodeSelector` and the required node affinity take a node of this name and these labels.
pub fn selects(pod: &Pod, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let Some(spec) = pods::spec(pod) else { return true };
    let wanted = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    wanted && required.is_none_or(|r| r.node_selector_terms.iter().any(|term| matches(term, name, labels)))
}

/// A term without any requirement matches no node.
fn matches(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = compile(term.match_expressions.as_deref());
    let fields = compile(term.match_fields.as_deref());
    let empty = expressions.is_everything() && fields.is_everything();
    !empty && expressions.matches_map(labels) && fields.matches(|field| (field == "metadata.name").then_some(name))
}

fn compile(requirements: Option<&[NodeSelectorRequirement]>) -> Selector {
    let compiled = requirements.unwrap_or_default().iter().map(|requirement| Requirement {
        key: requirement.key.clone(),
        operator: match requirement.operator.as_str() {
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            _ => Operator::In,
        },
        values: requirement.values.clone().unwrap_or_default(),
    });
    Selector { requirements: compiled.collect(), nothing: false }
}

/// Whether the pod bears every `NoExecute` taint; the other effects are the scheduler's to see to.
pub fn bears(pod: &Pod, taints: &[Taint]) -> bool {
    let tolerations = pods::spec(pod).and_then(|s| s.tolerations.as_deref()).unwrap_or(&[]);
    let bears = |taint: &Taint| tolerations.iter().any(|toleration| tolerates(toleration, taint));
    taints.iter().filter(|taint| taint.effect == "NoExecute").all(bears)
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let fits = |own: &Option<String>, theirs: &str| own.as_deref().is_none_or(|own| own.is_empty() || own == theirs);
    let value = match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        operator => operator == "Exists",
    };
    fits(&toleration.effect, &taint.effect) && fits(&toleration.key, &taint.key) && value
}

/// A port of the node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HostPort<'a> {
    protocol: &'a str,
    ip: &'a str,
    port: i32,
}

impl HostPort<'_> {
    fn conflicts(&self, other: &HostPort<'_>) -> bool {
        let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
        let same_address = self.ip == other.ip || any(self.ip) || any(other.ip);
        self.port == other.port && self.protocol == other.protocol && same_address
    }
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = HostPort<'_>> {
    let sidecars = pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c));
    let ports = sidecars.chain(pods::app_containers(pod)).flat_map(|c| c.ports.iter().flatten());
    ports.filter_map(|port| {
        let number = port.host_port.filter(|p| *p > 0)?;
        let protocol = port.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP");
        Some(HostPort { protocol, ip: port.host_ip.as_deref().unwrap_or(""), port: number })
    })
}

/// Whether no other pod has a port of the node that this one wants.
pub fn ports_free(pod: &Pod, others: &[&Pod]) -> bool {
    host_ports(pod).all(|port| others.iter().all(|other| !host_ports(other).any(|taken| taken.conflicts(&port))))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).expect("a pod")
    }

    #[test]
    fn labels_and_names() {
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned()), ("size".to_owned(), "7".to_owned())]);
        let required = |terms: Value| {
            let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
            pod(json!({"containers": [], "affinity": {"nodeAffinity": required}}))
        };
        let expression = |key: &str, operator: &str, values: &[&str]| {
            required(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        let cases = [
            (pod(json!({"containers": []})), true),
            (pod(json!({"containers": [], "nodeSelector": {"zone": "a"}})), true),
            (pod(json!({"containers": [], "nodeSelector": {"zone": "b"}})), false),
            (expression("zone", "In", &["b", "a"]), true),
            (expression("zone", "NotIn", &["a"]), false),
            (expression("size", "Gt", &["6"]), true),
            (expression("gpu", "Exists", &[]), false),
            (required(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}])), true),
            (required(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]}])), false),
            (required(json!([{}])), false),
        ];
        for (pod, expected) in cases {
            assert_eq!(selects(&pod, "n", &labels), expected, "{:?}", pod.spec);
        }
    }

    #[test]
    fn taints_that_drive_out() {
        let taint = |effect: &str| -> Taint {
            serde_json::from_value(json!({"key": "k", "value": "v", "effect": effect})).expect("a taint")
        };
        let tolerating = |toleration: Value| pod(json!({"containers": [], "tolerations": [toleration]}));
        let plain = pod(json!({"containers": []}));
        assert!(bears(&plain, &[taint("NoSchedule")]));
        assert!(!bears(&plain, &[taint("NoExecute")]));
        assert!(bears(&tolerating(json!({"operator": "Exists"})), &[taint("NoExecute")]));
        assert!(bears(&tolerating(json!({"key": "k", "value": "v", "effect": "NoExecute"})), &[taint("NoExecute")]));
        assert!(!bears(&tolerating(json!({"key": "k", "value": "w"})), &[taint("NoExecute")]));
    }

    #[test]
    fn ports_of_the_node() {
        let with = |port: Value| pod(json!({"containers": [{"name": "c", "ports": [port]}]}));
        let all = with(json!({"containerPort": 80, "hostPort": 80}));
        let one = with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}));
        let two = with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.2"}));
        let udp = with(json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"}));
        assert!(!ports_free(&all, &[&one]));
        assert!(ports_free(&one, &[&two]));
        assert!(ports_free(&udp, &[&all]));
        assert!(ports_free(&with(json!({"containerPort": 80})), &[&all]));
    }
}
