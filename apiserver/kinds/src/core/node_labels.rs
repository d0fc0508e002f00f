//! Labels of nodes that should not be used any more, and what warnings say of them.

use crate::at::At;

const DEPRECATED: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#),
    ("beta.kubernetes.io/os", r#"deprecated since v1.14; use "kubernetes.io/os" instead"#),
    (
        "failure-domain.beta.kubernetes.io/region",
        r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#,
    ),
    ("failure-domain.beta.kubernetes.io/zone", r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#),
    ("beta.kubernetes.io/instance-type", r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", r#"use "node-role.kubernetes.io/control-plane" instead"#),
];

/// What there is to say of a label, nothing of most.
pub(crate) fn deprecation(label: &str) -> Option<&'static str> {
    DEPRECATED.iter().find(|(deprecated, _)| *deprecated == label).map(|(_, message)| *message)
}

/// Of a `LabelSelector` of nodes.
pub(crate) fn selector_warnings(selector: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for expression in selector.field("matchExpressions").items() {
        let key = expression.field("key");
        if let Some(message) = deprecation(key.str()) {
            warnings.push(format!("{}: {} is {message}", key.path(), key.str()));
        }
    }
    let labels = selector.field("matchLabels");
    for (label, _) in labels.entries() {
        if let Some(message) = deprecation(label) {
            warnings.push(format!("{}: {message}", labels.path().child(label)));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::selector_warnings;
    use crate::at::At;

    #[test]
    fn warnings() {
        let selector = json!({"matchLabels": {"beta.kubernetes.io/os": "linux", "a": "b"},
            "matchExpressions": [{"key": "node-role.kubernetes.io/master", "operator": "Exists"}]});
        assert_eq!(
            selector_warnings(&At::named(&selector, "nodeTopology")),
            [
                "nodeTopology.matchExpressions[0].key: node-role.kubernetes.io/master is use \
                 \"node-role.kubernetes.io/control-plane\" instead",
                "nodeTopology.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use \"kubernetes.io/os\" \
                 instead",
            ]
        );
    }
}
