//! Answers: bytes with headers. Everything that leaves this server is made here.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use api_codec::decode::Format;
use api_codec::{protobuf, yaml};
use api_machinery::{ApiError, Value};
use api_schema::Schema;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, SizeHint};

use crate::negotiate::Output;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Response = http::Response<Body>;

/// Answers of more bytes are compressed when the client accepts it, as upstream.
pub(crate) const GZIP_MIN_BYTES: usize = 128 * 1024;

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn streamed<S>(stream: S) -> Body
where
    S: Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
{
    use futures::StreamExt;
    StreamBody::new(stream.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

/// An answer of the given media type. Codes come from our own tables, so a bad one is a 500.
pub(crate) fn with_body(code: u16, media_type: &str, body: Body) -> Response {
    let mut response = http::Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let media_type = HeaderValue::from_str(media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Response {
    let mut response = with_body(code, TEXT, full(text));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Bytes of another media type, ready to send.
pub(crate) fn bytes(code: u16, media_type: &str, bytes: impl Into<Bytes>) -> Response {
    with_body(code, media_type, full(bytes))
}

pub(crate) fn value(output: &Output, code: u16, value: &Value) -> Response {
    match output.format {
        Format::Json if !output.pretty => json(output, code, value.to_string().into()),
        _ => formatted(output, code, value),
    }
}

/// JSON for people, whatever was asked for: of what is no API object.
pub(crate) fn raw(value: &Value) -> Response {
    bytes(200, JSON, format!("{value:#}"))
}

/// JSON bytes ready to send; read again only where YAML or indentation is asked for. An object that is in protobuf
/// already is sent as it is.
pub(crate) fn json(output: &Output, code: u16, json: Bytes) -> Response {
    if output.format == Format::Protobuf && json.starts_with(&protobuf::MAGIC) {
        return protobuf_bytes(output, code, json);
    }
    if output.format == Format::Json && !output.pretty {
        return maybe_gzip(output, with_body(code, JSON, full(Bytes::new())), Parts::line(json));
    }
    match serde_json::from_slice::<Value>(&json) {
        Ok(value) => formatted(output, code, &value),
        Err(cause) => error(&Output::default(), &ApiError::internal(cause)),
    }
}

/// What protobuf has no message for is sent as JSON.
fn formatted(output: &Output, code: u16, value: &Value) -> Response {
    if output.format == Format::Protobuf {
        return match protobuf::encode(Schema::builtin(), value) {
            Some(bytes) => protobuf_bytes(output, code, bytes),
            None => json(&Output { format: Format::Json, ..*output }, code, value.to_string().into()),
        };
    }
    let (media_type, text) = match output.format {
        Format::Json | Format::Protobuf => (JSON, serde_json::to_string_pretty(value)),
        Format::Yaml => (YAML, Ok(yaml::to_string(value))),
    };
    match text {
        Ok(text) => maybe_gzip(output, with_body(code, media_type, full(Bytes::new())), Parts::one(text.into())),
        Err(cause) => json(&Output::default(), 500, ApiError::internal(cause).to_status().to_string().into()),
    }
}

/// An object in its envelope.
pub(crate) fn protobuf_bytes(output: &Output, code: u16, bytes: Bytes) -> Response {
    maybe_gzip(output, with_body(code, protobuf::MEDIA_TYPE, full(Bytes::new())), Parts::one(bytes))
}

/// Bytes that are sent one behind the other, as they are.
struct Parts(std::vec::IntoIter<Bytes>);

/// What is smaller is copied to get its newline; what is larger is sent in two frames.
const COPIED_BYTES: usize = 16 * 1024;

impl Parts {
    fn one(bytes: Bytes) -> Self {
        Self(vec![bytes].into_iter())
    }

    /// With a newline at its end, as upstream writes JSON.
    fn line(json: Bytes) -> Self {
        if json.len() > COPIED_BYTES {
            return Self(vec![json, Bytes::from_static(b"\n")].into_iter());
        }
        let mut line = BytesMut::with_capacity(json.len() + 1);
        line.extend_from_slice(&json);
        line.extend_from_slice(b"\n");
        Self::one(line.freeze())
    }

    fn len(&self) -> usize {
        self.0.as_slice().iter().map(Bytes::len).sum()
    }
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.next().map(|bytes| Ok(Frame::data(bytes))))
    }
    fn is_end_stream(&self) -> bool {
        self.0.len() == 0
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
    }
}

fn maybe_gzip(output: &Output, mut response: Response, parts: Parts) -> Response {
    if output.gzip && parts.len() > GZIP_MIN_BYTES {
        mark_gzip(&mut response);
        *response.body_mut() = streamed(stream::iter(Gzip::new(parts.0).map(Ok)));
    } else {
        *response.body_mut() = parts.boxed_unsync();
    }
    response
}

/// A document of its own media type, compressed when large and accepted.
pub(crate) fn compressed(output: &Output, media_type: &str, bytes: Bytes) -> Response {
    maybe_gzip(output, with_body(200, media_type, full(Bytes::new())), Parts::one(bytes))
}

fn mark_gzip(response: &mut Response) {
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// A refusal as a `Status` object, with `Retry-After` where it says so.
pub(crate) fn error(output: &Output, error: &ApiError) -> Response {
    let mut response = value(output, error.code, &error.to_status());
    let seconds = error.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Compresses chunk by chunk, at level 1 as upstream.
struct Gzip<I> {
    source: Option<I>,
    encoder: GzEncoder<Vec<u8>>,
}

impl<I> Gzip<I> {
    fn new(source: I) -> Self {
        Self { source: Some(source), encoder: GzEncoder::new(Vec::new(), Compression::fast()) }
    }
}

impl<I: Iterator<Item = Bytes>> Iterator for Gzip<I> {
    type Item = Bytes;
    fn next(&mut self) -> Option<Bytes> {
        const INFALLIBLE: &str = "writing to a Vec does not fail";
        loop {
            let Some(chunk) = self.source.as_mut()?.next() else {
                self.source = None;
                self.encoder.try_finish().expect(INFALLIBLE);
                return Some(std::mem::take(self.encoder.get_mut()).into());
            };
            self.encoder.write_all(&chunk).expect(INFALLIBLE);
            if !self.encoder.get_ref().is_empty() {
                return Some(std::mem::take(self.encoder.get_mut()).into());
            }
        }
    }
}

/// Frames of an answer that is made while it is sent, compressed when it is large and the client accepts it.
/// `length`: where it is known beforehand. Where it is not, as much is made at once as tells small from large.
pub(crate) fn frames(
    output: &Output,
    media_type: &str,
    length: Option<usize>,
    mut frames: impl Iterator<Item = Bytes> + Send + 'static,
) -> Response {
    let mut response = with_body(200, media_type, full(Bytes::new()));
    let mut first = Vec::new();
    if length.is_none() {
        let mut made = 0;
        while made <= GZIP_MIN_BYTES
            && let Some(frame) = frames.next()
        {
            made += frame.len();
            first.push(frame);
        }
        if made <= GZIP_MIN_BYTES {
            *response.body_mut() = Parts(first.into_iter()).boxed_unsync();
            return response;
        }
    }
    let frames = first.into_iter().chain(frames);
    if output.gzip && length.is_none_or(|length| length > GZIP_MIN_BYTES) {
        mark_gzip(&mut response);
        *response.body_mut() = streamed(stream::iter(Gzip::new(frames).map(Ok)));
        return response;
    }
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = streamed(stream::iter(frames.map(Ok)));
    response
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    async fn read(response: Response) -> (Option<usize>, Vec<u8>) {
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body().collect().await.expect("reads").to_bytes().to_vec();
        (length, body)
    }

    #[tokio::test]
    async fn large_answers_are_compressed_when_accepted() {
        let output = Output { gzip: true, ..Output::default() };
        for (count, length) in [(10, None), (10, Some(80)), (40_000, None), (40_000, Some(320_000))] {
            let made = (0..count).map(|at| Bytes::from(format!("{at:07}\n")));
            let response = frames(&output, TEXT, length, made);
            let packed = response.headers().contains_key(CONTENT_ENCODING);
            let (_, mut body) = read(response).await;
            assert_eq!(packed, count > 10);
            if packed {
                let mut whole = Vec::new();
                flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut whole).expect("is gzip");
                body = whole;
            }
            assert_eq!((body.len(), &body[..8]), (8 * count, b"0000000\n".as_slice()));
        }
    }

    #[tokio::test]
    async fn an_object_is_sent_as_it_lies_in_the_cache() {
        let object = Bytes::from(format!("{{\"a\":\"{}\"}}", "x".repeat(COPIED_BYTES)));
        let mut body = json(&Output::default(), 200, object.clone()).into_body();
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(object.len() as u64 + 1));
        let first = body.frame().await.expect("a frame").expect("reads").into_data().expect("data");
        assert_eq!((first.as_ptr(), first.len()), (object.as_ptr(), object.len()), "not a copy");
        assert_eq!(body.collect().await.expect("reads").to_bytes(), "\n");
        let (_, small) = read(json(&Output::default(), 200, Bytes::from_static(b"{}"))).await;
        assert_eq!(small, b"{}\n");
    }

    #[tokio::test]
    async fn yaml_keeps_strings_strings() {
        let object = serde_json::json!({"a": "true", "b": "017", "c": "1.0", "d": "null", "e": "y", "f": "2026-01-01",
            "g": "", "h": "a: b", "i": "line\nline\n", "j": 1, "k": null, "l": [], "m": {}, "n": "0x1f", "o": "1e3"});
        let output = Output { format: Format::Yaml, ..Output::default() };
        let (_, body) = read(value(&output, 200, &object)).await;
        let back: Value = serde_saphyr::from_slice(&body).expect("is YAML");
        assert_eq!(back, object, "{}", String::from_utf8_lossy(&body));
    }
}
