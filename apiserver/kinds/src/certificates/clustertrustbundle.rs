//! ClusterTrustBundle: certificates of authorities, for everybody or for what one signer has signed.

use api_machinery::{ErrorList, GroupResource, Value, certificates, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::certificates_certificatesigningrequest::validate_signer;
use crate::meta::is_new;
use crate::{Kind, cells};

pub(crate) struct ClusterTrustBundle;

/// Bytes.
const MAX_BUNDLE: usize = 1024 * 1024;

impl Kind for ClusterTrustBundle {
    fn resource(&self) -> GroupResource {
        GroupResource::new("certificates.k8s.io", "clustertrustbundles")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle", "metadata": {"name": "x"},
               "spec": {"trustBundle": SAMPLE_AUTHORITY}})
    }
    /// Of what stands in a path. The rest depends on the signer: see [`Kind::validate`].
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if is_new(object) {
            let root = At::root(object);
            let signer = root.field("spec.signerName");
            let name = root.field("metadata.name");
            let problems = if name.is_empty() { Vec::new() } else { name_problems(signer.str(), name.str()) };
            problems.iter().for_each(|problem| name.invalid(errors, problem));
            validate_signer_of(&signer, errors);
            validate_bundle(&root.field("spec.trustBundle"), errors);
        }
    }
    /// What is stored already is not read again: another version of a parser may think otherwise of it.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (signer, bundle) = (root.field("spec.signerName"), root.field("spec.trustBundle"));
        validate_signer_of(&signer, errors);
        if bundle.str() != object::str_at(old, "spec.trustBundle") {
            validate_bundle(&bundle, errors);
        }
        signer.unchanged(errors, child(old, "spec.signerName"));
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "spec.signerName").then(|| object::str_at(object, field).to_owned())
    }
    fn cells(&self, object: &Value, _now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::text_or(object, "spec.signerName", "<none>")])
    }
}

fn validate_signer_of(signer: &At<'_>, errors: &mut ErrorList) {
    if !signer.is_empty() {
        validate_signer(signer, errors);
    }
}

fn validate_bundle(bundle: &At<'_>, errors: &mut ErrorList) {
    if bundle.str().len() > MAX_BUNDLE {
        return bundle.too_long(errors, MAX_BUNDLE);
    }
    for problem in certificates::trust_problems(bundle.str().as_bytes()) {
        errors.invalid(&bundle.path(), &Value::from("<value omitted>"), &problem);
    }
}

/// What is wrong with a name: it begins with that of the signer.
fn name_problems(signer: &str, name: &str) -> Vec<String> {
    if signer.is_empty() {
        return match name.contains(':') {
            true => vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_owned()],
            false => names::dns1123_subdomain(name),
        };
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => names::dns1123_subdomain(rest),
        None => vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")],
    }
}

/// An authority that nobody has the key of.
const SAMPLE_AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBeTCCAR+gAwIBAgIUafsSHF5t5Re5MYA+NVkM++8cfvEwCgYIKoZIzj0EAwIw\n\
    ETEPMA0GA1UEAwwGc2FtcGxlMCAXDTI2MTIwMTE0MTUxNVoYDzIxMjYxMTA3MTQx\n\
    NTE1WjARMQ8wDQYDVQQDDAZzYW1wbGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
    AAS3CvLO/G8O7J/FMAVP+Z4aoYDGzBGuCze3j6aS2uak/0QCCUC8eolTNNCDD9yr\n\
    c9Qheviuyyq3OZ5Qoxga6bevo1MwUTAdBgNVHQ4EFgQUDQAPEhI9ieU9CvvbSZC0\n\
    Y4ALuw0wHwYDVR0jBBgwFoAUDQAPEhI9ieU9CvvbSZC0Y4ALuw0wDwYDVR0TAQH/\n\
    BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiB6nsrIVtuPzTtB8GTVgN8YzywV9DBK\n\
    hbA63A2vW2XWpwIhAJZFUPpdRdWF6I/Y4e/qKKgEnl4cygbhp6a/jfVyi9Pw\n\
    -----END CERTIFICATE-----\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, spec: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        ClusterTrustBundle.validate(&json!({"metadata": {"name": name}, "spec": spec}), &mut errors);
        errors.causes().iter().map(|cause| format!("{} {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn names_follow_signers() {
        let bundle = |signer: &str| json!({"signerName": signer, "trustBundle": SAMPLE_AUTHORITY});
        assert_eq!(told("x", &bundle("")), [""; 0]);
        assert_eq!(told("example.com:s:x", &bundle("example.com/s")), [""; 0]);
        assert!(told("a:x", &bundle(""))[0].contains("must not have \":\" in its name"));
        let wrong = told("x", &bundle("example.com/s"));
        assert!(wrong[0].ends_with("must be named with prefix example.com:s:"), "{wrong:?}");
    }

    #[test]
    fn bundles_hold_authorities_once() {
        let of = |bundle: String| told("x", &json!({"trustBundle": bundle}));
        let said = |text: &str| vec![format!("spec.trustBundle Invalid value: \"<value omitted>\": {text}")];
        assert_eq!(of(String::new()), said("at least one trust anchor must be provided"));
        assert_eq!(of(SAMPLE_AUTHORITY.repeat(2)), said("duplicate trust anchor (indices [0 1])"));
        let other = SAMPLE_AUTHORITY.replace("CERTIFICATE", "PRIVATE KEY");
        assert_eq!(of(other), said("entry 0 has bad block type: PRIVATE KEY"));
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned();
        assert_eq!(of(broken), said("entry 0 does not parse as X.509"));
        assert!(of("x".repeat(MAX_BUNDLE + 1))[0].contains("Too long"));
    }
}
