//! Audit: which requests are recorded, how much of them, and where the records go.
//!
//! [`policy`] decides from the attributes of a request, [`event`] is a record as `audit.k8s.io/v1` has it, and
//! [`record`] fills one in while its request is answered; these three are pure. [`Auditor`] hands records to
//! backends: a file ([`log`]), a webhook ([`webhook`]), each perhaps behind a buffer ([`buffered`]) and with a bound
//! on sizes ([`truncate`]). Without a policy there is no [`Auditor`], and a request costs nothing.

pub mod backend;
pub mod buffered;
pub mod event;
pub mod legacy;
pub mod log;
pub mod meter;
pub mod options;
pub mod policy;
mod policy_file;
pub mod record;
pub mod source;
pub mod spill;
pub mod throttle;
pub mod truncate;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use backend::Backend;
use event::Event;
use jiff::Timestamp;
use policy::Policy;

/// Where the time comes from: the shell's.
pub type Now = fn() -> Timestamp;

/// The policy of a server, and where its records go.
pub struct Auditor {
    pub policy: Policy,
    /// In order; each gets every record.
    pub backends: Vec<Arc<dyn Backend>>,
    pub now: Now,
}

impl Auditor {
    /// Hands a record to every backend and waits as long as their modes say. `false`: a backend in
    /// `blocking-strict` mode could not keep it.
    pub async fn process(&self, event: Arc<Event>) -> bool {
        let events = [event];
        let mut kept = true;
        for backend in &self.backends {
            kept = backend.process(&events).await && kept;
        }
        kept
    }

    /// Hands over everything that is buffered, for at most `patience`. What a webhook still has not taken then is
    /// kept on disk, where it was given a place, for the next start.
    pub async fn shutdown(&self, patience: Duration) {
        let all = self.backends.iter().map(|backend| backend.shutdown(patience));
        futures::future::join_all(all).await;
    }
}
