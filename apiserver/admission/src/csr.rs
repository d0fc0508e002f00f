//! Whom a certificate of a request would name.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

#[derive(Debug)]
pub(crate) struct Subject {
    /// The last of several, as upstream reads it.
    pub(crate) common_name: String,
    /// The groups of the user.
    pub(crate) organizations: Vec<String>,
}

/// Reads base64 of PEM of one request. What is not readable as text is an error: it is not guessed at.
pub(crate) fn subject(request: &str) -> Result<Subject, String> {
    let pem = BASE64_STANDARD.decode(request).map_err(|error| error.to_string())?;
    let block = Pem::iter_from_buffer(&pem).next().and_then(Result::ok);
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (rest, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("asn1: syntax error: trailing data".to_owned());
    }
    let subject = &request.certification_request_info.subject;
    let text = |one: &AttributeTypeAndValue<'_>| one.as_str().map(str::to_owned).map_err(|error| error.to_string());
    let organizations = subject.iter_organization().map(text).collect::<Result<_, _>>()?;
    let common_name = subject.iter_common_name().last().map_or(Ok(String::new()), text)?;
    Ok(Subject { common_name, organizations })
}
