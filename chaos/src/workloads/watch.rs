//! One watch connection, written down line by line, and a watcher that resumes.

use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use tokio_util::sync::CancellationToken;

use super::NAMESPACE;
use super::stage::{Stage, Through, seen};
use crate::history::{Connection, End, Event, Kind, Message, Selector, Start, WatchLog};

/// Before connecting again.
const PAUSE: Duration = Duration::from_millis(50);
/// A connection that is not answered by then is given up.
const OPEN_PATIENCE: Duration = Duration::from_secs(3);
/// Marks the bookmark behind the state at the start.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// How a connection is read.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The server ends it after this; two seconds before, it sends a bookmark.
    pub timeout: Duration,
    /// Reads nothing for this long at the beginning.
    pub asleep: Duration,
}

/// Reads until `stop`, or until revision `until` was delivered.
pub async fn connect(
    stage: &Stage,
    through: &Through,
    selector: &Selector,
    start: Start,
    manner: Manner,
    until: Option<u64>,
    stop: &CancellationToken,
) -> Connection {
    let opened = stage.now();
    let (messages, end) = (Vec::new(), End::Cancelled);
    let mut connection = Connection { replica: through.0, start, opened, closed: opened, messages, end };
    let reading = read(&through.1, stage.labels(selector), start, manner, until, &mut connection.messages);
    if let Some(end) = stop.run_until_cancelled(reading).await {
        connection.end = end;
    }
    connection.closed = stage.now();
    connection
}

fn parameters(labels: String, start: Start, timeout: Duration) -> (WatchParams, String) {
    let seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX).max(1);
    let parameters = WatchParams::default().labels(&labels).timeout(seconds);
    match start {
        Start::After(revision) => (parameters, revision.to_string()),
        Start::Initial => (parameters.initial_events(), String::new()),
    }
}

async fn read(
    client: &kube::Client,
    labels: String,
    start: Start,
    manner: Manner,
    until: Option<u64>,
    messages: &mut Vec<Message>,
) -> End {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let (parameters, from) = parameters(labels, start, manner.timeout);
    let stream = match tokio::time::timeout(OPEN_PATIENCE, api.watch(&parameters, &from)).await {
        Err(_) => return End::Broken("not answered".to_owned()),
        Ok(Err(kube::Error::Api(status))) => return End::Error { code: status.code, why: status.message.clone() },
        Ok(Err(error)) => return End::Broken(error.to_string()),
        Ok(Ok(stream)) => stream,
    };
    tokio::time::sleep(manner.asleep).await;
    let mut stream = std::pin::pin!(stream);
    loop {
        let message = match stream.try_next().await {
            Ok(None) => return End::Closed,
            Err(error) => return End::Broken(error.to_string()),
            Ok(Some(WatchEvent::Error(status))) => {
                return End::Error { code: status.code, why: status.message.clone() };
            }
            Ok(Some(event)) => understood(event),
        };
        let Some(message) = message else { return End::Error { code: 0, why: "no object".to_owned() } };
        let at = revision(&message);
        messages.push(message);
        if until.is_some_and(|until| at >= until) {
            return End::Cancelled;
        }
    }
}

fn understood(event: WatchEvent<ConfigMap>) -> Option<Message> {
    let (kind, object) = match event {
        WatchEvent::Added(object) => (Kind::Added, object),
        WatchEvent::Modified(object) => (Kind::Modified, object),
        WatchEvent::Deleted(object) => (Kind::Deleted, object),
        WatchEvent::Bookmark(bookmark) => {
            let initial_end = bookmark.metadata.annotations.get(INITIAL_END).is_some_and(|value| value == "true");
            return Some(Message::Bookmark { revision: bookmark.metadata.resource_version.parse().ok()?, initial_end });
        }
        WatchEvent::Error(_) => return None,
    };
    Some(Message::Event(Event { kind, object: seen(object)? }))
}

fn revision(message: &Message) -> u64 {
    match message {
        Message::Event(event) => event.revision(),
        Message::Bookmark { revision, .. } => *revision,
    }
}

/// The last revision that a watcher may resume after.
pub fn position(connection: &Connection) -> Option<u64> {
    let start = match connection.start {
        Start::After(revision) => Some(revision),
        Start::Initial => None,
    };
    // Objects at the start come in any order: before their end there is nothing to resume after.
    let begun = connection.messages.iter().position(|one| matches!(one, Message::Bookmark { initial_end: true, .. }));
    let from = match connection.start {
        Start::After(_) => 0,
        Start::Initial => begun?,
    };
    connection.messages[from..].iter().map(revision).chain(start).max()
}

/// A watcher that goes on where it was after every end.
pub struct Follower {
    pub name: String,
    /// Index of the replica it begins at.
    pub first: usize,
    /// Every connection is through the next replica.
    pub hops: bool,
    pub selector: Selector,
    pub manner: Manner,
}

/// Where a watcher goes on. After 410 it begins anew at the newest revision: what it missed is another's to find.
async fn next_start(stage: &Stage, connection: &Connection, from: u64) -> u64 {
    if matches!(connection.end, End::Error { code: 410, .. })
        && let Ok(head) = super::replay::head(&stage.clients).await
    {
        return head.max(from);
    }
    from.max(position(connection).unwrap_or(0))
}

/// After the round a watcher gets this long to see the rest.
const CATCH_UP: Duration = Duration::from_secs(20);
/// Then its connections are short, so that bookmarks tell how far it is.
const HURRY: Manner = Manner { timeout: Duration::from_secs(3), asleep: Duration::ZERO };

/// Watches from after `from` until the round ends, and then on until the revision that `target` gets.
pub async fn follow(
    stage: Stage,
    follower: Follower,
    from: u64,
    mut target: tokio::sync::watch::Receiver<Option<u64>>,
) -> WatchLog {
    let Follower { name, first, hops, selector, manner } = follower;
    let mut log = WatchLog { watcher: name, selector, resumes: true, connections: Vec::new(), caught_up: false };
    let replicas = stage.clients.len();
    let (mut at, mut from, stop) = (first % replicas, from, stage.stop.clone());
    while !stop.is_cancelled() {
        let through = &stage.clients[at];
        let connection = connect(&stage, through, &log.selector, Start::After(from), manner, None, &stop).await;
        from = next_start(&stage, &connection, from).await;
        log.connections.push(connection);
        at = (at + usize::from(hops)) % replicas;
        stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }
    // The round ends without a target when something went wrong in it.
    let Ok(Some(target)) = target.wait_for(Option::is_some).await.map(|target| *target) else { return log };
    let never = CancellationToken::new();
    let deadline = tokio::time::Instant::now() + CATCH_UP;
    while from < target && tokio::time::Instant::now() < deadline {
        let (through, start) = (&stage.clients[at], Start::After(from));
        let connection = connect(&stage, through, &log.selector, start, HURRY, Some(target), &never).await;
        from = next_start(&stage, &connection, from).await;
        // A replica that was replaced does not come back, whoever stayed with it.
        let gone = connection.messages.is_empty() && matches!(connection.end, End::Broken(_));
        log.connections.push(connection);
        at = (at + usize::from(hops || gone)) % replicas;
        tokio::time::sleep(PAUSE).await;
    }
    log.caught_up = from >= target;
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::{event, ms};

    #[test]
    fn a_watcher_resumes_after_what_it_has_seen_in_order() {
        let at = |start, messages: &[Message]| {
            let messages = messages.to_vec();
            position(&Connection { replica: 1, start, opened: ms(0), closed: ms(9), messages, end: End::Closed })
        };
        let seen = |revision| Message::Event(event(Kind::Added, revision, "a", "a1"));
        let bookmark = |revision, initial_end| Message::Bookmark { revision, initial_end };
        assert_eq!(at(Start::After(5), &[]), Some(5));
        assert_eq!(at(Start::After(5), &[seen(7), bookmark(9, false)]), Some(9));
        assert_eq!(at(Start::Initial, &[seen(9), seen(3)]), None, "the objects at the start come in any order");
        assert_eq!(at(Start::Initial, &[seen(9), bookmark(9, true), seen(10)]), Some(10));
    }
}
