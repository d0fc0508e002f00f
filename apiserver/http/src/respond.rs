//! Answers: bytes with headers. Everything that leaves this server is made here.

use std::io::Write;

use api_codec::decode::Format;
use api_codec::protobuf;
use api_machinery::{ApiError, Value};
use api_schema::Schema;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

use crate::negotiate::Output;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Response = http::Response<Body>;

/// Answers of at least this many bytes are compressed when the client accepts it, as upstream.
pub(crate) const GZIP_MIN_BYTES: usize = 128 * 1024;
/// Lists leave in frames of about this many bytes.
const FRAME_BYTES: usize = 64 * 1024;

pub(crate) const JSON: &str = "application/json";
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

/// JSON bytes ready to send; read again only where YAML or indentation is asked for. An object that is in protobuf
/// already is sent as it is.
pub(crate) fn json(output: &Output, code: u16, json: Bytes) -> Response {
    if output.format == Format::Protobuf && json.starts_with(&protobuf::MAGIC) {
        return protobuf_bytes(output, code, json);
    }
    if output.format == Format::Json && !output.pretty {
        let mut line = BytesMut::with_capacity(json.len() + 1);
        line.extend_from_slice(&json);
        line.extend_from_slice(b"\n");
        return maybe_gzip(output, with_body(code, JSON, full(Bytes::new())), line.freeze());
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
        Format::Json | Format::Protobuf => {
            (JSON, serde_json::to_string_pretty(value).map_err(|cause| cause.to_string()))
        }
        Format::Yaml => ("application/yaml", serde_saphyr::to_string(value).map_err(|cause| cause.to_string())),
    };
    match text {
        Ok(text) => maybe_gzip(output, with_body(code, media_type, full(Bytes::new())), text.into()),
        Err(cause) => json(&Output::default(), 500, ApiError::internal(cause).to_status().to_string().into()),
    }
}

/// An object in its envelope.
pub(crate) fn protobuf_bytes(output: &Output, code: u16, bytes: Bytes) -> Response {
    maybe_gzip(output, with_body(code, protobuf::MEDIA_TYPE, full(Bytes::new())), bytes)
}

fn maybe_gzip(output: &Output, mut response: Response, bytes: Bytes) -> Response {
    if output.gzip && bytes.len() >= GZIP_MIN_BYTES {
        mark_gzip(&mut response);
        *response.body_mut() = streamed(stream::iter(Gzip::new(std::iter::once(bytes)).map(Ok)));
    } else {
        *response.body_mut() = full(bytes);
    }
    response
}

/// A document of its own media type, compressed when large and accepted.
pub(crate) fn compressed(output: &Output, media_type: &str, bytes: Bytes) -> Response {
    maybe_gzip(output, with_body(200, media_type, full(Bytes::new())), bytes)
}

fn mark_gzip(response: &mut Response) {
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
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

/// A list as it is sent: `head`, items, `tail`.
pub(crate) struct Pieces {
    pub head: Bytes,
    /// JSON ones without their opening brace, protobuf ones with their tag and length.
    pub items: Box<dyn Iterator<Item = Bytes> + Send>,
    pub tail: &'static [u8],
    /// Bytes of all items where that is known without making them.
    pub items_bytes: Option<usize>,
    pub count: usize,
    /// [`Format::Json`] or [`Format::Protobuf`].
    pub format: Format,
}

impl Pieces {
    /// Before the first item, and before each other.
    fn separators(&self) -> (&'static [u8], &'static [u8]) {
        if self.format == Format::Protobuf { (b"", b"") } else { (b"{", b",{") }
    }
    /// Bytes of it all where that is known.
    fn length(&self) -> Option<usize> {
        let (first, next) = self.separators();
        let between = match self.count {
            0 => return Some(self.head.len() + self.tail.len()),
            count => first.len() + next.len() * (count - 1),
        };
        self.items_bytes.map(|bytes| bytes + between + self.head.len() + self.tail.len())
    }
}

/// Joins the pieces of a list into frames.
struct Frames {
    pieces: Pieces,
    state: FrameState,
    buffer: BytesMut,
}

#[derive(Clone, Copy, PartialEq)]
enum FrameState {
    Head,
    Items { first: bool },
    Done,
}

impl Iterator for Frames {
    type Item = Bytes;
    fn next(&mut self) -> Option<Bytes> {
        while self.buffer.len() < FRAME_BYTES {
            match self.state {
                FrameState::Head => {
                    self.buffer.extend_from_slice(&self.pieces.head);
                    self.state = FrameState::Items { first: true };
                }
                FrameState::Items { first } => match self.pieces.items.next() {
                    Some(item) => {
                        let separators = self.pieces.separators();
                        self.buffer.extend_from_slice(if first { separators.0 } else { separators.1 });
                        self.buffer.extend_from_slice(&item);
                        self.state = FrameState::Items { first: false };
                    }
                    None => {
                        self.buffer.extend_from_slice(self.pieces.tail);
                        self.state = FrameState::Done;
                    }
                },
                FrameState::Done => break,
            }
        }
        if self.buffer.is_empty() { None } else { Some(self.buffer.split().freeze()) }
    }
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

/// A list, streamed; compressed when it is large and the client accepts it.
pub(crate) fn list(output: &Output, pieces: Pieces) -> Response {
    let (length, format) = (pieces.length(), pieces.format);
    let frames = Frames { pieces, state: FrameState::Head, buffer: BytesMut::new() };
    if format == Format::Json && (output.format != Format::Json || output.pretty) {
        let whole: Vec<u8> = frames.flatten().collect();
        return json(output, 200, whole.into());
    }
    // A length that is not known beforehand stands for something costly, hence large enough.
    let media_type = if format == Format::Protobuf { protobuf::MEDIA_TYPE } else { JSON };
    let mut response = with_body(200, media_type, full(Bytes::new()));
    if output.gzip && length.is_none_or(|length| length >= GZIP_MIN_BYTES) {
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

    fn pieces(items: Vec<Bytes>) -> Pieces {
        Pieces {
            head: Bytes::from_static(b"{\"items\":["),
            tail: b"]}\n",
            items_bytes: Some(items.iter().map(Bytes::len).sum()),
            count: items.len(),
            items: Box::new(items.into_iter()),
            format: Format::Json,
        }
    }

    async fn read(response: Response) -> (Option<usize>, Vec<u8>) {
        let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body().collect().await.expect("reads").to_bytes().to_vec();
        (length, body)
    }

    #[tokio::test]
    async fn lists_are_concatenated_and_their_length_is_right() {
        for count in [0, 1, 2, 5000] {
            let items: Vec<Bytes> = (0..count).map(|at| Bytes::from(format!("\"n\":{at}}}"))).collect();
            let (length, body) = read(list(&Output::default(), pieces(items))).await;
            assert_eq!(length, Some(body.len()), "{count}");
            let value: Value = serde_json::from_slice(&body).expect("is JSON");
            assert_eq!(value["items"].as_array().map(Vec::len), Some(count));
        }
    }

    #[tokio::test]
    async fn large_lists_are_compressed_when_accepted() {
        let items: Vec<Bytes> = (0..20_000).map(|at| Bytes::from(format!("\"number\":{at}}}"))).collect();
        let output = Output { gzip: true, ..Output::default() };
        let small = read(list(&output, pieces(items[..10].to_vec()))).await;
        assert!(small.1.starts_with(b"{"));
        let response = list(&output, pieces(items));
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let (_, packed) = read(response).await;
        let mut whole = String::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut whole).expect("is gzip");
        let value: Value = serde_json::from_str(&whole).expect("is JSON");
        assert_eq!(value["items"].as_array().map(Vec::len), Some(20_000));
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
