//! Work that takes long is done where nobody else waits for the thread: a body of 3 MiB is read, checked and
//! printed for many milliseconds, and a replica has few threads for all its requests.

use api_machinery::Value;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Bytes of a body that is read at once without much delay for others.
const SMALL_BYTES: usize = 256 * 1024;
/// The same in values within each other.
const SMALL_VALUES: usize = 10_000;

/// Works on a body of so many bytes.
pub(crate) fn on_bytes<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
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
    let several = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if several { tokio::task::block_in_place(work) } else { work() }
}

/// Counts down; the look ends where nothing is left.
fn is_small(value: &Value, left: &mut usize) -> bool {
    let Some(rest) = left.checked_sub(1) else { return false };
    *left = rest;
    match value {
        Value::Array(list) => list.iter().all(|one| is_small(one, left)),
        Value::Object(map) => map.values().all(|one| is_small(one, left)),
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
