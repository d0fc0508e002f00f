//! Records sent to somebody else over HTTP, as `EventList`.
//!
//! Upstream gives a batch up after five tries. Here a batch that nobody waits for is tried until it is taken or the
//! server ends, so that a webhook that is away loses nothing that fits into the buffer before it; what it has not
//! taken at the end is kept on disk for the next start ([`crate::spill`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::event::{Event, list};
use crate::meter;
use crate::spill::Spill;

pub const NAME: &str = "webhook";
/// Tries of a batch that a request waits for, as upstream.
const TRIES: u32 = 5;
/// A pause is so many times the one before, as upstream.
const FACTOR: f64 = 1.5;
/// No pause is longer: upstream's longest is the fourth, 34 s.
const MAX_PAUSE: Duration = Duration::from_secs(34);
/// Between tries while the server ends.
const ENDING_PAUSE: Duration = Duration::from_millis(500);
/// Records in one body when those of an earlier run are sent.
const SPILLED_BATCH: usize = 400;

/// Sends one body; the implementation bounds its time.
#[async_trait]
pub trait Post: Send + Sync {
    async fn post(&self, body: &str) -> Result<(), String>;
}

/// How often a body is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    /// Somebody waits.
    AsUpstream,
    /// Until it is taken.
    UntilTheEnd,
}

pub struct Webhook {
    post: Arc<dyn Post>,
    initial_pause: Duration,
    tries: Tries,
    spill: Option<Spill>,
    /// Until when the last tries may take, once the server ends.
    end: watch::Sender<Option<Instant>>,
}

impl Webhook {
    pub fn new(post: Arc<dyn Post>, initial_pause: Duration, tries: Tries, spill: Option<Spill>) -> Self {
        Self { post, initial_pause, tries, spill, end: watch::Sender::new(None) }
    }

    /// Sends what an earlier run could not. Ends when that is done, or with the server.
    pub async fn send_spilled(&self) {
        let Some(spill) = &self.spill else { return };
        loop {
            let lines = match spill.first(SPILLED_BATCH) {
                Ok(lines) if lines.is_empty() => return,
                Ok(lines) => lines,
                Err(error) => return tracing::error!(%error, "cannot read the audit events of an earlier run"),
            };
            let body = list(lines.iter().map(String::as_str));
            if let Err(why) = self.send(&body).await {
                return tracing::warn!(why, "the audit events of an earlier run stay for the next");
            }
            if let Err(error) = spill.drop_first(lines.len()) {
                return tracing::error!(%error, "audit events of an earlier run may be sent twice");
            }
        }
    }

    async fn send(&self, body: &str) -> Result<(), String> {
        let mut pause = self.initial_pause;
        for tried in 1.. {
            let Err(why) = self.try_once(body).await else { return Ok(()) };
            let given_up = self.tries == Tries::AsUpstream && tried >= TRIES;
            if given_up || self.is_over() {
                return Err(why);
            }
            tracing::warn!(why, tried, "the audit webhook did not take a batch");
            self.wait(pause).await;
            pause = pause.mul_f64(FACTOR).min(MAX_PAUSE.max(self.initial_pause));
        }
        Err("no try was left".to_owned())
    }

    async fn try_once(&self, body: &str) -> Result<(), String> {
        let mut end = self.end.subscribe();
        let over = async {
            loop {
                let until = *end.borrow_and_update();
                match until {
                    Some(until) => return tokio::time::sleep_until(until).await,
                    // The sender lives as long as this.
                    None => drop(end.changed().await),
                }
            }
        };
        tokio::select! {
            done = self.post.post(body) => done,
            () = over => Err("the server ends".to_owned()),
        }
    }

    fn is_over(&self) -> bool {
        self.end.borrow().is_some_and(|until| Instant::now() >= until)
    }

    /// Cut short when the server ends, and short while it does.
    async fn wait(&self, pause: Duration) {
        let mut end = self.end.subscribe();
        if end.borrow_and_update().is_some() {
            return tokio::time::sleep(pause.min(ENDING_PAUSE)).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            _ = end.changed() => (),
        }
    }

    /// On disk where there is a place, else lost.
    fn keep(&self, events: &[Arc<Event>], why: &str) -> bool {
        let spill = self.spill.as_ref().filter(|_| self.end.borrow().is_some());
        match spill.map(|spill| spill.append(events)) {
            Some(Ok(())) => {
                tracing::warn!(count = events.len(), "audit events wait on disk for the next start");
                true
            }
            Some(Err(error)) => {
                meter::lost(NAME, &format!("{why}; and they cannot be kept: {error}"), events);
                false
            }
            None => {
                meter::lost(NAME, why, events);
                false
            }
        }
    }
}

#[async_trait]
impl Backend for Webhook {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn process(&self, events: &[Arc<Event>]) -> bool {
        let lines: serde_json::Result<Vec<String>> = events.iter().map(|event| event.to_json()).collect();
        let sent = match lines {
            Ok(lines) => self.send(&list(lines.iter().map(String::as_str))).await,
            Err(error) => Err(error.to_string()),
        };
        match sent {
            Ok(()) => true,
            Err(why) => self.keep(events, &why),
        }
    }

    /// Only says when it ends: whoever has records waits for them.
    async fn shutdown(&self, patience: Duration) {
        self.end.send_replace(Some(Instant::now() + patience));
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::buffered::{BatchConfig, Buffered};
    use crate::event::Level;

    /// Is away for so many tries, and counts what it takes.
    struct Fake {
        away: Mutex<u32>,
        taken: Mutex<Vec<String>>,
        at: Mutex<Vec<Duration>>,
        began: Instant,
    }

    impl Fake {
        fn new(away: u32) -> Arc<Self> {
            let (taken, at) = (Mutex::default(), Mutex::default());
            Arc::new(Self { away: Mutex::new(away), taken, at, began: Instant::now() })
        }
        /// Audit ids in the order in which they were taken.
        fn ids(&self) -> Vec<String> {
            let items = |body: &String| {
                let list: serde_json::Value = serde_json::from_str(body).expect("is JSON");
                assert_eq!((&list["kind"], &list["apiVersion"]), (&"EventList".into(), &"audit.k8s.io/v1".into()));
                let items = list["items"].as_array().expect("a list").clone();
                items.iter().map(|item| item["auditID"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
            };
            self.taken.lock().iter().flat_map(items).collect()
        }
    }

    #[async_trait]
    impl Post for Fake {
        async fn post(&self, body: &str) -> Result<(), String> {
            self.at.lock().push(self.began.elapsed());
            let mut away = self.away.lock();
            if *away > 0 {
                *away -= 1;
                return Err("connection refused".to_owned());
            }
            self.taken.lock().push(body.to_owned());
            Ok(())
        }
    }

    fn events(ids: std::ops::Range<usize>) -> Vec<Arc<Event>> {
        let time = "2026-01-02T03:04:05Z".parse().expect("a time");
        ids.map(|at| Arc::new(Event::new(Level::Metadata, at.to_string(), time))).collect()
    }

    const PAUSE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_five_tries() {
        let fake = Fake::new(4);
        let webhook = Webhook::new(fake.clone(), PAUSE, Tries::AsUpstream, None);
        assert!(webhook.process(&events(0..1)).await);
        let at: Vec<u64> = fake.at.lock().iter().map(Duration::as_secs).collect();
        assert_eq!(at, [0, 10, 25, 47, 81]);
        *fake.away.lock() = 5;
        assert!(!webhook.process(&events(1..2)).await);
        assert_eq!(fake.ids(), ["0"]);
    }

    fn batch() -> BatchConfig {
        BatchConfig { buffer: 1000, max_batch: 10, max_wait: Duration::from_secs(1), throttle: None, beside: true }
    }

    #[tokio::test(start_paused = true)]
    async fn a_webhook_that_is_away_for_long_loses_nothing() {
        let fake = Fake::new(300);
        let webhook = Arc::new(Webhook::new(fake.clone(), PAUSE, Tries::UntilTheEnd, None));
        let buffered = Buffered::start(webhook, batch());
        for at in 0..500 {
            buffered.process(&events(at..at + 1)).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        let mut ids: Vec<usize> = fake.ids().iter().map(|id| id.parse().expect("a number")).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..500).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_at_the_end_is_sent_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit-webhook.pending");
        let fake = Fake::new(u32::MAX);
        let spill = || Some(Spill::new(path.clone()));
        let webhook = Arc::new(Webhook::new(fake.clone(), PAUSE, Tries::UntilTheEnd, spill()));
        let buffered = Buffered::start(webhook, batch());
        buffered.process(&events(0..45)).await;
        let began = Instant::now();
        buffered.shutdown(Duration::from_secs(5)).await;
        assert!(began.elapsed() <= Duration::from_secs(6), "{:?}", began.elapsed());
        assert_eq!(fake.ids(), [""; 0]);
        *fake.away.lock() = 1;
        let webhook = Webhook::new(fake.clone(), PAUSE, Tries::UntilTheEnd, spill());
        webhook.send_spilled().await;
        let mut ids: Vec<usize> = fake.ids().iter().map(|id| id.parse().expect("a number")).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..45).collect::<Vec<_>>());
        assert!(!path.exists(), "nothing is left");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_back_while_the_server_ends_gets_the_rest() {
        let fake = Fake::new(3);
        let webhook = Arc::new(Webhook::new(fake.clone(), PAUSE, Tries::UntilTheEnd, None));
        let buffered = Buffered::start(webhook, batch());
        buffered.process(&events(0..25)).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        buffered.shutdown(Duration::from_secs(5)).await;
        assert_eq!(fake.ids().len(), 25);
    }
}
