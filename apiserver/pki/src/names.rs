//! Whom a certificate is for.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Whether a certificate (DER) names a host among its alternative names.
pub fn is_for_host(der: &[u8], host: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    names
        .value
        .general_names
        .iter()
        .any(|name| matches!(name, GeneralName::DNSName(own) if own.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Authority, Request, pem_certificates};

    #[test]
    fn reads_alternative_names() {
        let now = "2026-11-22T00:00:00Z".parse().expect("a time");
        let authority = Authority::create("ca", now).expect("a CA");
        let request = Request {
            common_name: "kubernetes.default.svc".into(),
            dns_names: vec!["a".into(), "kubernetes.default".into()],
            server: true,
            days: 1,
            ..Request::default()
        };
        let pem = authority.issue(&request, now).expect("issues").certificate_pem;
        let der = pem_certificates(&pem).expect("PEM").remove(0);
        assert!(is_for_host(&der, "kubernetes.default") && is_for_host(&der, "A"));
        assert!(!is_for_host(&der, "kubernetes.default.svc"), "a common name is no host");
        assert!(!is_for_host(b"not a certificate", "a"));
    }
}
