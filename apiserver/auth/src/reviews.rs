//! Reviews that are posted to somebody else, and come back answered.

use std::path::Path;
use std::time::{Duration, Instant};

use api_machinery::{Value, object};
use tokio::sync::Semaphore;

use crate::config::{ConfigError, kubeconfig};
use crate::outbound::{Outbound, OutboundError};

/// Tries, at most; the pause before the second, growing by a half.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of an answer.
const MAX_BYTES: usize = 1 << 20;
/// Reviews under way at once; more wait.
const AT_ONCE: usize = 64;

pub(crate) struct Reviews {
    client: Outbound,
    url: String,
    bearer: Option<String>,
    permits: Semaphore,
}

impl Reviews {
    /// `file`: a kubeconfig.
    pub(crate) fn load(file: &Path, try_timeout: Duration) -> Result<Self, ConfigError> {
        let target = kubeconfig::load(file)?;
        let client = Outbound::new(&target.trust, try_timeout, MAX_BYTES);
        let client = client.map_err(|error| ConfigError::Invalid(format!("{}: {error}", file.display())))?;
        Ok(Self { client, url: target.url, bearer: target.bearer, permits: Semaphore::new(AT_ONCE) })
    }

    /// The review with its status. `timeout`: of all tries together. `tried` is told what came of each, and how long
    /// it took.
    pub(crate) async fn post(
        &self,
        review: &Value,
        timeout: Duration,
        tried: impl Fn(&Result<Value, OutboundError>, Duration),
    ) -> Result<Value, OutboundError> {
        let late = || OutboundError::Timeout { url: self.url.clone(), seconds: timeout.as_secs() };
        let done = tokio::time::timeout(timeout, self.patiently(review, tried)).await;
        done.unwrap_or_else(|_| Err(late()))
    }

    async fn patiently(
        &self,
        review: &Value,
        tried: impl Fn(&Result<Value, OutboundError>, Duration),
    ) -> Result<Value, OutboundError> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.once(review, &tried).await {
                Err(error) if error.is_worth_a_retry() => {}
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause = pause * 3 / 2;
        }
        self.once(review, &tried).await
    }

    async fn once(
        &self,
        review: &Value,
        tried: impl Fn(&Result<Value, OutboundError>, Duration),
    ) -> Result<Value, OutboundError> {
        // Never closed.
        let _permit = self.permits.acquire().await;
        let started = Instant::now();
        let body = self.client.post(&self.url, self.bearer.as_deref(), review).await;
        let answer = body.and_then(|body| {
            let kind = object::str_at(review, "kind");
            read(&body, kind).ok_or_else(|| OutboundError::Config(format!("{} answered no {kind}", self.url)))
        });
        tried(&answer, started.elapsed());
        answer
    }
}

/// An answer of this kind that says something.
fn read(body: &[u8], kind: &str) -> Option<Value> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    (answer["kind"] == kind && answer["status"].is_object()).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_answer() {
        for (body, good) in [
            (r#"{"kind": "TokenReview", "status": {}}"#, true),
            (r#"{"kind": "SubjectAccessReview", "status": {}}"#, false),
            (r#"{"kind": "TokenReview"}"#, false),
            (r#"{"kind": "Status", "status": "Success"}"#, false),
            ("{}", false),
            ("[]", false),
            ("{", false),
        ] {
            assert_eq!(read(body.as_bytes(), "TokenReview").is_some(), good, "{body}");
        }
    }
}
