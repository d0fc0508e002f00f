//! Lists as they are sent: a head, items made one by one while the answer leaves, a tail. No list is in memory as a
//! whole, in no format.

use api_codec::decode::Format;
use api_codec::{protobuf, yaml};
use api_machinery::Value;
use bytes::{Bytes, BytesMut};
use serde_json::Map;

use crate::negotiate::Output;
use crate::respond::{self, JSON, Response};

/// Lists leave in frames of about this many bytes.
const FRAME_BYTES: usize = 64 * 1024;
/// An item of so many leaves from where it is.
const LARGE_BYTES: usize = 8 * 1024;

pub(crate) type Items = Box<dyn Iterator<Item = Bytes> + Send>;

/// What is sent.
pub(crate) enum List {
    Json(Pieces),
    Protobuf(Packed),
}

/// A list of JSON objects.
pub(crate) struct Pieces {
    /// The list without its items: an object that is not empty.
    pub list: Value,
    /// Where they belong.
    pub field: &'static str,
    /// Without their opening braces.
    pub items: Items,
    pub count: usize,
    /// Bytes of all items where that is known without making them.
    pub items_bytes: Option<usize>,
}

/// A list in its envelope.
pub(crate) struct Packed {
    pub head: Bytes,
    /// As [`protobuf::Encoded::item`] has them.
    pub items: Items,
    pub items_bytes: usize,
}

/// A list's text around its items.
struct Frame {
    head: Vec<u8>,
    first: &'static [u8],
    next: &'static [u8],
    tail: Vec<u8>,
}

impl Frame {
    fn compact(list: &Value, field: &str) -> Self {
        let mut head = list.to_string();
        head.pop();
        head.push_str(&format!(",\"{field}\":["));
        Self { head: head.into(), first: b"{", next: b",{", tail: b"]}\n".to_vec() }
    }

    fn pretty(list: &Value, field: &str, count: usize) -> Self {
        let mut head = serde_json::to_string_pretty(list).unwrap_or_default();
        head.truncate(head.trim_end_matches('}').trim_end().len());
        head.push_str(&format!(",\n  \"{field}\": ["));
        let tail: &[u8] = if count == 0 { b"]\n}" } else { b"\n  ]\n}" };
        Self { head: head.into(), first: b"\n    ", next: b",\n    ", tail: tail.to_vec() }
    }

    /// The items stand among the other fields, by name.
    fn yaml(list: &Value, field: &str, count: usize) -> Self {
        let mut head = yaml_part(list, |name| name < field);
        head.push_str(&format!("{field}:{}\n", if count == 0 { " []" } else { "" }));
        Self { head: head.into(), first: b"", next: b"", tail: yaml_part(list, |name| name > field).into() }
    }

    fn length(&self, items: usize, count: usize) -> usize {
        let between = match count {
            0 => 0,
            count => self.first.len() + self.next.len() * (count - 1),
        };
        self.head.len() + between + items + self.tail.len()
    }
}

/// Some fields of a list, as they stand in the document of the whole.
fn yaml_part(list: &Value, is_part: impl Fn(&str) -> bool) -> String {
    let fields = list.as_object().into_iter().flatten().filter(|(name, _)| is_part(name));
    let fields: Map<String, Value> = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
    if fields.is_empty() { String::new() } else { yaml::to_string(&fields.into()) }
}

/// Puts a prefix before each line but the first and empty ones.
fn indented(text: &str, by: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if index > 0 && line != "\n" {
            out.push_str(by);
        }
        out.push_str(line);
    }
    out
}

fn pretty_item(item: &Bytes) -> Bytes {
    let whole = [b"{", &item[..]].concat();
    let value = serde_json::from_slice::<Value>(&whole);
    match value.and_then(|value| serde_json::to_string_pretty(&value)) {
        Ok(text) => indented(&text, "    ").into(),
        // What cannot be read stays as it is.
        Err(_) => whole.into(),
    }
}

fn yaml_item(item: &Bytes) -> Bytes {
    let whole = [b"{", &item[..]].concat();
    match serde_json::from_slice::<Value>(&whole) {
        Ok(value) => yaml::list_item(&value).into(),
        // JSON is YAML.
        Err(_) => [b"- ", &whole[..], b"\n"].concat().into(),
    }
}

/// Joins the parts of a list into frames.
struct Frames {
    frame: Frame,
    items: Items,
    state: State,
    buffer: BytesMut,
    /// What comes behind the buffer.
    large: Option<Bytes>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Head,
    Items { first: bool },
    Done,
}

impl Frames {
    fn new(frame: Frame, items: Items) -> Self {
        Self { frame, items, state: State::Head, buffer: BytesMut::new(), large: None }
    }

    fn push(&mut self) {
        match self.state {
            State::Head => {
                self.buffer.extend_from_slice(&self.frame.head);
                self.state = State::Items { first: true };
            }
            State::Items { first } => match self.items.next() {
                Some(item) => {
                    self.buffer.extend_from_slice(if first { self.frame.first } else { self.frame.next });
                    self.state = State::Items { first: false };
                    match item.len() {
                        LARGE_BYTES.. => self.large = Some(item),
                        _ => self.buffer.extend_from_slice(&item),
                    }
                }
                None => {
                    self.buffer.extend_from_slice(&self.frame.tail);
                    self.state = State::Done;
                }
            },
            State::Done => {}
        }
    }
}

impl Iterator for Frames {
    type Item = Bytes;
    fn next(&mut self) -> Option<Bytes> {
        while self.large.is_none() && self.buffer.len() < FRAME_BYTES && self.state != State::Done {
            self.push();
        }
        if self.buffer.is_empty() { self.large.take() } else { Some(self.buffer.split().freeze()) }
    }
}

/// A list, streamed.
pub(crate) fn respond(output: &Output, list: List) -> Response {
    match list {
        List::Protobuf(Packed { head, items, items_bytes }) => {
            let frame = Frame { head: head.into(), first: b"", next: b"", tail: protobuf::TAIL.to_vec() };
            let length = frame.length(items_bytes, 0);
            respond::frames(output, protobuf::MEDIA_TYPE, Some(length), Frames::new(frame, items))
        }
        List::Json(Pieces { list, field, items, count, items_bytes }) => match output.format {
            Format::Yaml => {
                let frame = Frame::yaml(&list, field, count);
                let items = Box::new(items.map(|item| yaml_item(&item)));
                respond::frames(output, respond::YAML, None, Frames::new(frame, items))
            }
            _ if output.pretty => {
                let frame = Frame::pretty(&list, field, count);
                let items = Box::new(items.map(|item| pretty_item(&item)));
                respond::frames(output, JSON, None, Frames::new(frame, items))
            }
            _ => {
                let frame = Frame::compact(&list, field);
                let length = items_bytes.map(|items| frame.length(items, count));
                respond::frames(output, JSON, length, Frames::new(frame, items))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    fn list(items: Vec<Value>) -> List {
        let items: Vec<Bytes> = items.iter().map(|item| Bytes::from(item.to_string()).slice(1..)).collect();
        List::Json(Pieces {
            list: json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}}),
            field: "items",
            count: items.len(),
            items_bytes: Some(items.iter().map(Bytes::len).sum()),
            items: Box::new(items.into_iter()),
        })
    }

    /// What is awkward to indent.
    fn awkward(at: usize) -> Value {
        json!({"metadata": {"name": format!("n{at}"), "annotations": {}}, "text": "one\n\n  two\n- three: 4\n",
            "blank": "\n\n", "spaced": "  x", "list": [["a"], [], [{"b": null}]], "empty": "", "quoted": "\"#: '",
            "last": "no end\nof line", "long": "word ".repeat(if at % 7 == 3 { 3_000 } else { 60 })})
    }

    async fn read(output: &Output, list: List) -> (String, Option<usize>, String) {
        let response = respond(output, list);
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (kind, length) = (header(CONTENT_TYPE), header(CONTENT_LENGTH).and_then(|text| text.parse().ok()));
        let body = response.into_body().collect().await.expect("reads").to_bytes();
        (kind.unwrap_or_default(), length, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn every_format_says_the_same() {
        for count in [0, 1, 2, 500] {
            let items: Vec<Value> = (0..count).map(awkward).collect();
            let whole = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"},
                "items": items.clone()});
            let (_, length, compact) = read(&Output::default(), list(items.clone())).await;
            assert_eq!((length, compact.ends_with("]}\n")), (Some(compact.len()), true), "{count}");
            assert_eq!(serde_json::from_str::<Value>(&compact).expect("is JSON"), whole);
            let pretty = Output { pretty: true, ..Output::default() };
            let (_, _, pretty) = read(&pretty, list(items.clone())).await;
            assert_eq!(serde_json::from_str::<Value>(&pretty).expect("is JSON"), whole);
            let yaml = Output { format: Format::Yaml, ..Output::default() };
            let (kind, _, yaml) = read(&yaml, list(items)).await;
            assert_eq!(kind, "application/yaml");
            assert_eq!(serde_saphyr::from_str::<Value>(&yaml).expect("is YAML"), whole, "{yaml}");
            if count == 2 {
                // Indented as it would be as a whole.
                let mut lines: Vec<&str> = pretty.lines().collect();
                let sorted = serde_json::to_string_pretty(&whole).expect("is JSON");
                let mut wanted: Vec<&str> = sorted.lines().collect();
                lines.sort_unstable();
                wanted.sort_unstable();
                let bare = |lines: Vec<&str>| lines.iter().map(|line| line.trim_end_matches(',').to_owned()).collect();
                let (lines, wanted): (Vec<String>, Vec<String>) = (bare(lines), bare(wanted));
                assert_eq!(lines, wanted);
            }
        }
    }

    /// However large a list, only so much of it is made before it is taken: enough to know that it is large.
    #[tokio::test]
    async fn items_are_made_when_they_are_sent() {
        const COUNT: usize = 10_000;
        let item = Bytes::from(awkward(1).to_string()).slice(1..);
        let formats = [(Format::Json, false), (Format::Json, true), (Format::Yaml, false)];
        for (format, pretty) in formats {
            let made = Arc::new(AtomicUsize::new(0));
            let (counted, item) = (made.clone(), item.clone());
            let items = (0..COUNT).map(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                item.clone()
            });
            let list = json!({"kind": "PodList", "apiVersion": "v1"});
            let pieces = Pieces { list, field: "items", items: Box::new(items), count: COUNT, items_bytes: None };
            let output = Output { format, pretty, ..Output::default() };
            let mut body = respond(&output, List::Json(pieces)).into_body();
            let mut sent = 0;
            for _ in 0..5 {
                let ahead = made.load(Ordering::Relaxed) * awkward(1).to_string().len();
                assert!(ahead < sent + respond::GZIP_MIN_BYTES + 2 * FRAME_BYTES, "{format:?}: {ahead} after {sent}");
                let frame = body.frame().await.expect("more").expect("reads");
                sent += frame.into_data().expect("data").len();
            }
        }
    }
}
