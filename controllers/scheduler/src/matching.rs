//! Selectors, affinity terms and tolerations, compiled once per pod.

use std::collections::BTreeMap;

use api_machinery::labels::{Operator, Requirement, Selector};
use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(crate) type Labels = BTreeMap<String, String>;

/// A label selector; what cannot be read matches nothing.
pub(crate) fn selector(selector: Option<&LabelSelector>) -> Selector {
    let nothing = Selector { nothing: true, ..Selector::default() };
    let Some(selector) = selector else { return nothing };
    let value = serde_json::to_value(selector).expect("a label selector has string keys");
    Selector::from_object(Some(&value)).unwrap_or(nothing)
}

/// One equality.
pub(crate) fn equal(key: &str, value: &str) -> Requirement {
    Requirement { key: key.to_owned(), operator: Operator::In, values: vec![value.to_owned()] }
}

/// One term of a node selector: labels and names must all match.
#[derive(Clone, Debug)]
pub(crate) struct NodeTerm {
    labels: Selector,
    names: Selector,
    /// A term without any requirement matches no node.
    empty: bool,
}

impl NodeTerm {
    pub(crate) fn new(term: &NodeSelectorTerm) -> Self {
        let labels = compile(term.match_expressions.as_deref());
        let names = compile(term.match_fields.as_deref());
        let empty = labels.requirements.is_empty() && names.requirements.is_empty();
        Self { labels, names, empty }
    }
    pub(crate) fn matches(&self, node: &NodeInfo) -> bool {
        let name = |field: &str| (field == "metadata.name").then_some(&*node.name);
        !self.empty && self.labels.matches_map(&node.labels) && self.names.matches(name)
    }
}

pub(crate) fn node_terms(selector: &NodeSelector) -> Vec<NodeTerm> {
    selector.node_selector_terms.iter().map(NodeTerm::new).collect()
}

fn compile(requirements: Option<&[NodeSelectorRequirement]>) -> Selector {
    let requirements = requirements.unwrap_or_default().iter().map(|requirement| Requirement {
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
    Selector { requirements: requirements.collect(), nothing: false }
}

/// One term of pod affinity or anti-affinity.
#[derive(Clone, Debug)]
pub(crate) struct PodTerm {
    pub(crate) topology_key: String,
    selector: Selector,
    namespaces: Vec<String>,
    /// Namespaces by their labels; `None`: only those listed.
    namespace_selector: Option<Selector>,
}

impl PodTerm {
    /// `labels` are those of the pod that has the term, for `matchLabelKeys`.
    pub(crate) fn new(term: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Self {
        let mut compiled = selector(term.label_selector.as_ref());
        for key in term.match_label_keys.iter().flatten() {
            compiled.requirements.extend(labels.get(key).map(|value| equal(key, value)));
        }
        for key in term.mismatch_label_keys.iter().flatten() {
            let unequal = |value: &String| Requirement { operator: Operator::NotIn, ..equal(key, value) };
            compiled.requirements.extend(labels.get(key).map(unequal));
        }
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector: compiled,
            namespaces,
            namespace_selector: term.namespace_selector.as_ref().map(|own| selector(Some(own))),
        }
    }
    /// `labels_of` answers the labels of a namespace.
    pub(crate) fn matches<'a>(&self, pod: &PodInfo, labels_of: impl Fn(&str) -> Option<&'a Labels>) -> bool {
        self.selector.matches_map(&pod.labels) && self.covers(&pod.namespace, labels_of)
    }
    fn covers<'a>(&self, namespace: &str, labels_of: impl Fn(&str) -> Option<&'a Labels>) -> bool {
        let by_label = |selector: &Selector| match labels_of(namespace) {
            Some(labels) => selector.matches_map(labels),
            None => selector.is_everything(),
        };
        self.namespaces.iter().any(|own| own == namespace) || self.namespace_selector.as_ref().is_some_and(by_label)
    }
}

/// Whether any toleration tolerates the taint.
pub(crate) fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates_one(toleration, taint))
}

fn tolerates_one(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.as_ref().filter(|text| !text.is_empty()).cloned();
    let effect = given(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = given(&toleration.key).is_none_or(|key| key == taint.key);
    let value = match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        "Exists" => true,
        _ => false,
    };
    effect && key && value
}
