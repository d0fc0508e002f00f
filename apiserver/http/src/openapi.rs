//! `/openapi/v2`, `/openapi/v3` and its documents per group-version: made on first use, kept as bytes.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use api_codec::openapi;
use api_machinery::ApiError;
use api_machinery::error::Result;
use api_schema::Schema;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, VARY};
use serde_json::{Map, json};

use crate::chain::Call;
use crate::discovery::Document;
use crate::nonresource::{is_known, not_modified, tagged};
use crate::respond::{self, JSON, Response};
use crate::{negotiate, openapi_protobuf};

pub(crate) struct OpenApi {
    schema: &'static Schema,
    v2: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
    v3: OnceLock<V3>,
}

struct V3 {
    index: Document,
    /// By path below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
    documents: BTreeMap<String, Document>,
}

impl OpenApi {
    pub(crate) fn new(schema: &'static Schema) -> Self {
        Self { schema, v2: OnceLock::new(), v2_protobuf: OnceLock::new(), v3: OnceLock::new() }
    }

    fn v2(&self) -> &Document {
        self.v2.get_or_init(|| Document::new(openapi::v2(self.schema).to_string()))
    }

    fn v2_protobuf(&self) -> &Document {
        let encode = || Document::new(openapi_protobuf::encode(&openapi::v2(self.schema)));
        self.v2_protobuf.get_or_init(encode)
    }

    fn v3(&self) -> &V3 {
        self.v3.get_or_init(|| {
            let documents: BTreeMap<String, Document> = openapi::v3(self.schema)
                .into_iter()
                .map(|(path, document)| (path, Document::new(document.to_string())))
                .collect();
            let url = |path: &String, document: &Document| {
                json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", document.etag.trim_matches('"'))})
            };
            let paths: Map<String, _> =
                documents.iter().map(|(path, document)| (path.clone(), url(path, document))).collect();
            V3 { index: Document::new(json!({"paths": paths}).to_string()), documents }
        })
    }

    pub(crate) fn respond(&self, path: &str, call: &Call) -> Result<Response> {
        match path {
            "/openapi/v2" => self.unversioned(call),
            // The same whatever is asked for, as upstream.
            "/openapi/v3" => Ok(send(&self.v3().index, JSON, call)),
            _ => {
                let document = path.strip_prefix("/openapi/v3/").and_then(|path| self.v3().documents.get(path));
                self.versioned(path, document.ok_or_else(ApiError::no_such_path)?, call)
            }
        }
    }

    /// Protobuf where the client wants it more than JSON.
    fn unversioned(&self, call: &Call) -> Result<Response> {
        let clauses = negotiate::accepted(call.headers());
        let wanted = clauses.iter().find(|clause| is_json(clause) || openapi_protobuf::ACCEPTED.contains(&clause.kind));
        match wanted.is_some_and(|clause| !is_json(clause)) {
            true => Ok(send(self.v2_protobuf(), openapi_protobuf::MEDIA_TYPE, call)),
            false => serve(self.v2(), call),
        }
    }

    /// With the right `hash` a document may be kept for ever; with another one the client is sent to the right one.
    fn versioned(&self, path: &str, document: &Document, call: &Call) -> Result<Response> {
        let own = document.etag.trim_matches('"');
        match call.query.get("hash") {
            None => serve(document, call),
            Some(hash) if hash == own => {
                let mut response = serve(document, call)?;
                let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
                response.headers_mut().insert(CACHE_CONTROL, forever);
                Ok(response)
            }
            Some(_) => {
                let mut response = http::Response::new(respond::full(""));
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                if let Ok(value) = HeaderValue::from_str(&format!("{path}?hash={own}")) {
                    response.headers_mut().insert(LOCATION, value);
                }
                Ok(response)
            }
        }
    }
}

fn is_json(clause: &negotiate::Clause<'_>) -> bool {
    matches!(clause.kind, "application/json" | "*/*" | "application/*")
}

/// As JSON: clients that prefer the protobuf form of a v3 document name JSON too.
fn serve(document: &Document, call: &Call) -> Result<Response> {
    if !negotiate::accepted(call.headers()).iter().any(is_json) {
        return Err(ApiError::not_acceptable("only the following media types are accepted: application/json"));
    }
    Ok(send(document, JSON, call))
}

fn send(document: &Document, media_type: &str, call: &Call) -> Response {
    if is_known(call.headers(), document) {
        return not_modified(document);
    }
    let output = negotiate::Output { gzip: negotiate::accepts_gzip(call.headers()), ..negotiate::Output::default() };
    let mut response = tagged(respond::compressed(&output, media_type, document.bytes.clone()), document);
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    response
}
