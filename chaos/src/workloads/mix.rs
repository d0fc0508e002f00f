//! What Kubernetes does to its store, with the weights of etcd's robustness tests: few objects, most writes
//! replace a version, most reads are lists.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;

use super::session::Session;
use super::stage::Stage;
use crate::history::{Age, Op, Version};

pub const WORKLOAD: &str = "mix";
/// Names; about ten of them are taken at a time.
const NAMES: usize = 12;
const PINNED: usize = 6;
const ROAMING: usize = 2;
const PACE: Duration = Duration::from_millis(160);

pub async fn run(stage: Stage) -> Vec<Op> {
    let clients = (0..PINNED + ROAMING).map(|number| client(Session::new(&stage, WORKLOAD, number, number < PINNED)));
    futures::future::join_all(clients).await.concat()
}

/// What a client remembers of its last list.
#[derive(Default)]
struct Memory {
    revision: u64,
    objects: BTreeMap<String, Version>,
}

async fn client(mut session: Session) -> Vec<Op> {
    let mut dice = session.stage.dice(session.process());
    let mut memory = Memory::default();
    while session.stage.pause(PACE, &mut dice).await {
        read(&mut session, &mut memory, &mut dice).await;
        write(&mut session, &mut memory, &mut dice).await;
    }
    session.ops
}

async fn read(session: &mut Session, memory: &mut Memory, dice: &mut StdRng) {
    let age = match dice.random_range(0..100) {
        0..80 => Age::Latest,
        80..88 if memory.revision > 0 => Age::Exact(memory.revision),
        88..93 => Age::Any,
        93..95 if memory.revision > 0 => Age::NotOlderThan(memory.revision),
        _ => {
            let name = name(session, dice);
            return drop(session.get(&name).await);
        }
    };
    let Some((revision, objects)) = session.list(age).await else { return };
    if age == Age::Latest {
        *memory = Memory { revision, objects };
    }
}

fn name(session: &Session, dice: &mut StdRng) -> String {
    format!("{}-mix-{}", session.stage.round, dice.random_range(0..NAMES))
}

async fn write(session: &mut Session, memory: &mut Memory, dice: &mut StdRng) {
    let what = dice.random_range(0..100);
    let few = memory.objects.len() < NAMES * 2 / 3;
    if what < 5 || few {
        let (name, value) = (name(session, dice), session.value());
        session.create(&name, value).await;
        return;
    }
    // Not always what is there now: a version that was replaced must be refused.
    let Some((name, on)) = memory.objects.iter().choose(dice) else { return };
    let (name, on) = (name.clone(), on.clone());
    match what {
        5..10 => drop(session.delete(&name, on).await),
        _ => {
            let value = session.value();
            session.update(&name, value, on).await;
        }
    }
}
