//! The record of one request while it is answered. Whoever holds it last closes it: the chain, or the stream that
//! the request became.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api_audit::Auditor;
use api_audit::event::{Level, ResponseStatus, Stage};
use api_audit::meter;
use api_audit::record::{DECISION, REASON, REVISION, Record};
use api_auth::authz::Decision;
use api_codec::decode::{self, Format};
use api_machinery::error::Result;
use api_machinery::{ApiError, UserInfo, Value};
use api_registry::aside;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::bodies::{self, Wrote};
use crate::request_info::RequestInfo;
use crate::respond::Response;

/// What upstream records of a request whose end nobody saw.
const CLOSED_EARLY: &str = "Connection closed early";

pub(crate) struct Trail {
    auditor: Arc<Auditor>,
    record: Mutex<Record>,
    /// Of a request that becomes a stream.
    long_running: bool,
    /// What is answered to other requests is no object, and not recorded, as upstream.
    is_resource: bool,
    ended: AtomicBool,
    panicked: AtomicBool,
    /// The server waits for trails when it stops.
    open: TaskTrackerToken,
}

impl Trail {
    pub(super) fn new(auditor: Arc<Auditor>, record: Record, open: TaskTrackerToken, info: &RequestInfo) -> Arc<Self> {
        let (ended, panicked) = (AtomicBool::new(false), AtomicBool::new(false));
        let (long_running, is_resource) = (info.is_long_running(), info.is_resource);
        Arc::new(Self { auditor, record: Mutex::new(record), long_running, is_resource, ended, panicked, open })
    }

    /// Makes the record of a stage and hands it over. `false`: it must be kept and is not.
    async fn stage(&self, stage: Stage) -> bool {
        let now = (self.auditor.now)();
        let event = self.record.lock().at(stage, now);
        match event {
            None => true,
            Some(event) => {
                meter::event();
                self.auditor.process(event).await
            }
        }
    }

    pub(super) async fn received(&self) -> Result<()> {
        if self.stage(Stage::RequestReceived).await {
            return Ok(());
        }
        self.ended.store(true, Ordering::Relaxed);
        meter::rejected();
        Err(ApiError::internal("failed to store audit event"))
    }

    /// The one record of a 401.
    pub(super) async fn refused(&self, message: &str) {
        self.ended.store(true, Ordering::Relaxed);
        let mut status = ResponseStatus::code(401);
        message.clone_into(&mut status.message);
        self.record.lock().status(status);
        self.stage(Stage::ResponseStarted).await;
    }

    pub(crate) fn impersonates(&self, user: &UserInfo) {
        self.record.lock().impersonates(user);
    }

    pub(crate) fn authorized(&self, decision: &Decision) {
        let mut record = self.record.lock();
        record.annotate(DECISION, if decision.allowed() { "allow" } else { "forbid" });
        record.annotate(REASON, decision.reason());
    }

    /// Also what admission says of a request goes here.
    pub(crate) fn annotate(&self, key: &str, value: &str) {
        self.record.lock().annotate(key, value);
    }

    fn level(&self) -> Level {
        self.record.lock().level()
    }

    /// The object of a create or update as it was sent. What cannot be read is refused by whoever decodes it next.
    pub(crate) fn sent_object(&self, format: Format, bytes: &[u8]) {
        let whole = self.level() >= Level::Request || format != Format::Json;
        let object = aside::on_bytes(bytes.len(), || match whole {
            true => decode::parse(format, bytes).ok().map(|parsed| parsed.value),
            false => bodies::names(bytes),
        });
        if let Some(object) = object {
            self.record.lock().request_object(object);
        }
    }

    /// A patch, a configuration to apply, delete options.
    pub(crate) fn sent_body(&self, format: Format, bytes: &[u8]) {
        if self.level() < Level::Request || bytes.is_empty() {
            return;
        }
        aside::on_bytes(bytes.len(), || {
            if let Ok(parsed) = decode::parse(format, bytes) {
                self.record.lock().request_body(&parsed.value);
            }
        });
    }

    /// Takes down what is answered. A body that is recorded is read as a whole and sent as it was.
    pub(crate) async fn answered(&self, answer: Result<Response>) -> Result<Response> {
        match answer {
            Ok(response) => Ok(self.response(response).await),
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// A refusal, unless something else was answered before.
    pub(crate) fn failed(&self, error: &ApiError) {
        let status = error.to_status();
        let mut record = self.record.lock();
        if !record.has_status() {
            record.status(ResponseStatus::of(&status, error.code));
            record.response_object(status);
        }
    }

    async fn response(&self, mut response: Response) -> Response {
        let code = response.status().as_u16();
        let wrote = response.extensions_mut().remove::<Wrote>();
        if let Some(Wrote { revision: Some(revision), .. }) = &wrote {
            self.annotate(REVISION, &revision.to_string());
        }
        let status = match wrote.and_then(|wrote| wrote.status) {
            Some(status) => ResponseStatus::of(&status, code),
            None => ResponseStatus::code(code),
        };
        self.record.lock().status(status);
        if self.level() < Level::RequestResponse || self.long_running || !self.is_resource {
            return response;
        }
        let (response, object) = bodies::read(response).await;
        if let Some(object) = object {
            self.record.lock().response_object(object);
        }
        response
    }

    /// A request whose work panicked.
    pub(crate) fn panicked(&self, text: &str) {
        let status = panic_status(text);
        self.panicked.store(true, Ordering::Relaxed);
        self.record.lock().status(ResponseStatus::of(&status, 500));
    }

    /// The head of the answer is ready to be sent. What is not a stream ends with it.
    pub(crate) async fn finish(self: Arc<Self>, response: Response) -> Response {
        if self.panicked.load(Ordering::Relaxed) {
            self.end(Stage::Panic).await;
            return response;
        }
        if !self.long_running {
            self.end(Stage::ResponseComplete).await;
            return response;
        }
        self.stage(Stage::ResponseStarted).await;
        let switched = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
        if switched || response.body().size_hint().exact().is_none() {
            return held(response, self);
        }
        self.end(Stage::ResponseComplete).await;
        response
    }

    async fn end(&self, stage: Stage) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            self.stage(stage).await;
        }
    }
}

fn panic_status(text: &str) -> Value {
    json!({"status": "Failure", "reason": "InternalError", "message": format!("APIServer panic'd: {text}")})
}

/// Nobody is there any more to wait for it: a stream that ended, a client that left.
impl Drop for Trail {
    fn drop(&mut self) {
        if *self.ended.get_mut() {
            return;
        }
        let now = (self.auditor.now)();
        let record = self.record.get_mut();
        let panicking = std::thread::panicking();
        if panicking {
            record.status(ResponseStatus::of(&panic_status("see the log"), 500));
        } else if !record.has_status() {
            let status = json!({"status": "Success", "message": CLOSED_EARLY});
            record.status(ResponseStatus::of(&status, 200));
        }
        let stage = if panicking { Stage::Panic } else { Stage::ResponseComplete };
        let Some(event) = record.at(stage, now) else { return };
        meter::event();
        let (auditor, open) = (self.auditor.clone(), self.open.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                auditor.process(event).await;
                drop(open);
            });
        }
    }
}

/// Keeps a trail open until the body is sent, or nobody wants the rest of it.
fn held(response: Response, trail: Arc<Trail>) -> Response {
    response.map(|body| {
        body.map_frame(move |frame| {
            let _open = &trail;
            frame
        })
        .boxed_unsync()
    })
}
