//! Mode `batch`: requests do not wait, records are handed on in batches.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::event::Event;
use crate::meter;
use crate::throttle::Throttle;

pub const NAME: &str = "buffered";
/// Batches on their way at once where the delegate is called beside the collecting. Upstream has no bound: while its
/// webhook hangs, tasks pile up.
const MAX_ON_THEIR_WAY: usize = 16;
/// What ending takes beyond the delegate's patience.
const MARGIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq)]
pub struct BatchConfig {
    /// Records that wait; more are lost, and counted.
    pub buffer: usize,
    pub max_batch: usize,
    /// The first of a batch waits no longer for others.
    pub max_wait: Duration,
    /// Batches a second, and at once.
    pub throttle: Option<(f64, f64)>,
    /// Whether the next batch may be handed on before the last is through.
    pub beside: bool,
}

pub struct Buffered {
    delegate: Arc<dyn Backend>,
    /// Taken when it ends.
    queue: Mutex<Option<mpsc::Sender<Arc<Event>>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Buffered {
    /// Must be called within a runtime.
    pub fn start(delegate: Arc<dyn Backend>, config: BatchConfig) -> Self {
        let (queue, waiting) = mpsc::channel(config.buffer);
        let worker = Worker { delegate: delegate.clone(), waiting, config };
        let worker = tokio::spawn(worker.run());
        Self { delegate, queue: Mutex::new(Some(queue)), worker: Mutex::new(Some(worker)) }
    }

    /// How many of them found no place, and why.
    fn enqueue(&self, events: &[Arc<Event>]) -> Result<(), (usize, &'static str)> {
        let queue = self.queue.lock();
        let Some(queue) = queue.as_ref() else { return Err((0, "audit backend shut down")) };
        for (at, event) in events.iter().enumerate() {
            queue.try_send(event.clone()).map_err(|_| (at, "audit buffer queue blocked"))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for Buffered {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Always `true`, as upstream: requests are not refused for a full buffer.
    async fn process(&self, events: &[Arc<Event>]) -> bool {
        if let Err((kept, why)) = self.enqueue(events) {
            meter::lost(NAME, why, &events[kept..]);
        }
        true
    }

    async fn shutdown(&self, patience: Duration) {
        drop(self.queue.lock().take());
        let Some(worker) = self.worker.lock().take() else { return };
        // It is told at once, so that it does not sit out a pause between two tries.
        let ended = futures::future::join(self.delegate.shutdown(patience), worker);
        if tokio::time::timeout(patience + MARGIN, ended).await.is_err() {
            tracing::error!("buffered audit events were not handed on in time");
        }
    }
}

struct Worker {
    delegate: Arc<dyn Backend>,
    waiting: mpsc::Receiver<Arc<Event>>,
    config: BatchConfig,
}

impl Worker {
    /// Until the queue is closed and empty, and every batch is through.
    async fn run(mut self) {
        let began = Instant::now();
        let mut throttle = self.config.throttle.map(|(rate, burst)| Throttle::new(rate, burst));
        let on_their_way = if self.config.beside { MAX_ON_THEIR_WAY } else { 1 };
        let places = Arc::new(Semaphore::new(on_their_way));
        while let Some(batch) = self.collect().await {
            if let Some(throttle) = throttle.as_mut().filter(|_| !self.waiting.is_closed()) {
                tokio::time::sleep(throttle.take(began.elapsed())).await;
            }
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let delegate = self.delegate.clone();
            tokio::spawn(async move {
                delegate.process(&batch).await;
                drop(place);
            });
        }
        // All places are free when nothing is on its way.
        drop(places.acquire_many(u32::try_from(on_their_way).unwrap_or(1)).await);
    }

    /// At least one; `None` at the end.
    async fn collect(&mut self) -> Option<Vec<Arc<Event>>> {
        let mut batch = vec![self.waiting.recv().await?];
        let until = Instant::now() + self.config.max_wait;
        while batch.len() < self.config.max_batch {
            let room = self.config.max_batch - batch.len();
            match tokio::time::timeout_at(until, self.waiting.recv_many(&mut batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;

    /// Remembers the sizes of batches; holds them up until it may go on.
    #[derive(Default)]
    struct Slow {
        batches: Mutex<Vec<usize>>,
        go: tokio::sync::Notify,
        held: bool,
    }

    #[async_trait]
    impl Backend for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }
        async fn process(&self, events: &[Arc<Event>]) -> bool {
            if self.held {
                self.go.notified().await;
            }
            self.batches.lock().push(events.len());
            true
        }
    }

    fn events(count: usize) -> Vec<Arc<Event>> {
        let time = "2026-01-02T03:04:05Z".parse().expect("a time");
        (0..count).map(|at| Arc::new(Event::new(Level::Metadata, at.to_string(), time))).collect()
    }

    fn config() -> BatchConfig {
        BatchConfig { buffer: 10, max_batch: 4, max_wait: Duration::from_secs(30), throttle: None, beside: false }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_when_it_is_full_or_old_enough() {
        let slow = Arc::new(Slow::default());
        let buffered = Buffered::start(slow.clone(), config());
        assert!(buffered.process(&events(9)).await);
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!(*slow.batches.lock(), [4, 4]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*slow.batches.lock(), [4, 4, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_when_it_ends_and_nothing_is_lost() {
        let slow = Arc::new(Slow::default());
        let throttled = BatchConfig { throttle: Some((0.01, 1.0)), ..config() };
        let buffered = Buffered::start(slow.clone(), throttled);
        buffered.process(&events(10)).await;
        buffered.shutdown(Duration::from_secs(5)).await;
        assert_eq!(slow.batches.lock().iter().sum::<usize>(), 10);
        assert!(buffered.process(&events(1)).await, "what comes later is counted as lost");
        assert_eq!(slow.batches.lock().iter().sum::<usize>(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_buffer_holds_up_nobody() {
        let slow = Arc::new(Slow { held: true, ..Slow::default() });
        let buffered = Buffered::start(slow.clone(), config());
        buffered.process(&events(4)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Four are on their way, four are collected and wait for them, ten are in the buffer, six are lost.
        buffered.process(&events(4)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        buffered.process(&events(16)).await;
        for _ in 0..20 {
            slow.go.notify_one();
            tokio::time::sleep(Duration::from_secs(31)).await;
        }
        assert_eq!(slow.batches.lock().iter().sum::<usize>(), 18);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delegate_that_hangs_does_not_hang_the_end() {
        let slow = Arc::new(Slow { held: true, ..Slow::default() });
        let buffered = Buffered::start(slow.clone(), config());
        buffered.process(&events(1)).await;
        let began = Instant::now();
        buffered.shutdown(Duration::from_secs(5)).await;
        assert!(began.elapsed() <= Duration::from_secs(6), "{:?}", began.elapsed());
    }
}
