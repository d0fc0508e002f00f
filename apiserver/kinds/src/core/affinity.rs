//! Validation of what a pod says about where it may run: affinity, tolerations, spreading.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{At, POSITIVE};
use crate::selectors;

pub(crate) fn validate(affinity: &At<'_>, errors: &mut ErrorList) {
    if !affinity.present() {
        return;
    }
    let node = affinity.field("nodeAffinity");
    if node.present() {
        let required = node.field("requiredDuringSchedulingIgnoredDuringExecution");
        if required.present() {
            validate_node_selector(&required, errors);
        }
        for term in node.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
            term.field("weight").between(errors, 1, 100);
            validate_node_term(&term.field("preference"), errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let kind = affinity.field(kind);
        for term in kind.field("requiredDuringSchedulingIgnoredDuringExecution").items() {
            validate_pod_term(&term, errors);
        }
        for term in kind.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
            term.field("weight").between(errors, 1, 100);
            validate_pod_term(&term.field("podAffinityTerm"), errors);
        }
    }
}

/// `NodeSelector`, here and in persistent volumes.
pub(crate) fn validate_node_selector(selector: &At<'_>, errors: &mut ErrorList) {
    let terms = selector.field("nodeSelectorTerms");
    if terms.is_empty() {
        return terms.required(errors, "must have at least one node selector term");
    }
    for term in terms.items() {
        validate_node_term(&term, errors);
    }
}

fn validate_node_term(term: &At<'_>, errors: &mut ErrorList) {
    for requirement in term.field("matchExpressions").items() {
        validate_expression(&requirement, errors);
    }
    for requirement in term.field("matchFields").items() {
        validate_field_requirement(&requirement, errors);
    }
}

fn validate_expression(requirement: &At<'_>, errors: &mut ErrorList) {
    let (values, operator) = (requirement.field("values"), requirement.field("operator"));
    match operator.str() {
        "In" | "NotIn" if values.is_empty() => {
            values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Exists" | "DoesNotExist" => {}
        "Gt" | "Lt" if values.list().len() != 1 => {
            values.required(errors, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "Gt" | "Lt" => {}
        _ => operator.invalid(errors, "not a valid selector operator"),
    }
    requirement.field("key").format(errors, names::qualified_name);
    if matches!(operator.str(), "In" | "NotIn") {
        for value in values.items() {
            value.format(errors, names::label_value);
        }
    }
}

fn validate_field_requirement(requirement: &At<'_>, errors: &mut ErrorList) {
    let (key, values, operator) =
        (requirement.field("key"), requirement.field("values"), requirement.field("operator"));
    match operator.str() {
        "In" | "NotIn" if values.list().len() != 1 => {
            values
                .required(errors, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
        }
        "In" | "NotIn" => {}
        _ => operator.invalid(errors, "not a valid selector operator"),
    }
    if key.str() != "metadata.name" {
        return key.invalid(errors, "not a valid field selector key");
    }
    for value in values.items() {
        value.format(errors, names::dns1123_subdomain);
    }
}

fn validate_pod_term(term: &At<'_>, errors: &mut ErrorList) {
    selectors::label_selector(&term.field("labelSelector"), errors);
    selectors::label_selector(&term.field("namespaceSelector"), errors);
    for namespace in term.field("namespaces").items() {
        namespace.format(errors, names::dns1123_label);
    }
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = term.field(field);
        if !keys.is_empty() && !term.field("labelSelector").present() {
            keys.forbidden(errors, "must not be specified when labelSelector is not set");
        }
        for key in keys.items() {
            key.format(errors, names::qualified_name);
        }
    }
    let topology = term.field("topologyKey");
    if topology.is_empty() {
        topology.required(errors, "can not be empty");
    }
    topology.format(errors, names::qualified_name);
}

pub(crate) fn validate_tolerations(tolerations: &At<'_>, errors: &mut ErrorList) {
    for toleration in tolerations.items() {
        validate_toleration(&toleration, errors);
    }
}

fn validate_toleration(toleration: &At<'_>, errors: &mut ErrorList) {
    let (key, operator, value, effect) =
        (toleration.field("key"), toleration.field("operator"), toleration.field("value"), toleration.field("effect"));
    key.format_if_set(errors, names::qualified_name);
    if key.is_empty() && operator.str() != "Exists" {
        operator.invalid(
            errors,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
    }
    if toleration.field("tolerationSeconds").present() && effect.str() != "NoExecute" {
        effect.invalid(errors, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    match operator.str() {
        "Equal" | "" => value.format_if_set(errors, names::label_value),
        "Exists" if !value.is_empty() => {
            operator.invalid(errors, "value must be empty when `operator` is 'Exists'");
        }
        "Exists" => {}
        _ => operator.unsupported(errors, &["Equal", "Exists"]),
    }
    effect.one_of(errors, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
}

pub(crate) fn validate_spread(constraints: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for constraint in constraints.items() {
        let (skew, topology, unsatisfiable) =
            (constraint.field("maxSkew"), constraint.field("topologyKey"), constraint.field("whenUnsatisfiable"));
        if skew.int().unwrap_or(0) <= 0 {
            errors.invalid(&skew.path(), &Value::from(skew.int().unwrap_or(0)), POSITIVE);
        }
        if topology.is_empty() {
            topology.required(errors, "can not be empty");
        } else {
            topology.format(errors, names::qualified_name);
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&unsatisfiable.str()) {
            unsatisfiable.unsupported(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let pair =
            (object::str_at(constraint.value, "topologyKey"), object::str_at(constraint.value, "whenUnsatisfiable"));
        if seen.contains(&pair) {
            let shown = Value::from(format!("{{{}, {}}}", pair.0, pair.1));
            errors.duplicate(&constraint.path().child("{topologyKey, whenUnsatisfiable}"), &shown);
        }
        seen.insert(pair);
        let domains = constraint.field("minDomains");
        domains.at_least(errors, 1, POSITIVE);
        if domains.present() && unsatisfiable.str() != "DoNotSchedule" {
            let detail =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", unsatisfiable.str());
            domains.invalid(errors, &detail);
        }
        constraint.field("nodeAffinityPolicy").one_of(errors, &["Honor", "Ignore"]);
        constraint.field("nodeTaintsPolicy").one_of(errors, &["Honor", "Ignore"]);
        validate_match_label_keys(&constraint, errors);
        selectors::label_selector(&constraint.field("labelSelector"), errors);
    }
}

fn validate_match_label_keys(constraint: &At<'_>, errors: &mut ErrorList) {
    let keys = constraint.field("matchLabelKeys");
    if !keys.is_empty() && !constraint.field("labelSelector").present() {
        return keys.forbidden(errors, "must not be specified when labelSelector is not set");
    }
    for key in keys.items() {
        key.format(errors, names::qualified_name);
    }
}
