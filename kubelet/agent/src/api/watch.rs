//! List, then watch, for ever: resumed where it broke off, on another server if need be.

use std::time::Duration;

use bytes::BytesMut;
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::request::refusal;
use super::{ApiFailure, Client};

/// A watch is asked to end after this; the server may end it earlier.
const WATCH_SECONDS: u64 = 400;
/// Waits after failures, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Largest single event.
const MAX_EVENT: usize = 16 * 1024 * 1024;

/// What a list-watch tells.
#[derive(Debug)]
pub(crate) enum Notice<T> {
    /// Everything there is: what is not in it is gone.
    All(Vec<T>),
    Changed(T),
    Gone(T),
}

/// What to list and watch.
#[derive(Clone, Debug)]
pub(crate) struct ListWatch {
    /// `/api/v1/pods`
    pub path: String,
    /// Without `?`; empty or `fieldSelector=...`.
    pub query: String,
}

#[derive(Deserialize)]
struct List<T> {
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Versioned {
    metadata: ListMeta,
}

/// Sends notices until the receiver is dropped.
pub(crate) async fn list_watch<T: DeserializeOwned + Send + 'static>(
    client: Client,
    what: ListWatch,
    notices: mpsc::Sender<Notice<T>>,
) {
    let mut version: Option<String> = None;
    let mut wait = RETRY_FIRST;
    while !notices.is_closed() {
        let result = match &version {
            None => list(&client, &what, &notices).await.map(|listed| version = Some(listed)),
            Some(from) => {
                let mut reached = from.clone();
                let result = follow(&client, &what, &mut reached, &notices).await;
                version = Some(reached);
                result
            }
        };
        match result {
            Ok(()) => wait = RETRY_FIRST,
            Err(error) if error.is_expired() => version = None,
            Err(error) => {
                tracing::debug!(%error, path = what.path, "watch broke off");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Lists everything; the answer is the version to watch from.
async fn list<T: DeserializeOwned>(
    client: &Client,
    what: &ListWatch,
    notices: &mpsc::Sender<Notice<T>>,
) -> Result<String, ApiFailure> {
    let separator = if what.query.is_empty() { "" } else { "?" };
    let list: List<T> = client.get(&format!("{}{separator}{}", what.path, what.query)).await?;
    // A closed receiver is seen by the caller's loop.
    let _ = notices.send(Notice::All(list.items)).await;
    Ok(list.metadata.resource_version)
}

/// Watches from `version`, which moves with each event, to the end of the stream.
async fn follow<T: DeserializeOwned>(
    client: &Client,
    what: &ListWatch,
    version: &mut String,
    notices: &mpsc::Sender<Notice<T>>,
) -> Result<(), ApiFailure> {
    let separator = if what.query.is_empty() { "" } else { "&" };
    let path = format!(
        "{}?{}{separator}watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}",
        what.path, what.query
    );
    let (connection, response) = client.send(&Method::GET, &path, None).await?;
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let body = http_body_util::Limited::new(body, 1 << 20).collect().await.map(|b| b.to_bytes());
        return Err(refusal(status, &body.unwrap_or_default()));
    }
    let mut lines = Lines::default();
    loop {
        let line = tokio::select! {
            line = lines.next(&mut body) => line,
            () = notices.closed() => return Ok(()),
        };
        match line {
            Ok(Some(line)) => event(&line, version, notices).await?,
            Ok(None) => return Ok(()),
            Err(error) => {
                client.leave(&connection).await;
                return Err(error);
            }
        }
    }
}

async fn event<T: DeserializeOwned>(
    line: &[u8],
    version: &mut String,
    notices: &mpsc::Sender<Notice<T>>,
) -> Result<(), ApiFailure> {
    let bad = |e: serde_json::Error| ApiFailure::Decode(e.to_string());
    let event: RawEvent<'_> = serde_json::from_slice(line).map_err(bad)?;
    if event.r#type == "ERROR" {
        let status: Status = serde_json::from_str(event.object.get()).map_err(bad)?;
        return Err(ApiFailure::Status {
            code: status.code.and_then(|c| u16::try_from(c).ok()).unwrap_or(500),
            reason: status.reason.unwrap_or_default(),
            message: status.message.unwrap_or_default(),
        });
    }
    let object = event.object.get();
    let versioned: Versioned = serde_json::from_str(object).map_err(bad)?;
    let notice = match event.r#type {
        "ADDED" | "MODIFIED" => Some(Notice::Changed(serde_json::from_str(object).map_err(bad)?)),
        "DELETED" => Some(Notice::Gone(serde_json::from_str(object).map_err(bad)?)),
        _ => None,
    };
    if let Some(notice) = notice {
        let _ = notices.send(notice).await;
    }
    if !versioned.metadata.resource_version.is_empty() {
        *version = versioned.metadata.resource_version;
    }
    Ok(())
}

/// A body cut into lines.
#[derive(Default)]
struct Lines {
    buffer: BytesMut,
    /// Bytes known to hold no line end.
    searched: usize,
}

impl Lines {
    async fn next(&mut self, body: &mut Incoming) -> Result<Option<BytesMut>, ApiFailure> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_EVENT {
                return Err(ApiFailure::Decode(format!("an event of more than {MAX_EVENT} bytes")));
            }
            match body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(ApiFailure::Transport(error.to_string())),
            }
        }
    }
}
