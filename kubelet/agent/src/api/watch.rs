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
use tokio::time::Instant;

use super::request::refusal;
use super::{ApiFailure, Client};

/// A watch is asked to end after this; the server may end it earlier.
const WATCH_SECONDS: u64 = 400;
/// Waits after failures, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A watch that lived so long was a good one: another may follow at once.
const LIVED: Duration = Duration::from_secs(1);
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
        let began = Instant::now();
        let result = match version.clone() {
            None => list(&client, &what, &notices).await.map(|listed| {
                version = Some(listed);
                true
            }),
            Some(mut reached) => {
                let result = follow(&client, &what, &mut reached, &notices).await;
                version = Some(reached);
                result.map(|()| false)
            }
        };
        let next = after(&result, began.elapsed(), wait);
        if let Err(error) = result {
            tracing::debug!(%error, path = what.path, "watch broke off");
        }
        if next.anew {
            version = None;
        }
        wait = next.wait;
        tokio::time::sleep(next.pause).await;
    }
}

/// What follows a list or a watch.
#[derive(Debug, PartialEq, Eq)]
struct Next {
    /// List again: what was reached is of no use.
    anew: bool,
    pause: Duration,
    /// The pause if that fails too.
    wait: Duration,
}

/// `Ok(true)`: listed; `Ok(false)`: a watch came to its end. What ended soon is not asked again at once.
fn after(result: &Result<bool, ApiFailure>, lived: Duration, wait: Duration) -> Next {
    let anew = match result {
        Ok(_) => false,
        Err(error) => error.is_expired() || matches!(error, ApiFailure::Decode(_)),
    };
    match result {
        Ok(true) => Next { anew, pause: Duration::ZERO, wait },
        _ if lived >= LIVED => Next { anew, pause: Duration::ZERO, wait: RETRY_FIRST },
        _ => Next { anew, pause: wait, wait: (wait * 2).min(RETRY_MAX) },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_in_a_tight_loop() {
        let (soon, late, wait) = (Duration::ZERO, Duration::from_secs(60), Duration::from_secs(1));
        let expired = || Err(ApiFailure::Status { code: 410, reason: String::new(), message: String::new() });
        let undecodable = || Err(ApiFailure::Decode(String::new()));
        let broken = || Err(ApiFailure::Transport(String::new()));
        let next = |anew, pause, wait| Next { anew, pause, wait };
        let cases = [
            (Ok(true), soon, next(false, soon, wait)),
            (Ok(false), late, next(false, soon, RETRY_FIRST)),
            (Ok(false), soon, next(false, wait, wait * 2)),
            (expired(), late, next(true, soon, RETRY_FIRST)),
            (expired(), soon, next(true, wait, wait * 2)),
            (undecodable(), soon, next(true, wait, wait * 2)),
            (broken(), soon, next(false, wait, wait * 2)),
        ];
        for (result, lived, expected) in cases {
            assert_eq!(after(&result, lived, wait), expected, "{result:?} after {lived:?}");
        }
        assert_eq!(after(&broken(), soon, RETRY_MAX).wait, RETRY_MAX);
    }
}
