//! Where the next page of a list begins. Opaque to clients, versioned for us.

use api_machinery::Value;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use store_api::Revision;

const VERSION: &str = "kontiki.io/v1";
/// Tokens are short: two names and a number.
const MAX_BYTES: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    #[serde(rename = "v")]
    version: String,
    /// The revision all pages are read at; `None`: whatever is current, an inconsistent continuation.
    #[serde(rename = "rv")]
    pub(crate) revision: Option<Revision>,
    /// `NAMESPACE/NAME` of the last object sent.
    #[serde(rename = "after")]
    pub(crate) after: String,
}

impl Token {
    pub(crate) fn new(revision: Option<Revision>, after: String) -> Self {
        Self { version: VERSION.to_owned(), revision, after }
    }

    pub(crate) fn encode(&self) -> String {
        // A struct of strings and a number is always JSON.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The error is upstream's text.
    pub(crate) fn decode(text: &str) -> Result<Self, String> {
        let refuse = |why: String| format!("invalid continue token: continue key is not valid: {why}");
        if text.len() > MAX_BYTES {
            return Err(refuse("too long".to_owned()));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| refuse(api_codec::go_base64_error(text, &error)))?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| refuse(api_codec::go_json_error(&bytes, &error)))?;
        let version = value.get("v").and_then(Value::as_str).unwrap_or("");
        if version != VERSION {
            return Err(refuse(format!("server does not recognize this encoded version {version}")));
        }
        serde_json::from_value(value).map_err(|_| refuse(format!("encoded start key empty (version {VERSION})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let token = Token::new(Some(7), "ns/name".to_owned());
        assert_eq!(Token::decode(&token.encode()), Ok(token));
        for bad in ["", "%%%", "e30", &URL_SAFE_NO_PAD.encode(r#"{"v":"other","rv":1,"after":"a"}"#)] {
            assert!(Token::decode(bad).unwrap_err().contains("continue key is not valid"), "{bad}");
        }
    }
}
