//! `GET /containerLogs/NAMESPACE/POD/CONTAINER`

use std::sync::Arc;

use futures::StreamExt as _;
use http::{Response, StatusCode, header};
use jiff::SignedDuration;
use kubelet_core::pods;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Answer, query, streamed, text};
use crate::agent::Node;
use crate::logs::{self, Query};
use crate::worker::View;
use crate::{clock, paths};

/// Chunks read ahead of a slow reader.
const AHEAD: usize = 4;

pub(super) fn serve(node: &Arc<Node>, namespace: &str, name: &str, container: &str, query_text: &str) -> Answer {
    let Some(view) = node.pod(namespace, name) else {
        return text(StatusCode::NOT_FOUND, &format!("pod {name:?} not found"));
    };
    let (query, previous) = match parse(query_text) {
        Ok(parsed) => parsed,
        Err(message) => return text(StatusCode::BAD_REQUEST, &message),
    };
    if pods::find_container(&view.pod, container).is_none() {
        let message = format!("container {container:?} not found in pod {name:?}");
        return text(StatusCode::NOT_FOUND, &message);
    }
    let mut incarnations = view.containers.iter().filter(|(n, ..)| n == container);
    let chosen = if previous { incarnations.nth(1) } else { incarnations.next() };
    let Some((_, id, attempt, _)) = chosen else {
        return text(StatusCode::BAD_REQUEST, &missing(&view, name, container, previous));
    };
    let path = paths::log_dir(node, &view.pod).join(paths::container_log(container, *attempt));
    let (sink, chunks) = mpsc::channel(AHEAD);
    let ended = ended(node.clone(), view.clone(), id.clone());
    tokio::spawn(async move {
        if let Err(error) = logs::read(path, query, ended, sink).await {
            tracing::debug!(%error, "reading a log");
        }
    });
    let mut answer = Response::new(streamed(ReceiverStream::new(chunks).boxed()));
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    answer
}

/// Whether a container writes no more.
fn ended(node: Arc<Node>, view: Arc<View>, id: String) -> impl Fn() -> bool + Send {
    let (namespace, name, uid) = pods::identity(&view.pod);
    let (namespace, name, uid) = (namespace.to_owned(), name.to_owned(), uid.to_owned());
    move || match node.pod(&namespace, &name).filter(|v| pods::identity(&v.pod).2 == uid) {
        Some(view) => !view.containers.iter().any(|(_, other, _, running)| *other == id && *running),
        None => true,
    }
}

fn missing(view: &View, pod: &str, container: &str, previous: bool) -> String {
    if previous {
        return format!("previous terminated container {container:?} in pod {pod:?} not found");
    }
    let lists = [&view.status.init_container_statuses, &view.status.container_statuses];
    let status = lists.into_iter().flatten().flatten().find(|s| s.name == container);
    let waiting = status.and_then(|s| s.state.as_ref()).and_then(|s| s.waiting.as_ref());
    let reason = waiting.and_then(|w| match w.reason.as_deref() {
        Some("ErrImagePull") => Some("image can't be pulled"),
        Some("ImagePullBackOff") => Some("trying and failing to pull image"),
        other => other,
    });
    format!("container {container:?} in pod {pod:?} is waiting to start: {}", reason.unwrap_or("ContainerCreating"))
}

fn parse(text: &str) -> Result<(Query, bool), String> {
    let mut parsed = Query::default();
    let mut previous = false;
    for (key, value) in query(text) {
        let number = || value.parse::<i64>().map_err(|_| format!("{key}: {value:?} is not a number"));
        match key.as_str() {
            "follow" => parsed.follow = truth(&value),
            "previous" => previous = truth(&value),
            "timestamps" => parsed.timestamps = truth(&value),
            "tailLines" => {
                parsed.tail = Some(usize::try_from(number()?).map_err(|_| "tailLines: must not be negative")?)
            }
            "limitBytes" => {
                parsed.limit_bytes = Some(usize::try_from(number()?).map_err(|_| "limitBytes: must not be negative")?);
            }
            "sinceSeconds" => parsed.since = clock::now().checked_sub(SignedDuration::from_secs(number()?)).ok(),
            "sinceTime" => {
                parsed.since = Some(value.parse().map_err(|_| format!("sinceTime: {value:?} is not a time"))?)
            }
            "stream" if value != "All" => parsed.stream = Some(value),
            _ => {}
        }
    }
    // There is nothing to wait for at the end of a log that is over.
    parsed.follow &= !previous;
    Ok((parsed, previous))
}

fn truth(value: &str) -> bool {
    matches!(value, "" | "1" | "true" | "True" | "t")
}
