//! Signing what certificate signing requests ask for, as upstream's signers do: the subject and the names come from
//! the request, the usages and the lifetime from whoever approved it. Never a CA.
//!
//! Pure over (request, CA, time, serial number).

use jiff::Timestamp;
use rcgen::{KeyPair, SigningKey as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::authority::{Authority, PkiError};
use crate::der;

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// PEM of a PKCS #10 request.
    pub request: &'a [u8],
    /// Upstream's words: `client auth`, `digital signature`, ...
    pub usages: &'a [String],
    /// As asked for; `None`: as long as a certificate may live.
    pub seconds: Option<i64>,
}

/// Longest life of a certificate, upstream's `--cluster-signing-duration`: a year.
pub const MAX_SECONDS: i64 = 8760 * 3600;
/// Shortest, whatever is asked for.
const MIN_SECONDS: i64 = 600;
/// Certificates begin so long ago, for peers whose clock is behind.
const BACKDATE_SECONDS: i64 = 300;
/// A life shorter than this is not shortened by the backdating.
const SHORT_SECONDS: i64 = 8 * 3600;
/// Bytes of a serial number.
pub const SERIAL_BYTES: usize = 16;

/// Signs with the authority's present key. The answer is PEM.
///
/// Refused: what is not a request, a request not signed by its own key, a usage nobody knows.
pub fn sign(
    authority: &Authority,
    order: &Order<'_>,
    now: Timestamp,
    serial: [u8; SERIAL_BYTES],
) -> Result<String, PkiError> {
    let der = request_der(order.request)?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(invalid)?;
    request.verify_signature().map_err(|_| refused("unable to verify certificate request signature"))?;
    let (_, ca) = X509Certificate::from_der(authority.signing_der()).map_err(invalid)?;
    let algorithm = algorithm(authority.key())?;
    let body = body(&request, &ca, &algorithm, order, now, serial)?;
    let signature = authority.key().sign(&body)?;
    Ok(pem("CERTIFICATE", &der::sequence(&[&body, &algorithm, &der::bits(&signature)])))
}

fn refused(why: &str) -> PkiError {
    PkiError::Invalid(why.to_owned())
}

fn invalid(error: impl std::fmt::Display) -> PkiError {
    PkiError::Invalid(error.to_string())
}

fn request_der(pem: &[u8]) -> Result<Vec<u8>, PkiError> {
    let first = x509_parser::pem::Pem::iter_from_buffer(pem).next().and_then(Result::ok);
    let block = first.filter(|block| block.label == "CERTIFICATE REQUEST");
    block.map(|block| block.contents).ok_or_else(|| refused("PEM block type must be CERTIFICATE REQUEST"))
}

/// `AlgorithmIdentifier` of the signatures a key makes.
fn algorithm(key: &KeyPair) -> Result<Vec<u8>, PkiError> {
    let (numbers, null): (&[u32], bool) = match key.algorithm() {
        own if own == &rcgen::PKCS_ECDSA_P256_SHA256 => (&[1, 2, 840, 10045, 4, 3, 2], false),
        own if own == &rcgen::PKCS_ECDSA_P384_SHA384 => (&[1, 2, 840, 10045, 4, 3, 3], false),
        own if own == &rcgen::PKCS_RSA_SHA256 => (&[1, 2, 840, 113_549, 1, 1, 11], true),
        own if own == &rcgen::PKCS_ED25519 => (&[1, 3, 101, 112], false),
        _ => return Err(refused("the CA has a kind of key that cannot sign requests")),
    };
    let parameters: &[u8] = if null { &[5, 0] } else { &[] };
    Ok(der::sequence(&[&der::oid(numbers), parameters]))
}

fn body(
    request: &X509CertificationRequest<'_>,
    ca: &X509Certificate<'_>,
    algorithm: &[u8],
    order: &Order<'_>,
    now: Timestamp,
    serial: [u8; SERIAL_BYTES],
) -> Result<Vec<u8>, PkiError> {
    let info = &request.certification_request_info;
    let (from, until) = validity(order.seconds, now, ca.validity().not_after.timestamp());
    let mut extensions = usages(order.usages)?;
    // Not a CA, said so.
    extensions.push(extension(&[2, 5, 29, 19], true, &der::sequence(&[])));
    extensions.extend(authority_key(ca));
    extensions.extend(alternative_names(request, info.subject.as_raw().len() <= 2));
    let extensions = der::sequence(&extensions.iter().map(Vec::as_slice).collect::<Vec<_>>());
    Ok(der::sequence(&[
        // Version 3.
        &der::element(0xa0, &der::integer(&[2])),
        &der::integer(&positive(serial)),
        algorithm,
        ca.subject().as_raw(),
        &der::sequence(&[&time(from)?, &time(until)?]),
        info.subject.as_raw(),
        info.subject_pki.raw,
        &der::element(0xa3, &extensions),
    ]))
}

fn positive(mut serial: [u8; SERIAL_BYTES]) -> [u8; SERIAL_BYTES] {
    serial[0] = serial[0] & 0x7f | 0x01;
    serial
}

/// First and last second, as upstream reckons them.
fn validity(asked: Option<i64>, now: Timestamp, ca_ends: i64) -> (i64, i64) {
    let life = asked.map_or(MAX_SECONDS, |asked| asked.clamp(MIN_SECONDS, MAX_SECONDS));
    let now = now.as_second();
    let until = if life < SHORT_SECONDS { now + life } else { now + life - BACKDATE_SECONDS };
    (now - BACKDATE_SECONDS, until.min(ca_ends))
}

/// UTCTime until 2049, GeneralizedTime after it.
fn time(seconds: i64) -> Result<Vec<u8>, PkiError> {
    let time = Timestamp::from_second(seconds).map_err(invalid)?;
    let year = time.strftime("%Y").to_string();
    let (tag, text) = match year.as_str() < "2050" {
        true => (0x17, time.strftime("%y%m%d%H%M%SZ").to_string()),
        false => (0x18, time.strftime("%Y%m%d%H%M%SZ").to_string()),
    };
    Ok(der::element(tag, text.as_bytes()))
}

fn extension(numbers: &[u32], critical: bool, content: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    der::sequence(&[&der::oid(numbers), flag, &der::octets(content)])
}

const SERVER_PURPOSES: [u32; 8] = [1, 3, 6, 1, 5, 5, 7, 3];

/// The number of a key usage, or the last numbers of an extended one in the order they are written.
enum Usage {
    Key(u8),
    Extended(u8, Vec<u32>),
}

fn usage(word: &str) -> Option<Usage> {
    let purpose = |order: u8, last: u32| Some(Usage::Extended(order, [&SERVER_PURPOSES[..], &[last]].concat()));
    match word {
        "signing" | "digital signature" => Some(Usage::Key(0)),
        "content commitment" => Some(Usage::Key(1)),
        "key encipherment" => Some(Usage::Key(2)),
        "data encipherment" => Some(Usage::Key(3)),
        "key agreement" => Some(Usage::Key(4)),
        "cert sign" => Some(Usage::Key(5)),
        "crl sign" => Some(Usage::Key(6)),
        "encipher only" => Some(Usage::Key(7)),
        "decipher only" => Some(Usage::Key(8)),
        "any" => Some(Usage::Extended(0, vec![2, 5, 29, 37, 0])),
        "server auth" => purpose(1, 1),
        "client auth" => purpose(2, 2),
        "code signing" => purpose(3, 3),
        "email protection" | "s/mime" => purpose(4, 4),
        "ipsec end system" => purpose(5, 5),
        "ipsec tunnel" => purpose(6, 6),
        "ipsec user" => purpose(7, 7),
        "timestamping" => purpose(8, 8),
        "ocsp signing" => purpose(9, 9),
        "microsoft sgc" => Some(Usage::Extended(10, vec![1, 3, 6, 1, 4, 1, 311, 10, 3, 3])),
        "netscape sgc" => Some(Usage::Extended(11, vec![2, 16, 840, 1, 113_730, 4, 1])),
        _ => None,
    }
}

fn usages(words: &[String]) -> Result<Vec<Vec<u8>>, PkiError> {
    let (mut keys, mut extended, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for word in words {
        match usage(word) {
            Some(Usage::Key(number)) => keys.push(number),
            Some(Usage::Extended(order, numbers)) => extended.push((order, numbers)),
            None => unknown.push(word.as_str()),
        }
    }
    if !unknown.is_empty() {
        return Err(PkiError::Invalid(format!("unrecognized usage values: {unknown:?}")));
    }
    extended.sort();
    extended.dedup();
    let mut extensions = Vec::new();
    if !keys.is_empty() {
        extensions.push(extension(&[2, 5, 29, 15], true, &der::flags(&keys)));
    }
    if !extended.is_empty() {
        let purposes: Vec<u8> = extended.iter().flat_map(|(_, numbers)| der::oid(numbers)).collect();
        extensions.push(extension(&[2, 5, 29, 37], false, &der::sequence(&[&purposes])));
    }
    Ok(extensions)
}

/// Which key of the CA signed.
fn authority_key(ca: &X509Certificate<'_>) -> Option<Vec<u8>> {
    let own = ca.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
        _ => None,
    })?;
    Some(extension(&[2, 5, 29, 35], false, &der::sequence(&[&der::element(0x80, own)])))
}

/// Names, addresses and URIs of the request; nothing else of its extensions. Critical where they are all there is.
fn alternative_names(request: &X509CertificationRequest<'_>, critical: bool) -> Option<Vec<u8>> {
    let all = request.requested_extensions().into_iter().flatten();
    let names = all.filter_map(|extension| match extension {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let encoded: Vec<u8> = names.flatten().flat_map(general_name).collect();
    (!encoded.is_empty()).then(|| extension(&[2, 5, 29, 17], critical, &der::sequence(&[&encoded])))
}

fn general_name(name: &GeneralName<'_>) -> Vec<u8> {
    match name {
        GeneralName::RFC822Name(text) => der::element(0x81, text.as_bytes()),
        GeneralName::DNSName(text) => der::element(0x82, text.as_bytes()),
        GeneralName::URI(text) => der::element(0x86, text.as_bytes()),
        GeneralName::IPAddress(bytes) => der::element(0x87, bytes),
        _ => Vec::new(),
    }
}

/// Lines of 64 characters, as RFC 7468 has them.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Request, expiry, new_csr, pem_certificates};

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().expect("a time")
    }

    fn words(all: &[&str]) -> Vec<String> {
        all.iter().map(|word| (*word).to_owned()).collect()
    }

    fn issued(request: &[u8], usages: &[&str], seconds: Option<i64>) -> Result<(Authority, String), PkiError> {
        let authority = Authority::create("kontiki", now()).expect("a CA");
        let usages = words(usages);
        let certificate = sign(&authority, &Order { request, usages: &usages, seconds }, now(), [9; SERIAL_BYTES])?;
        Ok((authority, certificate))
    }

    fn node() -> String {
        let asked = Request {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            dns_names: vec!["n1".into()],
            ips: vec!["10.0.0.7".parse().expect("ip")],
            ..Request::default()
        };
        new_csr(&asked, now()).expect("a request").1
    }

    /// Two organizations and other kinds of names, by another tool.
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
    fn what_is_signed_is_what_was_asked_for_and_verifies() {
        let (authority, text) = issued(PERSON.as_bytes(), &["client auth", "digital signature"], None).expect("signed");
        let der = pem_certificates(&text).expect("pem").remove(0);
        let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
        let ca_der = pem_certificates(authority.certificate_pem()).expect("pem").remove(0);
        let (_, ca) = X509Certificate::from_der(&ca_der).expect("a certificate");
        certificate.verify_signature(Some(ca.public_key())).expect("signed by the CA");
        assert_eq!(certificate.subject().to_string(), "O=dev, O=ops, CN=jane");
        assert_eq!((certificate.issuer(), certificate.is_ca()), (ca.subject(), false));
        let usages = certificate.key_usage().expect("once").expect("there").value;
        assert!(usages.digital_signature() && !usages.key_cert_sign());
        let purposes = certificate.extended_key_usage().expect("once").expect("there").value;
        assert!(purposes.client_auth && !purposes.server_auth);
        let names = certificate.subject_alternative_name().expect("once").expect("there").value;
        assert_eq!(names.general_names.len(), 2);
        assert_eq!(certificate.raw_serial()[0] & 0x80, 0);
    }

    /// A handshake with it, as a kubelet and the API server have one.
    #[test]
    fn a_verifier_takes_it() {
        let request = node();
        let (authority, text) =
            issued(request.as_bytes(), &["server auth", "digital signature"], None).expect("signed");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pem_certificates(authority.certificate_pem()).expect("pem").remove(0).into()).expect("a root");
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
        let der = pem_certificates(&text).expect("pem").remove(0);
        let at =
            rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(now().as_second() as u64));
        use rustls::client::danger::ServerCertVerifier as _;
        let verify = |name: &str| {
            let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
            verifier.as_ref().expect("a verifier").verify_server_cert(&der.clone().into(), &[], &name, &[], at)
        };
        verify("n1").expect("its name");
        verify("10.0.0.7").expect("its address");
        assert!(verify("n2").is_err());
    }

    #[test]
    fn lives_are_bounded() {
        let year = MAX_SECONDS - BACKDATE_SECONDS;
        let request = node();
        for (asked, life) in [(None, year), (Some(MAX_SECONDS * 5), year), (Some(3600), 3600), (Some(1), MIN_SECONDS)] {
            let (_, text) = issued(request.as_bytes(), &["client auth"], asked).expect("signed");
            let end = expiry(&text).expect("an end").as_second() - now().as_second();
            assert_eq!(end, life, "{asked:?}");
        }
        assert_eq!(validity(None, now(), now().as_second() + 60).1, now().as_second() + 60, "not beyond the CA");
    }

    #[test]
    fn refuses_what_it_cannot_vouch_for() {
        let request = node();
        let odd = issued(request.as_bytes(), &["client auth", "odd"], None).err().expect("refused").to_string();
        assert!(odd.contains("unrecognized usage values: [\"odd\"]"), "{odd}");
        let forged = PERSON.replace("AwwEamFuZTBZ", "AwwEamFuZjBZ");
        assert_ne!(forged, PERSON);
        let forged = issued(forged.as_bytes(), &["client auth"], None).err().expect("refused").to_string();
        assert!(forged.contains("unable to verify"), "{forged}");
        assert!(issued(b"x", &["client auth"], None).is_err());
    }
}
