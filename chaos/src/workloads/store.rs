//! What workloads on etcd's interface have in common: one watch of a prefix, and calls that end in time.

use std::ops::ControlFlow;

use etcd_client::{Client, Error, EventType, WatchOptions};
use tokio::time::timeout;

use super::session::PATIENCE;
use crate::Failure;
use crate::history::{Ending, Keyed};

/// Codes of gRPC.
pub(super) const NOT_FOUND: i32 = 5;
pub(super) const FAILED_PRECONDITION: i32 = 9;
pub(super) const OUT_OF_RANGE: i32 = 11;

pub(super) fn code(error: &Error) -> Option<i32> {
    match error {
        Error::GRpcStatus(status) => Some(status.code() as i32),
        _ => None,
    }
}

/// What the server calls a revision that is forgotten. A revision that is not there yet has the same code.
pub(super) fn is_compacted(error: &Error) -> bool {
    code(error) == Some(OUT_OF_RANGE) && error.to_string().contains("has been compacted")
}

/// An answer in time, or why there is none.
pub(super) async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Option<Error>> {
    match timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Some(error)),
        Err(_) => Err(None),
    }
}

pub(super) fn why(error: Option<Error>) -> String {
    error.map_or_else(|| format!("no answer in {} s", PATIENCE.as_secs()), |error| error.to_string())
}

pub(super) fn keyed(event: &etcd_client::Event) -> Option<Keyed> {
    let kv = event.kv()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let put = event.event_type() == EventType::Put;
    Some(Keyed {
        revision: u64::try_from(kv.mod_revision()).ok()?,
        key: text(kv.key()),
        value: put.then(|| text(kv.value())),
        lease: kv.lease(),
    })
}

/// Everything of a prefix from a revision on, message by message, until `take` has enough.
pub(super) async fn listen(
    client: &Client,
    prefix: &str,
    start: u64,
    take: &mut (dyn FnMut(Vec<Keyed>) -> ControlFlow<Ending> + Send),
) -> Ending {
    match told(client, prefix, start, take).await {
        Ok(ending) => ending,
        Err(error) => Ending::Broken(error.to_string()),
    }
}

async fn told(
    client: &Client,
    prefix: &str,
    start: u64,
    take: &mut (dyn FnMut(Vec<Keyed>) -> ControlFlow<Ending> + Send),
) -> Result<Ending, Failure> {
    let options = WatchOptions::new().with_prefix().with_start_revision(i64::try_from(start)?);
    let mut stream = timeout(PATIENCE, client.watch_client().watch(prefix, Some(options))).await??;
    loop {
        let message = stream.message().await?.ok_or("the stream ended")?;
        if message.canceled() && message.compact_revision() > 0 {
            return Ok(Ending::Compacted(u64::try_from(message.compact_revision())?));
        }
        if message.canceled() {
            return Err(message.cancel_reason().into());
        }
        let events: Vec<Keyed> = message.events().iter().filter_map(keyed).collect();
        if !events.is_empty()
            && let ControlFlow::Break(ending) = take(events)
        {
            return Ok(ending);
        }
    }
}
