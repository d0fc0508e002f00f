//! Watch answers: one line of JSON or one frame of protobuf per event, built by concatenating ready bytes.

use std::collections::VecDeque;
use std::time::Duration;

use api_codec::decode::Format;
use api_codec::protobuf;
use api_machinery::ApiError;
use api_registry::{WatchHandle, WatchItem};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::metrics::WatchMeter;
use crate::negotiate::Shape;
use crate::respond::{BoxError, Response, streamed, with_body};
use crate::served::Encoder;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// A frame is sent when it has grown to this (bytes); smaller ones go out at the end of each batch.
const FRAME_BYTES: usize = 64 * 1024;
/// Objects beyond this are sent from where they are: a thousand clients that do not read keep one copy, not each its own.
const SHARED_BYTES: usize = 16 * 1024;

/// What is to be sent, in order.
#[derive(Default)]
struct Frames {
    ready: VecDeque<Bytes>,
    open: BytesMut,
    bytes: usize,
}

impl Frames {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.open.put_slice(bytes);
    }

    fn put_object(&mut self, object: Bytes) {
        if object.len() <= SHARED_BYTES {
            return self.put(&object);
        }
        self.bytes += object.len();
        self.close();
        self.ready.push_back(object);
    }

    /// Nothing more is added to the last frame. Its buffer goes with it: who waits for the next event keeps none.
    fn close(&mut self) {
        if !self.open.is_empty() {
            self.ready.push_back(std::mem::take(&mut self.open).freeze());
        }
    }

    fn in_one(mut self) -> Bytes {
        self.close();
        Vec::from(self.ready).concat().into()
    }
}

/// Writes events; a table's columns come with its first event only, as upstream.
pub(crate) struct EventEncoder {
    encoder: Encoder,
    columns_sent: bool,
}

impl EventEncoder {
    pub(crate) fn new(encoder: Encoder) -> Self {
        Self { encoder, columns_sent: false }
    }

    /// Appends `{"type":T,"object":O}\n`, or the same in protobuf.
    fn write(&mut self, item: &WatchItem, out: &mut Frames) {
        let (name, object): (&str, Bytes) = match item {
            WatchItem::Added(object) => ("ADDED", self.object(object)),
            WatchItem::Modified(object) => ("MODIFIED", self.object(object)),
            WatchItem::Deleted(object) => ("DELETED", self.object(object)),
            WatchItem::Bookmark { revision, initial_end } => ("BOOKMARK", self.bookmark(*revision, *initial_end)),
        };
        event(self.encoder.output.format, name, object, out);
    }

    fn object(&mut self, object: &api_cache::Object) -> Bytes {
        if self.encoder.output.shape != Shape::Table {
            return self.encoder.watched(object);
        }
        let with_columns = !std::mem::replace(&mut self.columns_sent, true);
        self.encoder.table(&object.value(), with_columns).to_string().into()
    }

    /// An object of the watched kind with nothing but a resourceVersion.
    fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let meta_version = self.encoder.output.meta_version();
        let resource = self.encoder.served.resource;
        let partial =
            |metadata| json!({"kind": "PartialObjectMetadata", "apiVersion": meta_version, "metadata": metadata});
        let object = match self.encoder.output.shape {
            Shape::Object => {
                json!({"kind": resource.kind, "apiVersion": resource.gv.to_string(), "metadata": metadata})
            }
            Shape::Partial => partial(metadata),
            Shape::Table => json!({"kind": "Table", "apiVersion": meta_version,
                "metadata": {"resourceVersion": revision.to_string()}, "columnDefinitions": [],
                "rows": [{"cells": [], "object": partial(metadata)}]}),
        };
        self.encoder.ready(&object)
    }
}

fn event(format: Format, name: &str, object: Bytes, out: &mut Frames) {
    if format == Format::Protobuf {
        out.put(&protobuf::watch_head(name, object.len()));
        return out.put_object(object);
    }
    out.put(b"{\"type\":\"");
    out.put(name.as_bytes());
    out.put(b"\",\"object\":");
    out.put_object(object);
    out.put(b"}\n");
}

/// The last event of a watch that failed.
fn error_frame(encoder: &Encoder, error: &ApiError) -> Bytes {
    let mut out = Frames::default();
    event(encoder.output.format, "ERROR", encoder.ready(&error.to_status()), &mut out);
    out.in_one()
}

/// An open watch on its way to a client.
pub(crate) struct Watch {
    handle: WatchHandle,
    encoder: EventEncoder,
    pending: std::vec::IntoIter<WatchItem>,
    frames: Frames,
    stop: CancellationToken,
    meter: WatchMeter,
    ended: bool,
}

impl Watch {
    pub(crate) fn new(handle: WatchHandle, encoder: Encoder, stop: CancellationToken, meter: WatchMeter) -> Self {
        let encoder = EventEncoder::new(encoder);
        let (pending, frames) = (Vec::new().into_iter(), Frames::default());
        Self { handle, encoder, pending, frames, stop, meter, ended: false }
    }

    pub(crate) fn format(&self) -> Format {
        self.encoder.encoder.output.format
    }

    /// Waits until something is pending: `Ok(false)` at the clean end, `Err` with the last frame otherwise.
    async fn fill(&mut self) -> Result<bool, Bytes> {
        if self.pending.len() > 0 || self.ended {
            return Ok(!self.ended);
        }
        let batch = tokio::select! {
            () = self.stop.cancelled() => return Ok(false),
            batch = self.handle.next() => batch,
        };
        match batch {
            Ok(items) => {
                self.pending = items.into_iter();
                Ok(self.pending.len() > 0)
            }
            Err(error) => {
                self.ended = true;
                Err(error_frame(&self.encoder.encoder, &error))
            }
        }
    }

    fn write(&mut self) {
        if let Some(item) = self.pending.next() {
            let before = self.frames.bytes;
            self.encoder.write(&item, &mut self.frames);
            self.meter.event(self.frames.bytes - before);
        }
    }

    /// The next frame: one event or more, or a part of a large one; `None` is the clean end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(frame) = self.frames.ready.pop_front() {
            return Some(frame);
        }
        match self.fill().await {
            Ok(false) => return None,
            Ok(true) => {}
            Err(last) => return Some(last),
        }
        while self.frames.bytes < FRAME_BYTES && self.pending.len() > 0 {
            self.write();
        }
        self.frames.close();
        self.frames.bytes = 0;
        self.frames.ready.pop_front()
    }

    /// The same of one event. Cancel-safe.
    pub(crate) async fn next_event(&mut self) -> Option<Bytes> {
        match self.fill().await {
            Ok(false) => return None,
            Ok(true) => {}
            Err(last) => return Some(last),
        }
        self.write();
        Some(std::mem::take(&mut self.frames).in_one())
    }
}

/// Streams a watch until its timeout, its error, the client's leaving or the server's stop.
pub(crate) fn respond(watch: Watch) -> Response {
    let media_type = if watch.format() == Format::Protobuf { PROTOBUF } else { crate::respond::JSON };
    let frames = stream::unfold(watch, |mut watch| async move {
        let frame = watch.next().await?;
        Some((Ok::<_, BoxError>(frame), watch))
    });
    with_body(200, media_type, streamed(frames))
}

/// Watches without `timeoutSeconds` end after between one and two times this, so that they do not all end at once.
pub(crate) const MIN_TIMEOUT: Duration = Duration::from_secs(1800);
