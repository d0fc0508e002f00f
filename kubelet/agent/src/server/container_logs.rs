//! `GET /containerLogs/NAMESPACE/POD/CONTAINER`

use std::sync::Arc;

use futures::StreamExt as _;
use http::{Response, StatusCode, header};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ContainerStateWaiting, PodStatus};
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
    let chosen = match choose(&view.status, name, container, previous) {
        Ok(chosen) => chosen,
        Err(message) => return text(StatusCode::BAD_REQUEST, &message),
    };
    let id = chosen.id.split_once("://").map_or(chosen.id.as_str(), |(_, id)| id).to_owned();
    let known = view.containers.iter().find(|(_, other, ..)| *other == id).map(|(_, _, attempt, _)| *attempt);
    let path = paths::log_dir(node, &view.pod).join(paths::container_log(container, known.unwrap_or(chosen.attempt)));
    // A log outlives what the runtime knows of its container, but not for ever.
    if known.is_none() && !path.exists() {
        return text(StatusCode::BAD_REQUEST, &format!("unable to retrieve container logs for {}", chosen.id));
    }
    let (sink, chunks) = mpsc::channel(AHEAD);
    let ended = ended(node.clone(), view.clone(), id);
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

/// The incarnation of a container whose log is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    /// `containerd://...`
    id: String,
    /// The restart count it was made with.
    attempt: u32,
}

/// By the pod's status, as everybody sees it. `Err`: why there is no log.
fn choose(status: &PodStatus, pod: &str, container: &str, previous: bool) -> Result<Chosen, String> {
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let found = lists.into_iter().flatten().flatten().find(|s| s.name == container);
    let found = found.ok_or_else(|| format!("container {container:?} in pod {pod:?} is not available"))?;
    let state = found.state.clone().unwrap_or_default();
    let count = u32::try_from(found.restart_count).unwrap_or(0);
    let chosen =
        |id: &Option<String>, attempt: u32| id.clone().filter(|id| !id.is_empty()).map(|id| Chosen { id, attempt });
    // While the next incarnation is held up the count is still that of the one that ended.
    let last_count = if state.waiting.is_some() { count } else { count.saturating_sub(1) };
    let last = found.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    let last = last.and_then(|ended| chosen(&ended.container_id, last_count));
    if previous {
        let message = || format!("previous terminated container {container:?} in pod {pod:?} not found");
        return last.ok_or_else(message);
    }
    let present = match (&state.running, &state.terminated) {
        (Some(_), _) => chosen(&found.container_id, count),
        (None, Some(ended)) => chosen(&ended.container_id, count),
        (None, None) => None,
    };
    present.or(last).ok_or_else(|| match &state.waiting {
        Some(waiting) => format!("container {container:?} in pod {pod:?} is waiting to start: {}", shown(waiting)),
        None => format!("container {container:?} in pod {pod:?} is terminated"),
    })
}

fn shown(waiting: &ContainerStateWaiting) -> &str {
    match waiting.reason.as_deref() {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        reason => reason.unwrap_or(""),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_status_says_which_log_it_is() {
        let running = json!({"running": {}});
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        let ended = |id: &str| json!({"terminated": {"exitCode": 1, "containerID": id}});
        let ask = |state: &Value, last: Value, previous: bool| {
            let one = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                "containerID": "r://now", "state": state, "lastState": last});
            let status: PodStatus = serde_json::from_value(json!({"containerStatuses": [one]})).expect("a status");
            choose(&status, "p", "c", previous).map(|chosen| format!("{} {}", chosen.id, chosen.attempt))
        };
        let cases = [
            (&running, json!({}), false, Ok("r://now 3")),
            (&running, ended("r://before"), true, Ok("r://before 2")),
            (&running, json!({}), true, Err("previous terminated container \"c\" in pod \"p\" not found")),
            // Held up: the newest that ended is both the last and the one to show.
            (&waiting("CrashLoopBackOff"), ended("r://last"), true, Ok("r://last 3")),
            (&waiting("CrashLoopBackOff"), ended("r://last"), false, Ok("r://last 3")),
            (&ended("r://now"), ended("r://before"), true, Ok("r://before 2")),
            (&ended("r://now"), json!({}), false, Ok("r://now 3")),
            (
                &waiting("PodInitializing"),
                json!({}),
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: PodInitializing"),
            ),
            (
                &waiting("ErrImagePull"),
                json!({}),
                false,
                Err("container \"c\" in pod \"p\" is waiting to start: image can't be pulled"),
            ),
            (&ended(""), json!({}), false, Err("container \"c\" in pod \"p\" is terminated")),
        ];
        for (state, last, previous, expected) in cases {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(ask(state, last.clone(), previous), expected, "{state} {last} {previous}");
        }
    }
}
