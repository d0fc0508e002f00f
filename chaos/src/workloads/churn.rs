//! Objects that come and go, and lists of them in pages meanwhile.

use std::time::Duration;

use rand::Rng;
use rand::seq::IteratorRandom;

use super::session::Session;
use super::stage::Stage;
use crate::history::{Age, Op};

pub const WORKLOAD: &str = "churn";
const CLIENTS: usize = 2;
const PACE: Duration = Duration::from_millis(120);
/// Of all changes, in percent; the rest are deletions, so that there is always something to list.
const CREATIONS: u32 = 60;
/// One list in pages after so many changes, and objects of a page.
const LIST_EVERY: u32 = 8;
const PAGE: u32 = 3;
/// More than this are not added to.
const MOST: usize = 24;

pub async fn run(stage: Stage) -> Vec<Op> {
    let clients = (0..CLIENTS).map(|number| client(Session::new(&stage, WORKLOAD, number, false)));
    futures::future::join_all(clients).await.concat()
}

async fn client(mut session: Session) -> Vec<Op> {
    let mut dice = session.stage.dice(session.process());
    while session.stage.pause(PACE, &mut dice).await {
        if dice.random_ratio(1, LIST_EVERY) {
            session.list_in_pages(PAGE).await;
            continue;
        }
        let objects = session.list(Age::Latest).await.map(|(_, objects)| objects).unwrap_or_default();
        let gone = dice.random_range(0..100) >= CREATIONS || objects.len() >= MOST;
        match objects.into_iter().choose(&mut dice).filter(|_| gone) {
            Some((name, on)) => drop(session.delete(&name, on).await),
            None => {
                let value = session.value();
                session.create(&format!("{}-{value}", session.stage.round.clone()), value).await;
            }
        }
    }
    session.ops
}
