//! Compare-and-swap registers: a few objects that many clients read and replace, version by version.

use std::time::Duration;

use rand::Rng;

use super::session::Session;
use super::stage::Stage;
use crate::history::Op;

pub const WORKLOAD: &str = "register";
const REGISTERS: usize = 3;
const CLIENTS: usize = 6;
const PACE: Duration = Duration::from_millis(110);

pub async fn run(stage: Stage) -> Vec<Op> {
    let clients = (0..CLIENTS).map(|number| client(Session::new(&stage, WORKLOAD, number, number < CLIENTS / 2)));
    futures::future::join_all(clients).await.concat()
}

async fn client(mut session: Session) -> Vec<Op> {
    let mut dice = session.stage.dice(session.process());
    while session.stage.pause(PACE, &mut dice).await {
        let name = format!("{}-reg-{}", session.stage.round, dice.random_range(0..REGISTERS));
        let Some(found) = session.get(&name).await else { continue };
        if dice.random_bool(0.3) {
            continue;
        }
        let value = session.value();
        match found {
            None => session.create(&name, value).await,
            Some(on) => session.update(&name, value, on).await,
        };
    }
    session.ops
}
