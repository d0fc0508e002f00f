//! What a client is told of a Secret that is accepted: a certificate or its key that is none.

use api_machinery::{Value, object};

use crate::at::child;
use crate::formats;

const CERTIFICATE: &str = "CERTIFICATE";

pub(crate) fn of(object: &Value) -> Vec<String> {
    if object::str_at(object, "type") != "kubernetes.io/tls" {
        return Vec::new();
    }
    let data = child(object, "data");
    let blocks = |key: &str| {
        let bytes = data.get(key).and_then(Value::as_str).and_then(formats::base64).unwrap_or_default();
        blocks(&String::from_utf8_lossy(&bytes))
    };
    why_no_certificate(&blocks("tls.crt")).or_else(|| why_no_key(&blocks("tls.key"))).into_iter().collect()
}

fn why_no_certificate(blocks: &[String]) -> Option<String> {
    if blocks.iter().any(|block| block == CERTIFICATE) {
        return None;
    }
    Some(match blocks {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [only] if only.ends_with("PRIVATE KEY") => {
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may \
             have been switched"
                .to_owned()
        }
        others => format!(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
             following types: [{}]",
            others.join(" ")
        ),
    })
}

fn why_no_key(blocks: &[String]) -> Option<String> {
    if blocks.iter().any(|block| block == "PRIVATE KEY" || block.ends_with(" PRIVATE KEY")) {
        return None;
    }
    Some(match blocks {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [only] if only == CERTIFICATE => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        others => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks \
             of the following types: [{}]",
            others.join(" ")
        ),
    })
}

/// The types of the PEM blocks of a text, in order.
fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = boundary(line, "-----BEGIN ") else { continue };
        let body = lines.clone().take_while(|line| !line.starts_with("-----"));
        let body: String = body.filter(|line| !line.contains(':')).map(str::trim).collect();
        let mut rest = lines.clone().skip_while(|line| !line.starts_with("-----"));
        if rest.next().and_then(|line| boundary(line, "-----END ")) == Some(kind) && formats::base64(&body).is_some() {
            found.push(kind.to_owned());
        }
    }
    found
}

fn boundary<'t>(line: &'t str, begin: &str) -> Option<&'t str> {
    line.trim_end().strip_prefix(begin)?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(certificate: &str, key: &str) -> Vec<String> {
        let [certificate, key] = [certificate, key].map(|text| formats::to_base64(text.as_bytes()));
        of(&json!({"type": "kubernetes.io/tls", "data": {"tls.crt": certificate, "tls.key": key}}))
    }

    #[test]
    fn what_is_no_pair() {
        let block = |kind: &str| format!("-----BEGIN {kind}-----\nQUJD\n-----END {kind}-----\n");
        let (certificate, key) = (block(CERTIFICATE), block("EC PRIVATE KEY"));
        assert_eq!(said(&certificate, &key), [""; 0]);
        assert_eq!(said("x", &key), ["tls: failed to find any PEM data in certificate input"]);
        assert_eq!(said(&certificate, ""), ["tls: failed to find any PEM data in key input"]);
        assert_eq!(
            said(&certificate, &certificate),
            ["tls: found a certificate rather than a key in the PEM for the private key"]
        );
        assert!(said(&key, &key)[0].ends_with("PEM inputs may have been switched"));
    }
}
