//! Work that takes long is done where nobody else waits for the thread: a body of 3 MiB is read, checked and
//! printed for many milliseconds, and a replica has few threads for all its requests. No more of it goes on at once
//! than there are processors, for each runtime: more would take their memory all together, and be done no sooner.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::LazyLock;

use api_machinery::Value;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, Id, RuntimeFlavor};

/// Bytes of a body that is read at once without much delay for others.
const SMALL_BYTES: usize = 256 * 1024;
/// The same in values within each other.
const SMALL_VALUES: usize = 10_000;
/// Bytes of text that are looked at as long as a value is: an expression is parsed for many milliseconds.
const VALUE_BYTES: usize = 8;

/// Works on a body of so many bytes.
pub fn on_bytes<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > SMALL_BYTES { aside(work) } else { work() }
}

/// Works on an object.
pub(crate) fn on_value<T>(value: &Value, work: impl FnOnce() -> T) -> T {
    if is_small(value, &mut { SMALL_VALUES }) { work() } else { aside(work) }
}

/// The same, to change it.
pub(crate) fn on_value_mut<T>(value: &mut Value, work: impl FnOnce(&mut Value) -> T) -> T {
    if is_small(value, &mut { SMALL_VALUES }) { work(value) } else { aside(|| work(value)) }
}

/// Works on what may be large in ways that its size does not show.
pub(crate) fn always<T>(work: impl FnOnce() -> T) -> T {
    aside(work)
}

fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread && !AT_WORK.get() => {
            tokio::task::block_in_place(|| {
                let _turn = Turn::wait(handle.id());
                work()
            })
        }
        _ => work(),
    }
}

thread_local! {
    /// Whether this thread has a turn: what it does within it needs no further one.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Turns that a runtime has. Looked up once: to find it out files are read.
static PROCESSORS: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
/// How many turns of each runtime are taken: one does not wait for what another is asked to do.
static TURNS: LazyLock<Mutex<HashMap<Id, usize>>> = LazyLock::new(Mutex::default);
static GIVEN_BACK: Condvar = Condvar::new();

/// Given back when the work is over, however it ends.
struct Turn(Id);

impl Turn {
    fn wait(runtime: Id) -> Self {
        let mut turns = TURNS.lock();
        GIVEN_BACK.wait_while(&mut turns, |turns| turns.get(&runtime).is_some_and(|taken| *taken >= *PROCESSORS));
        *turns.entry(runtime).or_insert(0) += 1;
        AT_WORK.set(true);
        Self(runtime)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        AT_WORK.set(false);
        let mut turns = TURNS.lock();
        if let Some(taken) = turns.get_mut(&self.0) {
            *taken -= 1;
            if *taken == 0 {
                turns.remove(&self.0);
            }
        }
        drop(turns);
        // Those who wait may be of different runtimes.
        GIVEN_BACK.notify_all();
    }
}

/// Counts down; the look ends where nothing is left.
fn is_small(value: &Value, left: &mut usize) -> bool {
    let Some(rest) = left.checked_sub(1) else { return false };
    *left = rest;
    match value {
        Value::Array(list) => list.iter().all(|one| is_small(one, left)),
        Value::Object(map) => map.values().all(|one| is_small(one, left)),
        Value::String(text) => match left.checked_sub(text.len() / VALUE_BYTES) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_counted_in_values() {
        let list = |length: usize| Value::from(vec![1; length]);
        assert!(is_small(&list(SMALL_VALUES - 1), &mut { SMALL_VALUES }));
        assert!(!is_small(&list(SMALL_VALUES), &mut { SMALL_VALUES }));
        let texts = |count: usize| Value::from(vec!["x".repeat(1000); count]);
        assert!(is_small(&texts(79), &mut { SMALL_VALUES }) && !is_small(&texts(80), &mut { SMALL_VALUES }));
    }

    #[test]
    fn processors_are_not_shared_by_more_than_there_are() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        let processors = *PROCESSORS;
        let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        let work = |counts: &(AtomicUsize, AtomicUsize)| {
            let (at_work, most) = counts;
            most.fetch_max(at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Within it there is no further turn to wait for.
            aside(|| std::thread::sleep(std::time::Duration::from_millis(5)));
            at_work.fetch_sub(1, Ordering::SeqCst);
        };
        let all = (0..4 * processors).map(|_| {
            let counts = counts.clone();
            runtime.spawn(async move { aside(|| work(&counts)) })
        });
        let failing = runtime.spawn(async { aside(|| panic!("it gives its turn back all the same")) });
        for done in all.collect::<Vec<_>>() {
            runtime.block_on(done).expect("no panic");
        }
        runtime.block_on(failing).expect_err("a panic");
        assert!((1..=processors).contains(&counts.1.load(Ordering::SeqCst)));
        assert!(!TURNS.lock().contains_key(&runtime.handle().id()));
    }

    #[test]
    fn works_in_every_runtime_and_in_none() {
        let large = Value::from(vec![1; SMALL_VALUES]);
        let work = || on_bytes(SMALL_BYTES + 1, || on_value(&large, || 7));
        assert_eq!(work(), 7);
        for mut builder in [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()]
        {
            let runtime = builder.build().expect("a runtime");
            assert_eq!(runtime.block_on(async { work() }), 7);
        }
    }
}
