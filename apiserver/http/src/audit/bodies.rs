//! Bodies as records keep them: JSON, whatever was spoken on the wire.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;

use api_codec::decode::{self, Format};
use api_codec::protobuf;
use api_machinery::Value;
use api_registry::aside;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body_util::BodyExt;
use serde_json::json;
use serde_json::value::RawValue;

use crate::respond::{JSON, Response, YAML, full};

/// An answer larger than this (bytes, as text) is sent and not recorded.
const MAX_RECORDED_BYTES: u64 = 256 << 20;

/// What a handler knows of a write that the answer's bytes do not say: an extension of the response.
#[derive(Clone, Default)]
pub(crate) struct Wrote {
    /// The store's revision at which it took effect; `None` for a dry run.
    pub revision: Option<u64>,
    /// Where the answer is a `Status`.
    pub status: Option<Arc<Value>>,
}

/// What names an object, in its metadata.
const NAMES: [&str; 4] = ["namespace", "name", "uid", "resourceVersion"];

/// Of the object in a JSON body only what names it, without reading the rest of it into memory. Of what is there twice
/// the last counts, as for whoever decodes it.
pub(super) fn names(bytes: &[u8]) -> Option<Value> {
    let fields: HashMap<String, &RawValue> = serde_json::from_slice(bytes).ok()?;
    let metadata: HashMap<String, &RawValue> = serde_json::from_str(fields.get("metadata")?.get()).ok()?;
    let named = NAMES.into_iter().filter_map(|name| {
        let value: Value = serde_json::from_str(metadata.get(name)?.get()).ok()?;
        Some((name.to_owned(), value))
    });
    Some(json!({"metadata": Value::Object(named.collect())}))
}

/// The object of an answer, and the answer as it was.
pub(super) async fn read(response: Response) -> (Response, Option<Value>) {
    let (head, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            // Bodies that are made here do not fail; a backend's may, and what it sent then is no object.
            tracing::debug!(%error, "an answer broke off before it could be recorded");
            Bytes::new()
        }
    };
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let object = aside::on_bytes(bytes.len(), || decoded(text(CONTENT_TYPE), text(CONTENT_ENCODING), &bytes));
    (Response::from_parts(head, full(bytes)), object)
}

fn decoded(media_type: &str, encoding: &str, bytes: &Bytes) -> Option<Value> {
    let plain = match encoding {
        "gzip" => {
            let mut plain = Vec::new();
            GzDecoder::new(bytes.as_ref()).take(MAX_RECORDED_BYTES).read_to_end(&mut plain).ok()?;
            Bytes::from(plain)
        }
        _ => bytes.clone(),
    };
    let plain = Some(plain).filter(|plain| (plain.len() as u64) < MAX_RECORDED_BYTES)?;
    match media_type {
        JSON => serde_json::from_slice(&plain).ok(),
        YAML => serde_saphyr::from_slice(&plain).ok(),
        protobuf::MEDIA_TYPE => decode::parse(Format::Protobuf, &plain).ok().map(|parsed| parsed.value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::negotiate::Output;
    use crate::respond;

    #[tokio::test]
    async fn an_answer_is_recorded_in_json_and_sent_as_it_was() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"},
            "data": {"a": "x".repeat(respond::GZIP_MIN_BYTES)}});
        for (format, gzip) in
            [(Format::Json, false), (Format::Json, true), (Format::Yaml, false), (Format::Protobuf, true)]
        {
            let output = Output { format, gzip, ..Output::default() };
            let sent = respond::value(&output, 200, &object).into_body().collect().await.expect("reads").to_bytes();
            let (response, recorded) = read(respond::value(&output, 200, &object)).await;
            let recorded = recorded.expect("is an object");
            assert_eq!(
                (&recorded["metadata"]["name"], &recorded["data"]),
                (&object["metadata"]["name"], &object["data"])
            );
            assert_eq!(response.into_body().collect().await.expect("reads").to_bytes(), sent, "{format:?}");
        }
        let (_, recorded) = read(respond::text(200, "ok")).await;
        assert_eq!(recorded, None);
    }

    #[test]
    fn a_name_is_found_without_reading_the_rest() {
        let body = br#"{"spec":{"a":[1,2]},"metadata":{"name":"m","labels":{"name":"l"},"uid":7,"n\u0061me":"n"}}"#;
        assert_eq!(names(body), Some(json!({"metadata": {"name": "n", "uid": 7}})));
        let twice = br#"{"metadata":{"name":"a"},"metadata":{"name":"b"}}"#;
        assert_eq!(names(twice), Some(json!({"metadata": {"name": "b"}})));
        for bad in ["", "[]", "{}", r#"{"metadata":"#, r#"{"metadata":[]}"#] {
            assert_eq!(names(bad.as_bytes()), None, "{bad}");
        }
    }
}
