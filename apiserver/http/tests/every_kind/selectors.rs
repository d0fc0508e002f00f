//! Every field that a kind can be selected by, and upstream's words for those that it cannot.

use api_machinery::{Value, object};
use api_schema::Resource;
use serde_json::json;

use super::session::{JSON, Session};
use super::{Case, Findings, LABEL};
use crate::golden;
use crate::report::{Row, rows};

/// Gives samples what selectors look at.
pub(super) fn fill(resource: &Resource, sample: &mut Value) {
    match (&*resource.gv.group, resource.plural.as_str()) {
        ("", "pods") => sample["spec"]["nodeName"] = "n".into(),
        ("", "nodes") => sample["spec"]["unschedulable"] = true.into(),
        _ => {}
    }
}

/// The same in the status.
pub(super) fn status(resource: &Resource) -> Option<Value> {
    Some(match (&*resource.gv.group, resource.plural.as_str()) {
        ("", "pods") => json!({"status": {"phase": "Running", "podIP": "10.0.0.9",
            "podIPs": [{"ip": "10.0.0.9"}, {"ip": "fd00::9"}]}}),
        ("", "replicationcontrollers") => json!({"status": {"replicas": 2}}),
        ("batch", "jobs") => json!({"status": {"succeeded": 1}}),
        _ => return None,
    })
}

/// The value of a field as upstream's tables tell it, which is not always where its label says.
fn value(resource: &Resource, served: &Value, field: &str) -> String {
    let text = |path: &str| match object::at(served, path) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let or = |text: String, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text };
    match (resource.plural.as_str(), field) {
        ("pods", "spec.host") => text("spec.nodeName"),
        ("pods", "spec.hostNetwork") => or(text("spec.hostNetwork"), "false"),
        ("pods", "status.podIP") => served["status"]["podIPs"][0]["ip"].as_str().unwrap_or("").to_owned(),
        // Accepted, and in no object.
        ("pods", "status.podIPs") => String::new(),
        ("nodes", "spec.unschedulable") => or(text(field), "false"),
        ("replicationcontrollers", "status.replicas") => or(text(field), "0"),
        ("jobs", "status.successful") => or(text("status.succeeded"), "0"),
        ("events", "source") => or(text("source.component"), &text("reportingComponent")),
        _ => text(field),
    }
}

/// What is said of a label that is no field. Kinds that have fields of their own have words of their own, too.
fn refusal(resource: &Resource, field: &str) -> String {
    match (&*resource.gv.group, resource.plural.as_str()) {
        ("", "pods" | "nodes" | "events" | "namespaces" | "secrets" | "services" | "replicationcontrollers")
        | ("events.k8s.io", "events")
        | ("certificates.k8s.io", "certificatesigningrequests" | "clustertrustbundles") => {
            format!("field label not supported: {field}")
        }
        ("batch", "jobs") => format!("field label \"{field}\" not supported for Job"),
        ("resource.k8s.io", "resourceslices") => {
            format!("field label not supported for {}, Kind=ResourceSlice: {field}", resource.gv)
        }
        _ => format!("\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
    }
}

/// As it stands in a query, escaped for the selector and for the URL.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for character in value.chars() {
        match character {
            ',' | '=' | '\\' => out.push_str(&format!("%5C%{:02X}", character as u32)),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' => out.push(character),
            other => other.to_string().bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}"))),
        }
    }
    out
}

async fn count(session: &Session<'_>, case: &Case, selector: &str) -> String {
    let answer = session.get(&format!("{}?{LABEL}&fieldSelector={selector}", case.collection), JSON).await;
    match answer.json()["items"].as_array() {
        Some(items) => items.len().to_string(),
        None => answer.status(),
    }
}

fn is_of(row: &Row, resource: &Resource) -> bool {
    let group = if resource.gv.group.is_empty() { "core" } else { &*resource.gv.group };
    (row.get("group"), row.get("version"), row.get("resource")) == (group, &*resource.gv.version, &resource.plural)
}

/// By the one label that the object has.
async fn compare_labels(session: &Session<'_>, case: &Case, findings: &mut Findings) {
    for (selector, wanted) in [
        ("every%3Dkind", 1),
        ("every", 1),
        ("every%20in%20%28kind,other%29", 1),
        ("every%21%3Dother,every", 1),
        ("every%3Dother", 0),
        ("every%20notin%20%28kind%29,every", 0),
        ("%21every,every", 0),
    ] {
        let list = session.get(&format!("{}?labelSelector={selector}", case.collection), JSON).await.json();
        let found = list["items"].as_array().map(Vec::len);
        findings.same(&format!("{} by label {selector}", case.name()), &json!(found), &json!(wanted));
    }
}

pub(super) async fn compare(session: &Session<'_>, case: &Case, served: &Value, findings: &mut Findings) {
    let table = golden::place("fieldselectors.tsv").map(|table| rows(&table)).unwrap_or_default();
    for row in table.iter().filter(|row| is_of(row, case.resource)) {
        let field = row.get("field");
        let value = value(case.resource, served, field);
        findings.selectors += 1;
        findings.valued += usize::from(!value.is_empty());
        let value = escaped(&value);
        for (selector, wanted) in [
            (format!("{field}%3D{value}"), "1"),
            (format!("{field}%3D%3D{value}"), "1"),
            (format!("{field}%21%3D{value}"), "0"),
            (format!("{field}%3Dno-such-value"), "0"),
            (format!("{field}%21%3Dno-such-value"), "1"),
        ] {
            let found = count(session, case, &selector).await;
            findings.same(&format!("{} by {selector}", case.name()), &found.into(), &json!(wanted));
        }
    }
    compare_labels(session, case, findings).await;
    let wanted = format!("400 BadRequest: {}", refusal(case.resource, "no.such"));
    for watch in ["", "&watch=1"] {
        let refused = session.get(&format!("{}?fieldSelector=no.such%3Dx{watch}", case.collection), JSON).await;
        findings.same(&format!("{} by no.such", case.name()), &refused.status().into(), &json!(wanted));
    }
}
