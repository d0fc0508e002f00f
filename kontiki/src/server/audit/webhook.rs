//! The webhook of audit, as its kubeconfig describes it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_audit::webhook::Post;
use api_auth::config::kubeconfig::{self, Target};
use api_auth::outbound::Outbound;
use async_trait::async_trait;

use crate::Failure;

/// Of one request, its answer included, as upstream.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What is read of an answer (bytes): it has nothing to say.
const MAX_ANSWER_BYTES: usize = 1 << 20;

struct Client {
    target: Target,
    outbound: Outbound,
}

/// Reads a kubeconfig. What it names must be there and good: a server does not start with a webhook it cannot call.
pub(super) fn read(path: &Path) -> Result<Arc<dyn Post>, Failure> {
    let target = kubeconfig::load(path)?;
    let outbound = Outbound::new(&target.trust, TIMEOUT, MAX_ANSWER_BYTES)?;
    Ok(Arc::new(Client { target, outbound }))
}

#[async_trait]
impl Post for Client {
    async fn post(&self, body: &str) -> Result<(), String> {
        let Target { url, bearer, .. } = &self.target;
        let posted = self.outbound.post_text(url, bearer.as_deref(), body.to_owned()).await;
        posted.map(drop).map_err(|error| error.to_string())
    }
}
