//! Validation of what a pod says about where it may run: affinity, tolerations, spreading.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};
use serde_json::json;

use crate::at::{ABOVE_ZERO, At, child};
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
            validate_weight(&term, errors);
            validate_node_term(&term.field("preference"), false, errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let kind = affinity.field(kind);
        for term in kind.field("requiredDuringSchedulingIgnoredDuringExecution").items() {
            validate_pod_term(&term, errors);
        }
        for term in kind.field("preferredDuringSchedulingIgnoredDuringExecution").items() {
            validate_weight(&term, errors);
            validate_pod_term(&term.field("podAffinityTerm"), errors);
        }
    }
}

fn validate_weight(term: &At<'_>, errors: &mut ErrorList) {
    let weight = term.field("weight");
    let value = weight.int().unwrap_or(0);
    if !(1..=100).contains(&value) {
        errors.invalid(&weight.path(), &Value::from(value), "must be in the range 1-100");
    }
}

/// `NodeSelector`, here and in persistent volumes.
pub(crate) fn validate_node_selector(selector: &At<'_>, errors: &mut ErrorList) {
    let terms = selector.field("nodeSelectorTerms");
    if terms.is_empty() {
        return terms.required(errors, "must have at least one node selector term");
    }
    for term in terms.items() {
        validate_node_term(&term, true, errors);
    }
}

/// Of what is only preferred, values are not looked at.
fn validate_node_term(term: &At<'_>, values: bool, errors: &mut ErrorList) {
    for requirement in term.field("matchExpressions").items() {
        validate_expression(&requirement, values, errors);
    }
    for requirement in term.field("matchFields").items() {
        validate_field_requirement(&requirement, errors);
    }
}

fn validate_expression(requirement: &At<'_>, of_values: bool, errors: &mut ErrorList) {
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
    for value in values.items().filter(|_| of_values) {
        value.format(errors, names::label_value);
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
        // Upstream names neither list nor item.
        term.field("namespace").with(namespace.value).format(errors, names::dns1123_label);
    }
    validate_label_keys(term, errors);
    let topology = term.field("topologyKey");
    if topology.is_empty() {
        topology.required(errors, "can not be empty");
    }
    topology.format(errors, names::qualified_name);
}

/// `matchLabelKeys` and `mismatchLabelKeys`: of a selector, and each in one place only.
fn validate_label_keys(holder: &At<'_>, errors: &mut ErrorList) {
    let (selector, matching) = (holder.field("labelSelector"), holder.field("matchLabelKeys"));
    let others = holder.field("mismatchLabelKeys");
    for keys in [&matching, &others] {
        if !keys.is_empty() && !selector.present() {
            keys.forbidden(errors, "must not be specified when labelSelector is not set");
        } else {
            keys.items().for_each(|key| key.format(errors, names::qualified_name));
        }
    }
    let mut selected: HashSet<&str> =
        selector.field("matchLabels").value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    for expression in selector.field("matchExpressions").list() {
        let key = object::str_at(expression, "key");
        // What was merged from the keys is there once.
        let index = matching.list().iter().rposition(|one| one == key);
        if let Some(index) = index.filter(|_| selected.contains(key)) {
            let path = holder.path().index(index);
            errors.invalid(&path, &Value::from(key), "exists in both matchLabelKeys and labelSelector");
        }
        selected.insert(key);
    }
    for key in matching.items().filter(|key| others.list().contains(key.value)) {
        key.invalid(errors, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
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
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&operator.path(), &Value::from(operator.str()), detail);
    }
    if toleration.field("tolerationSeconds").present() && effect.str() != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid(&effect.path(), &Value::from(effect.str()), detail);
    }
    // The errors of values name the operator, as upstream's.
    match operator.str() {
        "Equal" | "" => {
            let messages = names::label_value(value.str());
            if !messages.is_empty() {
                operator.with(value.value).invalid(errors, &messages.join(";"));
            }
        }
        "Exists" if !value.is_empty() => {
            operator.with(value.value).invalid(errors, "value must be empty when `operator` is 'Exists'");
        }
        "Exists" => {}
        // TaintTolerationComparisonOperators is off.
        "Lt" | "Gt" => operator.unsupported_listed(errors, &["Equal", "Exists", "Lt", "Gt"]),
        _ => operator.unsupported(errors, &["Equal", "Exists"]),
    }
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effect.is_empty() && !effects.contains(&effect.str()) {
        effect.unsupported_listed(errors, &effects);
    }
}

pub(crate) fn validate_spread(constraints: &At<'_>, errors: &mut ErrorList) {
    for (index, constraint) in constraints.items().enumerate() {
        let (skew, topology, unsatisfiable) =
            (constraint.field("maxSkew"), constraint.field("topologyKey"), constraint.field("whenUnsatisfiable"));
        if skew.int().unwrap_or(0) <= 0 {
            errors.invalid(&skew.path(), &Value::from(skew.int().unwrap_or(0)), ABOVE_ZERO);
        }
        if topology.is_empty() {
            topology.required(errors, "can not be empty");
        }
        unsatisfiable.exactly_one_of(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        validate_not_repeated(&constraint, &constraints.list()[index + 1..], errors);
        let domains = constraint.field("minDomains");
        domains.at_least(errors, 1, ABOVE_ZERO);
        if domains.present() && unsatisfiable.str() != "DoNotSchedule" {
            let detail =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", unsatisfiable.str());
            domains.invalid(errors, &detail);
        }
        constraint.field("nodeAffinityPolicy").one_of_if_present(errors, &["Honor", "Ignore"]);
        constraint.field("nodeTaintsPolicy").one_of_if_present(errors, &["Honor", "Ignore"]);
        validate_label_keys(&constraint, errors);
        selectors::label_selector(&constraint.field("labelSelector"), errors);
    }
}

/// The error is at the first of two that say the same.
fn validate_not_repeated(constraint: &At<'_>, later: &[Value], errors: &mut ErrorList) {
    let pair =
        |of: &Value| (object::str_at(of, "topologyKey").to_owned(), object::str_at(of, "whenUnsatisfiable").to_owned());
    let own = pair(constraint.value);
    if later.iter().any(|other| pair(other) == own) {
        let shown = Value::from(format!("{{{}, {}}}", own.0, own.1));
        errors.duplicate(&constraint.path().child("{topologyKey, whenUnsatisfiable}"), &shown);
    }
}

/// What `matchLabelKeys` and `mismatchLabelKeys` mean for a new pod becomes part of the selectors.
pub(crate) fn merge_label_keys(pod: &mut Value) {
    let labels = child(pod, "metadata.labels").clone();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let of = |list: &str| format!("/spec/affinity/{kind}/{list}DuringSchedulingIgnoredDuringExecution");
        for term in terms(pod, &of("required")) {
            merge_keys(term, &labels);
        }
        for term in terms(pod, &of("preferred")).filter_map(|term| term.get_mut("podAffinityTerm")) {
            merge_keys(term, &labels);
        }
    }
    for constraint in terms(pod, "/spec/topologySpreadConstraints") {
        merge_keys(constraint, &labels);
    }
}

fn terms<'v>(pod: &'v mut Value, pointer: &str) -> impl Iterator<Item = &'v mut Value> {
    pod.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

fn merge_keys(holder: &mut Value, labels: &Value) {
    if !child(holder, "labelSelector").is_object() {
        return;
    }
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys = child(holder, field).as_array().map_or(&[][..], Vec::as_slice);
        for (key, value) in keys.iter().filter_map(|key| Some((key, labels.get(key.as_str()?)?))) {
            added.push(json!({"key": key, "operator": operator, "values": [value]}));
        }
    }
    let expressions = &mut holder["labelSelector"]["matchExpressions"];
    match expressions.as_array_mut() {
        Some(list) => list.extend(added),
        None if !added.is_empty() => *expressions = added.into(),
        None => {
            holder["labelSelector"].as_object_mut().map(|selector| selector.remove("matchExpressions"));
        }
    }
}
