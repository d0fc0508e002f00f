//! Lists that clients append to, each append on top of what was read.

use std::time::Duration;

use rand::Rng;

use super::session::Session;
use super::stage::Stage;
use crate::checkers::append::SEPARATOR;
use crate::history::{Op, Outcome};

pub const WORKLOAD: &str = "append";
const LISTS: usize = 3;
const CLIENTS: usize = 3;
const PACE: Duration = Duration::from_millis(150);
/// Tries of one append while others come first.
const TRIES: usize = 3;

pub async fn run(stage: Stage) -> Vec<Op> {
    let clients = (0..CLIENTS).map(|number| client(Session::new(&stage, WORKLOAD, number, number == 0)));
    futures::future::join_all(clients).await.concat()
}

async fn client(mut session: Session) -> Vec<Op> {
    let mut dice = session.stage.dice(session.process());
    while session.stage.pause(PACE, &mut dice).await {
        let name = format!("{}-list-{}", session.stage.round, dice.random_range(0..LISTS));
        let element = session.value();
        for _ in 0..TRIES {
            let Some(outcome) = append(&mut session, &name, &element).await else { break };
            // Only what surely had no effect may be tried again.
            if !matches!(outcome, Outcome::Refused { code: 409, .. }) {
                break;
            }
        }
    }
    session.ops
}

async fn append(session: &mut Session, name: &str, element: &str) -> Option<Outcome> {
    Some(match session.get(name).await? {
        None => session.create(name, element.to_owned()).await,
        Some(on) => {
            let longer = format!("{}{SEPARATOR}{element}", on.value);
            session.update(name, longer, on).await
        }
    })
}
