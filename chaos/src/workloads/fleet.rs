//! Watchers of every kind on the other workloads' objects.

use std::time::Duration;

use rand::Rng;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use super::stage::Stage;
use super::watch::{Follower, Manner, connect, follow};
use super::{mix, replay};
use crate::history::{Age, Call, Connection, Event, Kind, Message, Op, Outcome, Selector, Start, Version, WatchLog};

/// Connections of those that stay.
const LONG: Manner = Manner { timeout: Duration::from_secs(20), asleep: Duration::ZERO };
/// Of those that hop: every few seconds to the next replica, with a bookmark before.
const SHORT: Manner = Manner { timeout: Duration::from_secs(4), asleep: Duration::ZERO };
/// Of the one that does not read for a while.
const LAZY: Manner = Manner { timeout: Duration::from_secs(14), asleep: Duration::from_secs(8) };
/// Of those that only look for a moment.
const GLANCE: Duration = Duration::from_millis(700);
const PACE: Duration = Duration::from_millis(400);
/// They begin this many revisions before or after the newest.
const AROUND: i64 = 100;

fn followers(replicas: usize) -> Vec<Follower> {
    let one = |name: String, first, hops, selector, manner| Follower { name, first, hops, selector, manner };
    let mix = || Selector::Workload(mix::WORKLOAD.to_owned());
    let colour = |colour: &str| Selector::Colour(colour.to_owned());
    let mut followers: Vec<Follower> =
        (0..replicas).map(|at| one(format!("pinned{at}"), at, false, Selector::Round, LONG)).collect();
    followers.extend([
        one("roaming0".into(), 0, true, Selector::Round, SHORT),
        one("roaming1".into(), 1, true, mix(), SHORT),
        one("red".into(), 2, true, colour("red"), SHORT),
        one("blue".into(), 0, false, colour("blue"), LONG),
        one("lazy".into(), 1, false, Selector::Round, LAZY),
    ]);
    followers
}

/// Runs until the round ends, and the followers until they have seen everything. What `initial` watchers were
/// shown at the start comes as lists.
pub async fn run(stage: Stage, from: u64, target: Receiver<Option<u64>>) -> (Vec<WatchLog>, Vec<Op>) {
    let mut following = JoinSet::new();
    for follower in followers(stage.clients.len()) {
        following.spawn(follow(stage.clone(), follower, from, target.clone()));
    }
    let (glances, (initial, ops)) = tokio::join!(glance(&stage, from), initial(&stage));
    let mut logs = vec![glances, initial];
    while let Some(log) = following.join_next().await {
        logs.push(log.expect("a watcher does not panic"));
    }
    (logs, ops)
}

/// Short watches that begin a little before or after the newest revision, each through any replica.
async fn glance(stage: &Stage, from: u64) -> WatchLog {
    let mut dice = stage.dice("glance");
    let mut log = apart("glance", Selector::Round);
    while stage.pause(PACE, &mut dice).await {
        let Ok(head) = replay::head(&stage.clients).await else { continue };
        let start = head.saturating_add_signed(dice.random_range(-AROUND..AROUND)).max(from);
        let through = &stage.clients[dice.random_range(0..stage.clients.len())];
        let manner = Manner { timeout: Duration::from_secs(60), asleep: Duration::ZERO };
        let stop = stage.stop.child_token();
        let watching = connect(stage, through, &log.selector, Start::After(start), manner, None, &stop);
        let (connection, ()) = tokio::join!(watching, async {
            tokio::time::sleep(GLANCE).await;
            stop.cancel();
        });
        log.connections.push(connection);
    }
    log
}

fn apart(name: &str, selector: Selector) -> WatchLog {
    WatchLog { watcher: name.to_owned(), selector, resumes: false, connections: Vec::new(), caught_up: true }
}

/// Watches that begin with the state, as informers do.
async fn initial(stage: &Stage) -> (WatchLog, Vec<Op>) {
    let mut dice = stage.dice("initial");
    let mut log = apart("initial", Selector::Workload(mix::WORKLOAD.to_owned()));
    let mut ops = Vec::new();
    let manner = Manner { timeout: Duration::from_secs(3), asleep: Duration::ZERO };
    while stage.pause(PACE, &mut dice).await {
        let through = &stage.clients[dice.random_range(0..stage.clients.len())];
        let connection = connect(stage, through, &log.selector, Start::Initial, manner, None, &stage.stop).await;
        ops.extend(as_list(&connection, stage.now()));
        log.connections.push(connection);
    }
    (log, ops)
}

/// The objects at the start are a linearizable list at the bookmark's revision.
fn as_list(connection: &Connection, returned: Duration) -> Option<Op> {
    let end = connection.messages.iter().position(|one| matches!(one, Message::Bookmark { initial_end: true, .. }))?;
    let Message::Bookmark { revision, .. } = connection.messages[end] else { return None };
    let object = |message: &Message| match message {
        Message::Event(Event { kind: Kind::Added, object }) => {
            Some((object.name.clone(), Version { revision: object.revision, value: object.value.clone() }))
        }
        _ => None,
    };
    let objects = connection.messages[..end].iter().filter_map(object).collect();
    Some(Op {
        process: "initial".to_owned(),
        replica: connection.replica,
        invoked: connection.opened,
        returned,
        call: Call::List { workload: mix::WORKLOAD.to_owned(), age: Age::Latest },
        outcome: Outcome::Listed { revision, objects },
    })
}
