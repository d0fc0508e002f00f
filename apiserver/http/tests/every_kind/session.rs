//! One connection that everything is asked on, and answers in any encoding as values.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api_codec::decode::{FieldValidation, conform};
use api_codec::protobuf;
use api_machinery::{GroupVersion, GroupVersionKind, Value};
use api_schema::Schema;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::common::{Answer, Client};

pub(super) const JSON: &str = "application/json";
pub(super) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

pub(super) struct Session<'a> {
    client: &'a Client,
    sender: SendRequest<Full<Bytes>>,
    requests: AtomicUsize,
}

impl<'a> Session<'a> {
    pub(super) async fn open(client: &'a Client) -> Self {
        let io = TokioIo::new(client.connect(true).await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self { client, sender, requests: AtomicUsize::new(0) }
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut sender = self.sender.clone();
        sender.send_request(self.client.request(method, target, headers, body)).await.expect("an answer")
    }

    pub(super) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (head, body) = self.ask(method, target, headers, body).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { code: head.status.as_u16(), headers: head.headers, body }
    }

    pub(super) async fn get(&self, target: &str, accept: &str) -> Answer {
        self.send("GET", target, &[("accept", accept)], "").await
    }

    /// A watch of everything that has the label, from its first event on.
    pub(super) async fn watch(&self, target: &str, accept: &str) -> Events {
        let response = self.ask("GET", target, &[("accept", accept)], "").await;
        assert_eq!(response.status(), 200, "{target} as {accept}");
        let packed = accept.starts_with(PROTOBUF);
        let wanted = if packed { "application/vnd.kubernetes.protobuf;stream=watch" } else { JSON };
        assert_eq!(response.headers()["content-type"], wanted);
        Events { body: response.into_body(), buffer: Vec::new(), packed }
    }
}

/// Events of a watch: lines of JSON, or frames of protobuf.
pub(super) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
    packed: bool,
}

impl Events {
    /// Type and object.
    pub(super) async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some(event) = self.whole() {
                return event;
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await;
            let data = frame.expect("in time").expect("not the end").expect("a frame").into_data();
            self.buffer.extend_from_slice(&data.expect("data"));
        }
    }

    fn whole(&mut self) -> Option<(String, Value)> {
        if self.packed {
            let length = self.buffer.first_chunk().map(|length| u32::from_be_bytes(*length) as usize + 4)?;
            let frame: Vec<u8> =
                if self.buffer.len() < length { return None } else { self.buffer.drain(..length).collect() };
            let (kind, object) = crate::protobuf::event(&frame[4..]);
            return Some((kind, plain(object)));
        }
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let event: Value = serde_json::from_slice(&line).expect("a line of JSON");
        Some((text(&event["type"]), event["object"].clone()))
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// A body in protobuf.
pub(super) fn packed(value: &Value) -> Bytes {
    protobuf::encode(Schema::builtin(), value).unwrap_or_else(|| panic!("no message for {value}"))
}

/// An answer in the encoding it says to be in.
pub(super) fn read(answer: &Answer) -> Value {
    if answer.header("content-type") != PROTOBUF {
        return answer.json();
    }
    plain(protobuf::decode(Schema::builtin(), &answer.body).expect("an object in protobuf").1)
}

/// Without the zeros that protobuf spells out and JSON leaves out.
fn plain(mut value: Value) -> Value {
    let schema = Schema::builtin();
    let text = |field: &str| value[field].as_str().unwrap_or("").to_owned();
    let (gv, kind) = (GroupVersion::parse(&text("apiVersion")), text("kind"));
    let id = match &*gv.group {
        "meta.k8s.io" => schema.type_named(&format!("meta.v1.{kind}")),
        _ => {
            schema.type_of_kind(&GroupVersionKind { group: gv.group, version: gv.version, kind: kind.as_str().into() })
        }
    };
    let id = id.unwrap_or_else(|| panic!("no type of {value}"));
    conform(schema, id, &mut value, Vec::new(), FieldValidation::Strict).expect("conforms");
    value
}
