//! CertificateSigningRequest.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object, time};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::{Kind, cells, formats};

pub(crate) struct CertificateSigningRequest;

const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
/// Signers have a domain of at most so many bytes, and a path after it.
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
    fn has_generation(&self) -> bool {
        false
    }
    /// A request is what it was when it was made.
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        crate::keep_field(object, old, "spec");
        crate::keep_field(object, old, "status");
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_usages(&spec.field("usages"), errors);
        let request = spec.field("request");
        if let Err(message) = check_request(request.str()) {
            errors.invalid(&request.path(), &Value::from(request.str()), &message);
        }
        let signer = spec.field("signerName");
        if signer.str() == LEGACY_SIGNER {
            signer.invalid(errors, "the legacy signerName is not allowed via this API version");
        } else {
            validate_signer(&signer, errors);
        }
        let seconds = spec.field("expirationSeconds");
        seconds.at_least(errors, MIN_SECONDS, "may not specify a duration less than 600 seconds (10 minutes)");
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

/// Long enough to parse; nobody signs it.
const SAMPLE_REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";

fn validate_usages(usages: &At<'_>, errors: &mut ErrorList) {
    if usages.is_empty() {
        return usages.required(errors, "");
    }
    let mut seen = HashSet::new();
    for usage in usages.items() {
        let text = usage.value.as_str().unwrap_or("").to_owned();
        usage.one_of(errors, &USAGES);
        if seen.contains(&text) {
            usage.duplicate(errors);
        }
        seen.insert(text);
    }
}

/// PEM of type CERTIFICATE REQUEST around one DER sequence. The signature is checked by signers.
fn check_request(text: &str) -> Result<(), String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
    const NOT_PEM: &str = "PEM block type must be CERTIFICATE REQUEST";
    let bytes = formats::base64(text).ok_or(NOT_PEM)?;
    let pem = std::str::from_utf8(&bytes).map_err(|_| NOT_PEM.to_owned())?;
    let body = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE REQUEST-----"));
    let (body, _) = body.ok_or(NOT_PEM)?;
    let der = formats::base64(&body.split_whitespace().collect::<String>()).ok_or(NOT_PEM)?;
    match der.first() {
        Some(0x30) => Ok(()),
        _ => Err("asn1: structure error: tags don't match (16 vs a request)".to_owned()),
    }
}

/// `example.com/my-signer`
fn validate_signer(signer: &At<'_>, errors: &mut ErrorList) {
    let text = signer.str();
    if text.is_empty() {
        return signer.required(errors, "");
    }
    let Some((domain, path)) = text.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        return signer
            .invalid(errors, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
    };
    for message in names::dns1123_subdomain(domain) {
        signer.invalid(errors, &format!("validating label {domain:?}: {message}"));
    }
    if !domain.contains('.') {
        signer.invalid(errors, "should be a domain with at least two segments separated by dots");
    }
    for message in names::dns1123_subdomain(path) {
        signer.invalid(errors, &format!("validating label {path:?}: {message}"));
    }
    if text.len() > MAX_SIGNER {
        signer.too_long(errors, MAX_SIGNER);
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
