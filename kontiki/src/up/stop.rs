//! The signals that end `up`: the first one in order, the second one at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::say::say;
use crate::Failure;

#[derive(Clone)]
pub(crate) struct Stop {
    /// Agents end their pods, replicas hand over.
    pub(crate) in_order: CancellationToken,
    /// Whoever asks twice does not want to wait.
    pub(crate) at_once: CancellationToken,
}

impl Stop {
    /// Listens to SIGINT, SIGTERM and SIGHUP from now on.
    pub(crate) fn on_signals() -> Result<Self, Failure> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals = kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>()?;
        let this = Self { in_order: CancellationToken::new(), at_once: CancellationToken::new() };
        tokio::spawn(this.clone().listen(signals));
        Ok(this)
    }

    async fn listen(self, mut signals: Vec<Signal>) {
        any(&mut signals).await;
        self.in_order.cancel();
        any(&mut signals).await;
        say("asked again: everything is killed");
        self.at_once.cancel();
    }
}

async fn any(signals: &mut [Signal]) {
    futures::future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
}
