//! What must hold of access reviews (`k8s.io/kubernetes/pkg/apis/authorization/validation`). Pure.

use api_machinery::error::Result;
use api_machinery::fields::{FieldSelector, Term};
use api_machinery::labels::{Operator, Requirement, Selector};
use api_machinery::names::{label_value, qualified_name};
use api_machinery::object::str_at;
use api_machinery::{ApiError, ErrorList, GroupKind, Path, Value};
use api_schema::Resource;
use serde_json::Map;

/// A field of `spec` that is there.
fn of<'a>(review: &'a Value, field: &str) -> Option<&'a Value> {
    review.get("spec")?.get(field).filter(|value| !value.is_null())
}

fn is_empty(value: Option<&Value>) -> bool {
    value.is_none_or(|value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    })
}

/// 422 unless the review asks one thing about one subject.
pub(crate) fn check(resource: &Resource, review: &Value) -> Result<()> {
    let mut errors = ErrorList::new();
    attributes(review, &mut errors);
    if !resource.plural.starts_with("self") && str_at(review, "spec.user").is_empty() && is_empty(of(review, "groups"))
    {
        let detail = "at least one of user or group must be specified";
        errors.invalid(&Path::new("spec").child("user"), &"".into(), detail);
    }
    selectors(review, &mut errors);
    metadata(review, resource.namespaced, &mut errors);
    if resource.namespaced {
        local(review, &mut errors);
    }
    if errors.is_empty() {
        return Ok(());
    }
    // Upstream has forgotten the kind by now.
    let kind = GroupKind { group: resource.gv.group.clone(), kind: "".into() };
    Err(ApiError::invalid(&kind, "", errors))
}

fn attributes(review: &Value, errors: &mut ErrorList) {
    let spec = Path::new("spec");
    match (of(review, "resourceAttributes"), of(review, "nonResourceAttributes")) {
        (Some(_), Some(other)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            errors.invalid_omitted(&spec.child("nonResourceAttributes"), &format!("{}: {detail}", shown(other)));
        }
        (None, None) => errors.invalid(
            &spec.child("resourceAttributes"),
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => {}
    }
}

/// Attributes of what is no resource as upstream shows them, whose own fields have other names.
fn shown(attributes: &Value) -> String {
    let text = |field: &str| Value::from(str_at(attributes, field));
    format!(r#"{{"Path":{},"Verb":{}}}"#, text("path"), text("verb"))
}

/// A review is not an object: nobody names or labels it.
fn metadata(review: &Value, namespaced: bool, errors: &mut ErrorList) {
    let Some(metadata) = review.get("metadata").and_then(Value::as_object) else { return };
    let allowed = |name: &str| name == "managedFields" || namespaced && name == "namespace";
    if metadata.iter().any(|(name, value)| !allowed(name) && !is_empty(Some(value))) {
        let detail = if namespaced { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid_omitted(&Path::new("metadata"), &format!("{}: {detail}", shown_metadata(metadata)));
    }
}

/// Fields of metadata in upstream's order, and those of the maps in its lists.
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];
const OWNER: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
const MANAGER: [&str; 7] = ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];

/// Metadata as upstream shows it, which does not sort its fields.
fn shown_metadata(metadata: &Map<String, Value>) -> String {
    in_order(metadata, &METADATA, |name, value| match name {
        "ownerReferences" => list_in_order(value, &OWNER),
        "managedFields" => list_in_order(value, &MANAGER),
        _ => value.to_string(),
    })
}

fn list_in_order(list: &Value, fields: &[&str]) -> String {
    let maps = list.as_array().into_iter().flatten().filter_map(Value::as_object);
    let shown: Vec<String> = maps.map(|map| in_order(map, fields, |_, value| value.to_string())).collect();
    format!("[{}]", shown.join(","))
}

/// The fields of a map that are set.
fn in_order(map: &Map<String, Value>, fields: &[&str], shown: impl Fn(&str, &Value) -> String) -> String {
    let one = |name: &&str| {
        let value = map.get(*name).filter(|value| !value.is_null())?;
        Some(format!("{name:?}:{}", shown(name, value)))
    };
    format!("{{{}}}", fields.iter().filter_map(one).collect::<Vec<_>>().join(","))
}

/// `LocalSubjectAccessReview` asks about its own namespace only.
fn local(review: &Value, errors: &mut ErrorList) {
    let asked = str_at(review, "spec.resourceAttributes.namespace");
    if of(review, "resourceAttributes").is_some() && asked != str_at(review, "metadata.namespace") {
        let path = Path::new("spec.resourceAttributes.namespace");
        errors.invalid(&path, &asked.into(), "must match metadata.namespace");
    }
    if let Some(other) = of(review, "nonResourceAttributes") {
        let detail = format!("{}: disallowed on this kind of request", shown(other));
        errors.invalid_omitted(&Path::new("spec.nonResourceAttributes"), &detail);
    }
}

fn selector<'a>(review: &'a Value, name: &str) -> Option<&'a Value> {
    of(review, "resourceAttributes")?.get(name).filter(|value| !value.is_null())
}

fn requirements(selector: &Value) -> &[Value] {
    selector.get("requirements").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn selectors(review: &Value, errors: &mut ErrorList) {
    for name in ["fieldSelector", "labelSelector"] {
        let Some(selector) = selector(review, name) else { continue };
        let path = Path::new("spec.resourceAttributes").child(name);
        let raw = str_at(selector, "rawSelector");
        match (raw.is_empty(), requirements(selector).is_empty()) {
            (false, false) => {
                let detail = "may not specified at the same time as requirements";
                errors.invalid(&path.child("rawSelector"), &raw.into(), detail);
            }
            (true, true) => {
                let detail = format!("when {path} is specified, requirements or rawSelector is required");
                errors.required(&path.child("requirements"), &detail);
            }
            _ => {}
        }
        for (index, requirement) in requirements(selector).iter().enumerate() {
            check_requirement(requirement, name, &path.child("requirements").index(index), errors);
        }
    }
}

/// Operators that are not known are let through: clients may be newer than this server.
fn check_requirement(requirement: &Value, selector: &str, path: &Path, errors: &mut ErrorList) {
    let key = str_at(requirement, "key");
    if selector == "fieldSelector" && key.is_empty() {
        errors.required(&path.child("key"), "must be specified");
    }
    let none = is_empty(requirement.get("values"));
    match str_at(requirement, "operator") {
        "In" | "NotIn" if none => {
            errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !none => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&path.child("values"), detail);
        }
        _ => {}
    }
    if selector == "labelSelector" {
        for message in qualified_name(key) {
            errors.invalid(&path.child("key"), &key.into(), &message);
        }
        for (index, value) in values(requirement).iter().enumerate() {
            for message in label_value(value) {
                errors.invalid(&path.child("values").index(index), &value.as_str().into(), &message);
            }
        }
    }
}

/// What of the selectors authorization cannot go by, in upstream's words.
pub(crate) fn ignored(review: &Value) -> Option<String> {
    let parts = ["fieldSelector", "labelSelector"].into_iter().filter_map(|name| {
        let (good, bad) = understood(selector(review, name)?, name);
        let part = if good > 0 { " partially" } else { "" };
        (bad > 0).then(|| format!("spec.resourceAttributes.{name}{part} ignored due to parse error"))
    });
    let all: Vec<String> = parts.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// What is understood of the field selector; all of it must hold, so leaving some out asks for more.
pub(crate) fn field_terms(review: &Value) -> Vec<Term> {
    let Some(selector) = selector(review, "fieldSelector") else { return Vec::new() };
    match str_at(selector, "rawSelector") {
        "" => requirements(selector).iter().filter_map(field_term).collect(),
        raw => FieldSelector::parse(raw).map(|selector| selector.terms).unwrap_or_else(|_| Vec::new()),
    }
}

/// The same of the label selector.
pub(crate) fn label_requirements(review: &Value) -> Vec<Requirement> {
    let Some(selector) = selector(review, "labelSelector") else { return Vec::new() };
    match str_at(selector, "rawSelector") {
        "" => requirements(selector).iter().filter_map(label_requirement).collect(),
        raw => Selector::parse(raw).map(|selector| selector.requirements).unwrap_or_else(|_| Vec::new()),
    }
}

fn values(requirement: &Value) -> Vec<String> {
    let list = requirement.get("values").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn field_term(requirement: &Value) -> Option<Term> {
    let equal = match str_at(requirement, "operator") {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    let [value] = <[String; 1]>::try_from(values(requirement)).ok()?;
    Some(Term { field: str_at(requirement, "key").to_owned(), equal, value })
}

fn label_requirement(requirement: &Value) -> Option<Requirement> {
    let values = values(requirement);
    let operator = match str_at(requirement, "operator") {
        "In" if !values.is_empty() => Operator::In,
        "NotIn" if !values.is_empty() => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    Some(Requirement { key: str_at(requirement, "key").to_owned(), operator, values })
}

/// How many requirements are understood, and how many are not.
fn understood(selector: &Value, name: &str) -> (usize, usize) {
    let is_field = name == "fieldSelector";
    let raw = str_at(selector, "rawSelector");
    if !raw.is_empty() {
        let parses = if is_field { FieldSelector::parse(raw).is_ok() } else { Selector::parse(raw).is_ok() };
        return if parses { (1, 0) } else { (0, 1) };
    }
    let good = requirements(selector).iter().filter(|requirement| match is_field {
        true => field_term(requirement).is_some(),
        false => label_requirement(requirement).is_some(),
    });
    let good = good.count();
    (good, requirements(selector).len() - good)
}

#[cfg(test)]
mod tests {
    use api_schema::Schema;
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn checked(plural: &str, spec: Value, metadata: Value) -> String {
        let resource = Schema::builtin().resource("authorization.k8s.io", "v1", plural).expect("is served");
        let review = json!({"metadata": metadata, "spec": spec});
        match check(resource, &review) {
            Ok(()) => ignored(&review).unwrap_or_else(|| "good".to_owned()),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    #[test]
    fn what_is_understood_of_selectors_is_asked() {
        let review = |field: Value, label: Value| json!({"spec": {"resourceAttributes": {"fieldSelector": field, "labelSelector": label}}});
        let fields = json!({"requirements": [
            {"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "In", "values": ["d", "e"]},
            {"key": "f", "operator": "NotIn", "values": ["g"]}, {"key": "h", "operator": "Exists"}]});
        let labels = json!({"requirements": [
            {"key": "a", "operator": "In", "values": ["b", "c"]}, {"key": "d", "operator": "Gt", "values": ["1"]},
            {"key": "e", "operator": "DoesNotExist"}]});
        let good = review(fields, labels);
        let terms: Vec<String> =
            field_terms(&good).iter().map(|term| format!("{} {} {}", term.field, term.equal, term.value)).collect();
        assert_eq!(terms, ["a true b", "f false g"]);
        let kept: Vec<String> = label_requirements(&good).into_iter().map(|one| one.key).collect();
        assert_eq!(kept, ["a", "e"]);
        let raw = review(json!({"rawSelector": "spec.nodeName=n"}), json!({"rawSelector": "app in ("}));
        assert_eq!((field_terms(&raw).len(), label_requirements(&raw).len()), (1, 0));
    }

    #[test]
    fn table() {
        let pods = json!({"verb": "get", "resource": "pods", "namespace": "a"});
        let of = |attributes: Value| json!({"user": "u", "resourceAttributes": attributes});
        let with = |name: &str, selector: Value| {
            let mut attributes = pods.clone();
            attributes[name] = selector;
            of(attributes)
        };
        let own = json!({"namespace": "a"});
        let mut out = String::new();
        for (plural, spec, metadata) in [
            ("subjectaccessreviews", of(pods.clone()), json!({})),
            ("subjectaccessreviews", of(pods.clone()), json!({"labels": {}, "name": ""})),
            ("subjectaccessreviews", of(pods.clone()), json!({"name": "x"})),
            ("subjectaccessreviews", json!({"nonResourceAttributes": {"path": "/"}}), json!({})),
            ("selfsubjectaccessreviews", json!({"nonResourceAttributes": {"path": "/"}}), json!({})),
            ("selfsubjectaccessreviews", json!({}), json!({})),
            ("localsubjectaccessreviews", of(pods.clone()), own.clone()),
            ("localsubjectaccessreviews", of(pods.clone()), json!({"namespace": "b"})),
            ("localsubjectaccessreviews", json!({"user": "u", "nonResourceAttributes": {"path": "/"}}), own),
            ("subjectaccessreviews", with("fieldSelector", json!({})), json!({})),
            (
                "subjectaccessreviews",
                with(
                    "fieldSelector",
                    json!({"rawSelector": "a=b", "requirements": [
                {"key": "a", "operator": "In", "values": ["b"]}]}),
                ),
                json!({}),
            ),
            ("subjectaccessreviews", with("fieldSelector", json!({"requirements": [{"operator": "In"}]})), json!({})),
            (
                "subjectaccessreviews",
                with(
                    "labelSelector",
                    json!({"requirements": [
                {"key": "a b", "operator": "Exists", "values": ["x"]}]}),
                ),
                json!({}),
            ),
            ("subjectaccessreviews", with("labelSelector", json!({"rawSelector": "a in ("})), json!({})),
            (
                "subjectaccessreviews",
                with(
                    "fieldSelector",
                    json!({"requirements": [
                {"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "Gt"}]}),
                ),
                json!({}),
            ),
        ] {
            out.push_str(&checked(plural, spec, metadata));
            out.push('\n');
        }
        expect![[r#"
            good
            good
            422 .authorization.k8s.io "" is invalid: metadata: Invalid value: {"name":"x"}: must be empty
            422 .authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified
            good
            422 .authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified
            good
            422 .authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "a": must match metadata.namespace
            422 .authorization.k8s.io "" is invalid: spec.nonResourceAttributes: Invalid value: {"Path":"/","Verb":""}: disallowed on this kind of request
            422 .authorization.k8s.io "" is invalid: spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required
            422 .authorization.k8s.io "" is invalid: spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements
            422 .authorization.k8s.io "" is invalid: [spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified, spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn']
            422 .authorization.k8s.io "" is invalid: [spec.resourceAttributes.labelSelector.requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist', spec.resourceAttributes.labelSelector.requirements[0].key: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')]
            spec.resourceAttributes.labelSelector ignored due to parse error
            spec.resourceAttributes.fieldSelector partially ignored due to parse error
        "#]].assert_eq(&out);
    }
}
