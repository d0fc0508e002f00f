//! Certificate signing requests and certificates as text: what they ask for, whether they are sound.
//!
//! Names are read as Go's `crypto/x509` reads them, for what signers decide by: of several common names the last
//! counts, organizations are kept in order.

use std::collections::BTreeMap;
use std::net::IpAddr;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

/// What a request asks to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub emails: Vec<String>,
    pub ips: Vec<IpAddr>,
    pub uris: Vec<String>,
}

/// Upstream's text for what is no request at all.
const NOT_PEM: &str = "PEM block type must be CERTIFICATE REQUEST";

impl Asked {
    /// Reads the first PEM block, and checks that the request is signed by its own key. The error is a sentence.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        let der = request_der(pem)?;
        let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err("asn1: syntax error: trailing data".to_owned());
        }
        request.verify_signature().map_err(|_| "x509: the signature of the request does not verify".to_owned())?;
        let mut asked = Self::default();
        asked.name(&request.certification_request_info.subject)?;
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                names.general_names.iter().try_for_each(|name| asked.alternative(name))?;
            }
        }
        Ok(asked)
    }

    fn name(&mut self, subject: &X509Name<'_>) -> Result<(), String> {
        for common in subject.iter_common_name() {
            self.common_name = common.as_str().map_err(|_| unreadable("common name"))?.to_owned();
        }
        for organization in subject.iter_organization() {
            self.organizations.push(organization.as_str().map_err(|_| unreadable("organization"))?.to_owned());
        }
        Ok(())
    }

    /// Kinds of names that nobody signs are passed over, as Go does.
    fn alternative(&mut self, name: &GeneralName<'_>) -> Result<(), String> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => self.ips.push(address(bytes)?),
            GeneralName::Invalid(..) => return Err(unreadable("subject alternative name")),
            _ => {}
        }
        Ok(())
    }
}

fn unreadable(what: &str) -> String {
    format!("x509: the {what} of the request cannot be read")
}

fn malformed(error: &dyn std::fmt::Display) -> String {
    format!("asn1: structure error: {error}")
}

fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(four));
    }
    let sixteen = <[u8; 16]>::try_from(bytes).map_err(|_| unreadable("IP address"))?;
    Ok(IpAddr::from(sixteen))
}

/// The DER of a PEM request.
pub fn request_der(pem: &[u8]) -> Result<Vec<u8>, String> {
    let first = Pem::iter_from_buffer(pem).next().and_then(Result::ok);
    let block = first.filter(|block| block.label == "CERTIFICATE REQUEST");
    block.map(|block| block.contents).ok_or_else(|| NOT_PEM.to_owned())
}

/// What is wrong with the text of an issued certificate, in upstream's words; nothing is wrong with an empty one.
pub fn check_certificates(pem: &[u8]) -> Result<(), String> {
    if pem.is_empty() {
        return Ok(());
    }
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(pem) {
        // What comes after the last block is not looked at, as upstream.
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        block.parse_x509().map_err(|error| format!("x509: malformed certificate: {error}"))?;
        blocks += 1;
    }
    if blocks == 0 {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}

/// What is wrong with a bundle of authorities' certificates, each of which is to be there once: in upstream's words, as
/// far as it can be told.
pub fn trust_problems(pem: &[u8]) -> Vec<String> {
    let (mut problems, mut anchors) = (Vec::new(), BTreeMap::<Vec<u8>, Vec<String>>::new());
    for (index, block) in Pem::iter_from_buffer(pem).enumerate() {
        match block.map_err(|_| "is no PEM block without headers".to_owned()).and_then(authority) {
            Ok(der) => anchors.entry(der).or_default().push(index.to_string()),
            Err(why) => problems.push(format!("entry {index} {why}")),
        }
    }
    if !problems.is_empty() {
        return problems;
    }
    if anchors.is_empty() {
        return vec!["at least one trust anchor must be provided".to_owned()];
    }
    let twice = anchors.into_values().filter(|indices| indices.len() > 1);
    twice.map(|indices| format!("duplicate trust anchor (indices [{}])", indices.join(" "))).collect()
}

/// The DER of an authority's certificate, or what is wrong with it.
fn authority(block: Pem) -> Result<Vec<u8>, String> {
    if block.label != "CERTIFICATE" {
        return Err(format!("has bad block type: {}", block.label));
    }
    let certificate = block.parse_x509().map_err(|_| "does not parse as X.509".to_owned())?;
    match certificate.basic_constraints() {
        Err(_) => Err("has invalid basic constraints".to_owned()),
        Ok(Some(constraints)) if constraints.value.ca => Ok(block.contents.clone()),
        Ok(_) => Err("does not have the CA bit set".to_owned()),
    }
}

/// Seconds since 1970 at which the first certificate of a PEM text ends; `None` when there is none to read.
pub fn ends_at(pem: &[u8]) -> Option<i64> {
    let block = Pem::iter_from_buffer(pem).next()?.ok()?;
    let certificate = block.parse_x509().ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIIBEDCBuAIBADAwMRUwEwYDVQQKDAxzeXN0ZW06bm9kZXMxFzAVBgNVBAMMDnN5
c3RlbTpub2RlOm4xMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEiM7N1NW86/BY
uzGQKSOxxG56tfxW2SDIMdqU1LxHvbCE3a0/Wnu4uM4WQ28VTJ06NkayB7XjLVGT
42YcBChqPKAmMCQGCSqGSIb3DQEJDjEXMBUwEwYDVR0RBAwwCoICbjGHBAoAAAcw
CgYIKoZIzj0EAwIDRwAwRAIgDSjr0XEJGTDE+RQOKkOdkAE5f9d8VoIV3IjesAj8
dg4CIELYZmRQZpJrHpiZS4OaApaqtVKzLVCLhO7oGxSFvw/j
-----END CERTIFICATE REQUEST-----
";
    const PERSON: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIIBIjCByQIBADArMQwwCgYDVQQKDANkZXYxDDAKBgNVBAoMA29wczENMAsGA1UE
AwwEamFuZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABN/nXeYXOrSnsZZBmnpV
0aEnjO0WxqvAyR+l+JFTnMDs2L8HN8AJpbSWhdNGB/pqU6bV1o5b0WicTee/TjhB
JwSgPDA6BgkqhkiG9w0BCQ4xLTArMCkGA1UdEQQiMCCBEGphbmVAZXhhbXBsZS5j
b22GDHNwaWZmZTovL3gveTAKBggqhkjOPQQDAgNIADBFAiAEftHjZKXufTvgl5ob
h/XMwff7UdIYd1mIynHBc8p+rgIhAPg2NKsVMcq/8+X9XjsJPzYq0sGC7NKMTlei
J7HaeMYE
-----END CERTIFICATE REQUEST-----
";

    #[test]
    fn reads_what_is_asked_for() {
        let node = Asked::read(NODE.as_bytes()).expect("a request");
        assert_eq!(
            (node.common_name.as_str(), node.organizations),
            ("system:node:n1", vec!["system:nodes".to_owned()])
        );
        assert_eq!((node.dns_names, node.ips), (vec!["n1".to_owned()], vec![IpAddr::from([10, 0, 0, 7])]));
        let person = Asked::read(PERSON.as_bytes()).expect("a request");
        assert_eq!(person.organizations, ["dev", "ops"]);
        assert_eq!((person.emails.len(), person.uris.as_slice()), (1, &["spiffe://x/y".to_owned()][..]));
    }

    #[test]
    fn refuses_what_is_not_a_sound_request() {
        assert_eq!(Asked::read(b"v").expect_err("refused"), NOT_PEM);
        let certificate = NODE.replace("CERTIFICATE REQUEST", "CERTIFICATE");
        assert_eq!(Asked::read(certificate.as_bytes()).expect_err("refused"), NOT_PEM);
        // One bit of the subject changed after signing.
        let forged = NODE.replace("c3RlbTpub2RlOm4xMFkw", "c3RlbTpub2RlOm4yMFkw");
        assert_ne!(forged, NODE);
        assert!(Asked::read(forged.as_bytes()).expect_err("refused").contains("signature"));
        let cut = "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";
        assert!(Asked::read(cut.as_bytes()).expect_err("refused").starts_with("asn1"));
    }

    #[test]
    fn certificates_are_certificates() {
        assert_eq!(check_certificates(b""), Ok(()));
        let none = check_certificates(b"text").expect_err("refused");
        assert_eq!(none, "must contain at least one CERTIFICATE PEM block");
        let other = check_certificates(NODE.as_bytes()).expect_err("refused");
        assert_eq!(other, "only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\"");
        assert_eq!(ends_at(NODE.as_bytes()), None);
    }
}
