//! What records are handed to.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::event::Event;

/// A place for records. Each implementation says in its `name` what upstream calls it in metrics.
#[async_trait]
pub trait Backend: Send + Sync {
    fn name(&self) -> &'static str;

    /// `false`: they are not kept, and were counted as lost.
    async fn process(&self, events: &[Arc<Event>]) -> bool;

    /// Nothing comes after this. Returns when everything is handed over, or when `patience` is over.
    async fn shutdown(&self, _patience: Duration) {}
}

/// Mode `blocking`: the request waits, and goes on whatever became of the record.
pub struct IgnoreErrors(pub Arc<dyn Backend>);

#[async_trait]
impl Backend for IgnoreErrors {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    async fn process(&self, events: &[Arc<Event>]) -> bool {
        self.0.process(events).await;
        true
    }
    async fn shutdown(&self, patience: Duration) {
        self.0.shutdown(patience).await;
    }
}
