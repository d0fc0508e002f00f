//! `/openapi/v2`, `/openapi/v3` and its documents per group-version: made on first use, kept as bytes.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use api_codec::openapi;
use api_machinery::ApiError;
use api_machinery::error::Result;
use api_schema::Schema;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, VARY};
use serde_json::{Map, Value, json};

use crate::chain::Call;
use crate::discovery::Document;
use crate::negotiate;
use crate::nonresource::{is_known, not_modified, tagged};
use crate::openapi_protobuf::{v2, v3};
use crate::respond::{self, JSON, Response};

pub(crate) struct OpenApi {
    schema: &'static Schema,
    v2: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
    v3: OnceLock<V3>,
}

struct V3 {
    index: Document,
    /// By path below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
    documents: BTreeMap<String, Versioned>,
}

/// The document of a version. Its hash is that of its JSON in both forms, as upstream.
struct Versioned {
    json: Document,
    protobuf: OnceLock<Document>,
}

impl Versioned {
    fn new(document: &Value) -> Self {
        Self { json: Document::new(document.to_string()), protobuf: OnceLock::new() }
    }

    /// Hardly ever asked for, so made when it is.
    fn protobuf(&self) -> Result<&Document> {
        if let Some(made) = self.protobuf.get() {
            return Ok(made);
        }
        let document: Value = serde_json::from_slice(&self.json.bytes).map_err(ApiError::internal)?;
        let bytes = v3::encode(&document).into();
        Ok(self.protobuf.get_or_init(|| Document { bytes, etag: self.json.etag.clone() }))
    }

    fn hash(&self) -> &str {
        self.json.etag.trim_matches('"')
    }
}

impl OpenApi {
    pub(crate) fn new(schema: &'static Schema) -> Self {
        Self { schema, v2: OnceLock::new(), v2_protobuf: OnceLock::new(), v3: OnceLock::new() }
    }

    fn v2(&self) -> &Document {
        self.v2.get_or_init(|| Document::new(openapi::v2(self.schema).to_string()))
    }

    fn v2_protobuf(&self) -> &Document {
        self.v2_protobuf.get_or_init(|| Document::new(v2::encode(&openapi::v2(self.schema))))
    }

    fn v3(&self) -> &V3 {
        self.v3.get_or_init(|| {
            let documents: BTreeMap<String, Versioned> = openapi::v3(self.schema)
                .into_iter()
                .map(|(path, document)| (path, Versioned::new(&document)))
                .collect();
            let url = |path: &String, document: &Versioned| {
                json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", document.hash())})
            };
            let paths: Map<String, _> =
                documents.iter().map(|(path, document)| (path.clone(), url(path, document))).collect();
            V3 { index: Document::new(json!({"paths": paths}).to_string()), documents }
        })
    }

    pub(crate) fn respond(&self, path: &str, call: &Call) -> Result<Response> {
        match path {
            "/openapi/v2" => match form(call, v2::ACCEPTED)? {
                Form::Json => Ok(send(self.v2(), JSON, call)),
                Form::Protobuf => Ok(send(self.v2_protobuf(), v2::MEDIA_TYPE, call)),
            },
            // The same whatever is asked for, as upstream.
            "/openapi/v3" => Ok(send(&self.v3().index, JSON, call)),
            _ => {
                let document = path.strip_prefix("/openapi/v3/").and_then(|path| self.v3().documents.get(path));
                versioned(path, document.ok_or_else(ApiError::no_such_path)?, call)
            }
        }
    }
}

/// With the right `hash` a document may be kept for ever; with another one the client is sent to the right one.
fn versioned(path: &str, document: &Versioned, call: &Call) -> Result<Response> {
    let (form, media_type) = match form(call, v3::ACCEPTED)? {
        Form::Json => (&document.json, JSON),
        Form::Protobuf => (document.protobuf()?, v3::MEDIA_TYPE),
    };
    let own = document.hash();
    match call.query.text("hash") {
        "" => Ok(send(form, media_type, call)),
        hash if hash == own => {
            let mut response = send(form, media_type, call);
            let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
            response.headers_mut().insert(CACHE_CONTROL, forever);
            Ok(response)
        }
        _ => {
            let mut response = http::Response::new(respond::full(""));
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
            if let Ok(value) = HeaderValue::from_str(&format!("{path}?hash={own}")) {
                response.headers_mut().insert(LOCATION, value);
            }
            Ok(response)
        }
    }
}

/// How a document is wanted.
enum Form {
    Json,
    Protobuf,
}

/// The first clause that can be served; 406 where none can. `protobuf`: what that is called.
fn form(call: &Call, protobuf: [&str; 2]) -> Result<Form> {
    let form = |clause: &negotiate::Clause<'_>| match clause.kind {
        JSON | "*/*" | "application/*" => Some(Form::Json),
        kind => protobuf.contains(&kind).then_some(Form::Protobuf),
    };
    negotiate::accepted(call.headers()).iter().find_map(form).ok_or_else(|| {
        let known = protobuf[1];
        ApiError::not_acceptable(format!("only the following media types are accepted: {JSON}, {known}"))
    })
}

/// The document, or that the client has it.
fn send(document: &Document, media_type: &str, call: &Call) -> Response {
    let mut response = if is_known(call.headers(), document) {
        not_modified(document)
    } else {
        let gzip = negotiate::accepts_gzip(call.headers());
        let output = negotiate::Output { gzip, ..negotiate::Output::default() };
        tagged(respond::compressed(&output, media_type, document.bytes.clone()), document)
    };
    // Whether or not this answer is compressed: caches keep one for those who want the other.
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}
