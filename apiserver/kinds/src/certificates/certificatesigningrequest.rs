//! CertificateSigningRequest.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, certificates, names, object, time};
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::at::{At, child};
use crate::{Kind, cells, formats, meta};

pub(crate) struct CertificateSigningRequest;

const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// Signers have a domain of at most so many bytes, and a path after it.
const MAX_SIGNER_DOMAIN: usize = 253;
const MAX_SIGNER: usize = 571;
const MIN_SECONDS: i64 = 600;
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

impl Kind for CertificateSigningRequest {
    fn resource(&self) -> GroupResource {
        GroupResource::new("certificates.k8s.io", "certificatesigningrequests")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "x"},
               "spec": {"signerName": "example.com/signer", "usages": ["client auth"],
                        "request": formats::to_base64(SAMPLE_REQUEST.as_bytes())}})
    }
    /// Upstream does not mind how requests are called, beyond what a path can hold.
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }
    fn has_generation(&self) -> bool {
        false
    }
    /// A request is what it was when it was made.
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        crate::keep_field(object, old, "spec");
        crate::keep_field(object, old, "status");
    }
    /// Who may say that a request is approved says so through `/approval` only.
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        crate::keep_field(object, old, "spec");
        for decision in DECISIONS {
            keep_instances(object, old, decision);
        }
    }
    /// Only the conditions come from the client.
    fn prepare_approval(&self, object: &mut Value, old: &Value) {
        crate::keep_field(object, old, "spec");
        let conditions = object.pointer_mut("/status/conditions").map(Value::take);
        crate::keep_field(object, old, "status");
        let status = object.as_object_mut().map(|map| map.entry("status").or_insert_with(|| json!({})));
        let Some(status) = status.and_then(Value::as_object_mut) else { return };
        status.remove("conditions");
        if let Some(conditions @ Value::Array(_)) = conditions {
            status.insert("conditions".to_owned(), conditions);
        }
    }
    /// Conditions without times get them: a transition keeps that of the condition it repeats.
    fn stamp(&self, object: &mut Value, old: &Value, now: Timestamp) {
        let now = Value::from(time::seconds(now));
        let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
            let since = transition(old, condition).unwrap_or_else(|| now.clone());
            set_if_unset(condition, "lastUpdateTime", now.clone());
            set_if_unset(condition, "lastTransitionTime", since);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let request = spec.field("request");
        let pem = formats::base64(request.str()).unwrap_or_default();
        if let Err(message) = certificates::Asked::read(&pem) {
            request.invalid(errors, &message);
        }
        validate_usages(&spec.field("usages"), errors);
        let signer = spec.field("signerName");
        if signer.str() == LEGACY_SIGNER {
            signer.invalid(errors, "the legacy signerName is not allowed via this API version");
        } else {
            validate_signer(&signer, errors);
        }
        let seconds = spec.field("expirationSeconds");
        seconds.at_least(errors, MIN_SECONDS, "may not specify a duration less than 600 seconds (10 minutes)");
    }
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        meta::validate(self, object, false, errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        meta::validate(self, object, false, errors);
        let root = At::root(object);
        let certificate = root.field("status.certificate");
        validate_conditions(&root.field("status.conditions"), errors);
        validate_certificate(&certificate, old, errors);
        forbid_removal(object, old, errors);
        let path = root.field("status.conditions");
        for decision in DECISIONS {
            if instances(object, decision).len() > instances(old, decision).len() {
                path.forbidden(errors, &format!("updates may not add a condition of type {decision:?}"));
            }
        }
        let before = object::str_at(old, "status.certificate");
        if !before.is_empty() && certificate.str() != before {
            certificate.forbidden(errors, "updates may not modify existing certificate content");
        }
    }
    fn validate_approval(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        meta::validate(self, object, false, errors);
        validate_conditions(&At::root(object).field("status.conditions"), errors);
        forbid_removal(object, old, errors);
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "spec.signerName").then(|| object::str_at(object, field).to_owned())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let seconds = child(object, "spec.expirationSeconds").as_i64();
        Some(vec![
            cells::name(object),
            cells::age(object, now),
            cells::text_or(object, "spec.signerName", "<none>"),
            cells::text(object, "spec.username"),
            seconds.map_or_else(|| "<none>".to_owned(), time::human_duration).into(),
            state(object).into(),
        ])
    }
}

const SAMPLE_REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHLMHMCAQAwETEPMA0GA1UEAwwGc2FtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAETR/pCwyAQpHxSUNjUXe1mZVj8HkIgGiZVx44qqgBAc3uibmfogzbUnEY
22XpIg6L5QdTJ4ydvsZ5xB4VsWgWXKAAMAoGCCqGSM49BAMCA0gAMEUCIEF1G9/+
/2e4CCAoiLUmlmHYUxcwOIFJXju3wFLomS/6AiEAxslkrPR1qgZDnFtXoXS+Yulr
LklesO7MwzOKYTS383g=
-----END CERTIFICATE REQUEST-----
";

/// The conditions that approvers write.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
/// Conditions that are there or not: their status is `True`.
const SETTLED: [&str; 3] = ["Approved", "Denied", "Failed"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

fn conditions(object: &Value) -> &[Value] {
    child(object, "status.conditions").as_array().map_or(&[], Vec::as_slice)
}

/// Where the conditions of a type are.
fn instances(object: &Value, kind: &str) -> Vec<usize> {
    let all = conditions(object).iter().enumerate();
    all.filter(|(_, one)| object::str_at(one, "type") == kind).map(|(index, _)| index).collect()
}

/// Conditions of a type stay as they were, where there are as many as before.
fn keep_instances(object: &mut Value, old: &Value, kind: &str) {
    let (now, before) = (instances(object, kind), instances(old, kind));
    if now.len() != before.len() {
        return;
    }
    for (now, before) in now.into_iter().zip(before) {
        object["status"]["conditions"][now] = conditions(old)[before].clone();
    }
}

fn transition(old: &Value, condition: &Map<String, Value>) -> Option<Value> {
    let same = |one: &&Value| ["type", "status"].iter().all(|field| one.get(*field) == condition.get(*field));
    conditions(old)
        .iter()
        .find(same)
        .and_then(|one| one.get("lastTransitionTime"))
        .filter(|time| !time.is_null())
        .cloned()
}

fn set_if_unset(condition: &mut Map<String, Value>, field: &str, value: Value) {
    let place = condition.entry(field).or_insert(Value::Null);
    if place.is_null() {
        *place = value;
    }
}

fn validate_conditions(all: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for condition in all.items() {
        let (kind, status) = (condition.field("type"), condition.field("status"));
        let name = object::str_at(condition.value, "type");
        if name.is_empty() {
            kind.required(errors, "");
        }
        if status.is_empty() {
            status.required(errors, "");
        } else {
            status.one_of(errors, if SETTLED.contains(&name) { &["True"][..] } else { &STATUSES });
        }
        let is_decision = DECISIONS.contains(&name);
        if is_decision && DECISIONS.iter().any(|other| *other != name && seen.contains(other)) {
            errors.invalid(&all.path(), kind.value, "Approved and Denied conditions are mutually exclusive");
        }
        if !seen.insert(name) {
            kind.duplicate(errors);
        }
    }
}

/// What was said before may be said again, and what was no certificate before need not be one now.
fn validate_certificate(certificate: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let before = object::str_at(old, "status.certificate");
    let check = |text: &str| certificates::check_certificates(&formats::base64(text).unwrap_or_default());
    if certificate.str() == before || check(before).is_err() {
        return;
    }
    if let Err(message) = check(certificate.str()) {
        errors.invalid(&certificate.path(), &Value::from("<certificate data>"), &message);
    }
}

fn forbid_removal(object: &Value, old: &Value, errors: &mut ErrorList) {
    for kind in SETTLED {
        if instances(object, kind).len() < instances(old, kind).len() {
            let root = At::root(object);
            root.field("status.conditions")
                .forbidden(errors, &format!("updates may not remove a condition of type {kind:?}"));
        }
    }
}

fn validate_usages(usages: &At<'_>, errors: &mut ErrorList) {
    usages.need(errors);
    for usage in usages.items() {
        usage.exactly_one_of(errors, &USAGES);
    }
    let mut seen = HashSet::new();
    for usage in usages.items() {
        if !seen.insert(usage.value.as_str()) {
            usage.duplicate(errors);
        }
    }
}

/// `example.com/my-signer`
pub(crate) fn validate_signer(signer: &At<'_>, errors: &mut ErrorList) {
    let text = signer.str();
    if text.is_empty() {
        return signer.required(errors, "");
    }
    let Some((domain, path)) = text.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        return signer
            .invalid(errors, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
    };
    if domain.len() > MAX_SIGNER_DOMAIN {
        signer.too_long(errors, MAX_SIGNER_DOMAIN);
    }
    validate_signer_part(signer, domain, names::dns1123_label, errors);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.invalid(&signer.path(), &Value::from(domain), detail);
    }
    validate_signer_part(signer, path, names::dns1123_subdomain, errors);
    if text.len() > MAX_SIGNER {
        signer.too_long(errors, MAX_SIGNER);
    }
}

/// Of the labels between the dots, only the first that is wrong is told of.
fn validate_signer_part(signer: &At<'_>, part: &str, check: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    let mut checked = part.split('.').map(|label| (label, check(label)));
    let Some((label, messages)) = checked.find(|(_, messages)| !messages.is_empty()) else { return };
    for message in messages {
        let detail = format!("validating label {label:?}: {message}");
        errors.invalid(&signer.path(), &Value::from(part), &detail);
    }
}

/// `Approved,Issued`
fn state(object: &Value) -> String {
    let has = |kind: &str| cells::condition(object, kind).is_some();
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied".to_owned(),
        (false, true) => "Approved".to_owned(),
        (false, false) => "Pending".to_owned(),
    };
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !object::str_at(object, "status.certificate").is_empty() {
        state.push_str(",Issued");
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: CertificateSigningRequest = CertificateSigningRequest;

    fn with(status: Value) -> Value {
        let mut object = KIND.sample();
        object["status"] = status;
        object
    }

    fn approved() -> Value {
        json!({"type": "Approved", "status": "True", "reason": "R", "lastUpdateTime": "2026-01-01T00:00:00Z",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn refusals(check: impl FnOnce(&mut ErrorList)) -> Vec<String> {
        let mut errors = ErrorList::new();
        check(&mut errors);
        errors.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn requests_must_be_signed_by_their_own_key() {
        assert_eq!(refusals(|errors| KIND.validate(&KIND.sample(), errors)), [""; 0]);
        let mut forged = KIND.sample();
        let text = SAMPLE_REQUEST.replace("c2FtcGxl", "c2FtcGxm");
        forged["spec"]["request"] = formats::to_base64(text.as_bytes()).into();
        let said = refusals(|errors| KIND.validate(&forged, errors));
        assert!(said.len() == 1 && said[0].starts_with("spec.request") && said[0].contains("signature"), "{said:?}");
    }

    #[test]
    fn only_approvers_decide() {
        let (before, after) = (with(json!({})), with(json!({"conditions": [approved()]})));
        let said = refusals(|errors| KIND.validate_status_update(&after, &before, errors));
        assert!(said.len() == 1 && said[0].contains("may not add a condition of type \"Approved\""), "{said:?}");
        assert_eq!(refusals(|errors| KIND.validate_approval(&after, &before, errors)), [""; 0]);
        let said = refusals(|errors| KIND.validate_approval(&before, &after, errors));
        assert!(said.len() == 1 && said[0].contains("may not remove a condition of type \"Approved\""), "{said:?}");
        // A status update keeps the decision as it was, whatever it says of it.
        let mut changed = after.clone();
        changed["status"]["conditions"][0]["reason"] = "other".into();
        KIND.prepare_status_update(&mut changed, &after);
        assert_eq!(changed, after);
        let mut approval = with(json!({"certificate": "eA==", "conditions": [approved()]}));
        KIND.prepare_approval(&mut approval, &before);
        assert_eq!(approval["status"], json!({"conditions": [approved()]}));
    }

    #[test]
    fn conditions_are_well_formed() {
        let denied = json!({"type": "Denied", "status": "True"});
        for (list, said) in [
            (json!([approved(), denied]), "status.conditions: Invalid value: \"Denied\": Approved and Denied"),
            (json!([{"type": "Approved", "status": "False"}]), "status.conditions[0].status: Unsupported value"),
            (json!([{"type": "", "status": "True"}]), "status.conditions[0].type: Required value"),
            (json!([{"type": "x", "status": ""}]), "status.conditions[0].status: Required value"),
            (json!([approved(), approved()]), "status.conditions[1].type: Duplicate value"),
        ] {
            let object = with(json!({"conditions": list}));
            let found = refusals(|errors| KIND.validate_approval(&object, &with(json!({})), errors));
            assert!(found.len() == 1 && found[0].starts_with(said), "{said}: {found:?}");
        }
    }

    #[test]
    fn signers_are_a_domain_and_a_path() {
        for (signer, said) in [
            ("example.com", "\"example.com\": must be a fully qualified domain and path"),
            ("example/x", "\"example\": should be a domain with at least two segments"),
            ("a.-b/x", "\"a.-b\": validating label \"-b\": a lowercase RFC 1123 label"),
            ("a.b/x.Y", "\"x.Y\": validating label \"Y\": a lowercase RFC 1123 subdomain"),
        ] {
            let mut object = KIND.sample();
            object["spec"]["signerName"] = signer.into();
            let found = refusals(|errors| KIND.validate(&object, errors));
            let said = format!("spec.signerName: Invalid value: {said}");
            assert!(found.len() == 1 && found[0].starts_with(&said), "{said}: {found:?}");
        }
    }

    #[test]
    fn certificates_are_set_once() {
        let set = |certificate: &str| with(json!({"certificate": certificate}));
        let said =
            |after: &Value, before: &Value| refusals(|errors| KIND.validate_status_update(after, before, errors));
        assert!(
            said(&set("eA=="), &with(json!({})))[0]
                .starts_with("status.certificate: Invalid value: \"<certificate data>\"")
        );
        assert!(said(&with(json!({})), &set("eA=="))[0].contains("may not modify existing certificate content"));
        assert_eq!(said(&set("eA=="), &set("eA==")), [""; 0]);
    }

    #[test]
    fn times_are_filled_in() {
        let now: Timestamp = "2026-02-01T00:00:00Z".parse().expect("a time");
        let old = with(json!({"conditions": [approved()]}));
        let mut new =
            with(json!({"conditions": [{"type": "Approved", "status": "True"}, {"type": "Failed", "status": "True"}]}));
        KIND.stamp(&mut new, &old, now);
        let times = |index: usize| {
            let one = &new["status"]["conditions"][index];
            (one["lastUpdateTime"].clone(), one["lastTransitionTime"].clone())
        };
        assert_eq!(times(0), (json!("2026-02-01T00:00:00Z"), json!("2026-01-01T00:00:00Z")));
        assert_eq!(times(1), (json!("2026-02-01T00:00:00Z"), json!("2026-02-01T00:00:00Z")));
    }
}
