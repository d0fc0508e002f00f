//! Requests of `up` to its own cluster: to whichever replica answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::Failure;
use crate::client::{Answer, Client};

/// How long one replica may take to answer, before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Admin {
    clients: Vec<Client>,
    /// The one that answered last.
    preferred: AtomicUsize,
}

impl Admin {
    /// One client per replica, in their order.
    pub(super) fn new(client: Client, servers: &[String]) -> Self {
        let client = client.timeout(PATIENCE);
        let clients = servers.iter().map(|server| client.at(server)).collect();
        Self { clients, preferred: AtomicUsize::new(0) }
    }

    /// Of one replica, counted from 1.
    pub(super) async fn is_ready(&self, number: u16) -> Result<(), Failure> {
        let client = self.clients.get(usize::from(number) - 1).ok_or("there is no such replica")?;
        client.get("/readyz").await?.ok().map(drop)
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.any(async |client| client.get(path).await).await?.ok()
    }

    /// Whether it is new. What was there already is left as it is.
    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<bool, Failure> {
        let answer = self.any(async |client| client.post(path, object).await).await?;
        if answer.status == 409 { Ok(false) } else { answer.ok().map(|_| true) }
    }

    /// The first answer that is not a server's excuse; otherwise the last failure.
    async fn any(&self, call: impl AsyncFn(&Client) -> Result<Answer, Failure>) -> Result<Answer, Failure> {
        let (count, first) = (self.clients.len(), self.preferred.load(Ordering::Relaxed));
        let mut failure = Failure::from("there are no replicas");
        for index in (0..count).map(|step| (first + step) % count) {
            match call(&self.clients[index]).await {
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(answer) => failure = answer.ok().err().unwrap_or(failure),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}
