//! openraft's runtime: tokio, and randomness that a simulation can put its own in place of.
//!
//! openraft asks for randomness for election timeouts only, a few times for every election.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::async_runtime::AsyncRuntime;
use openraft::impls::TokioRuntime;
use raft_rand::SeedableRng;
use raft_rand::rngs::SmallRng;

use crate::observed::Observed;

type Random = Box<dyn FnMut() -> u64>;

thread_local! {
    static RANDOM: RefCell<Option<Random>> = const { RefCell::new(None) };
}

/// Where the seeds come from on this thread.
pub(crate) fn take_random(random: impl FnMut() -> u64 + 'static) {
    RANDOM.with(|taken| *taken.borrow_mut() = Some(Box::new(random)));
}

/// Whether this thread simulates.
pub(crate) fn is_simulated() -> bool {
    RANDOM.with(|taken| taken.borrow().is_some())
}

fn seeded() -> Option<SmallRng> {
    RANDOM.with(|taken| taken.borrow_mut().as_mut().map(|random| SmallRng::seed_from_u64(random())))
}

/// tokio, but for the randomness and the order in which it wakes.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = Observed;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    #[expect(clippy::disallowed_methods, reason = "the shell: elections are spread out by it")]
    fn thread_rng() -> SmallRng {
        seeded().unwrap_or_else(|| SmallRng::from_rng(&mut raft_rand::rng()))
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: OptionalSend + 'static,
    {
        TokioRuntime::spawn_blocking(work)
    }
}

#[cfg(test)]
mod tests {
    use raft_rand::Rng;

    use super::*;

    #[test]
    fn what_openraft_chooses_at_random_can_be_repeated() {
        let draw = || (Runtime::thread_rng().next_u64(), Runtime::thread_rng().next_u64());
        let counted = || {
            let mut next = 0;
            take_random(move || {
                next += 1;
                next
            });
        };
        assert_ne!(draw(), draw(), "by itself it never repeats");
        counted();
        let first = draw();
        assert_ne!(first.0, first.1);
        counted();
        assert_eq!(draw(), first);
    }
}
