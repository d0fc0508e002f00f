//! What one transaction may ask for, checked before it is proposed and again when it is applied.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{Op, StoreError, Txn};

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// Most keys and values of one transaction together, in bytes.
pub const MAX_TXN_BYTES: usize = 8 * 1024 * 1024;
/// Most comparisons, and most operations of one branch.
pub const MAX_TXN_OPS: usize = 4096;
/// Most keys and values that one `DeleteRange` deletes, in bytes: they are all in its answer and in its events.
pub const MAX_DELETE_BYTES: usize = 256 * 1024 * 1024;
/// How long a read at a revision this replica has not reached waits for it.
pub const FUTURE_READ_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// Whether `key` is in `[start, end)`, where an empty `end` is the end of the key space.
pub fn in_range(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    key >= start && (end.is_empty() || key < end)
}

impl Txn {
    /// Refuses with [`StoreError::Invalid`] what no store can do: empty or long keys, too much at once,
    /// and a branch that writes one key twice (a key has one event per revision).
    pub fn check(&self) -> Result<(), StoreError> {
        for ops in [&self.success, &self.failure] {
            if ops.len() > MAX_TXN_OPS {
                return Err(invalid(format!("{} operations, at most {MAX_TXN_OPS} are allowed", ops.len())));
            }
            check_conflicts(ops)?;
        }
        if self.compare.len() > MAX_TXN_OPS {
            return Err(invalid(format!("{} comparisons, at most {MAX_TXN_OPS} are allowed", self.compare.len())));
        }
        let mut bytes = 0;
        for key in self.keys() {
            check_key(key)?;
            bytes += key.len();
        }
        bytes += self.success.iter().chain(&self.failure).map(value_len).sum::<usize>();
        if bytes > MAX_TXN_BYTES {
            return Err(invalid(format!("{bytes} bytes, at most {MAX_TXN_BYTES} are allowed")));
        }
        Ok(())
    }

    fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let ops = self.success.iter().chain(&self.failure).filter_map(|op| match op {
            Op::Put { key, .. } | Op::Delete { key } | Op::Get { key } => Some(key),
            Op::DeleteRange { .. } => None,
        });
        self.compare.iter().map(|c| &c.key).chain(self.fence.iter().map(|f| &f.key)).chain(ops)
    }
}

fn check_key(key: &Bytes) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(invalid("empty key".into()));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(invalid(format!("key of {} bytes, at most {MAX_KEY_BYTES} are allowed", key.len())));
    }
    Ok(())
}

fn check_conflicts(ops: &[Op]) -> Result<(), StoreError> {
    let mut puts = BTreeSet::new();
    for op in ops {
        if let Op::Put { key, .. } = op
            && !puts.insert(key.as_ref())
        {
            return Err(conflict(key));
        }
    }
    for op in ops {
        match op {
            Op::Delete { key } if puts.contains(key.as_ref()) => return Err(conflict(key)),
            Op::DeleteRange { start, end } => {
                if let Some(key) = puts.range(start.as_ref()..).next().filter(|k| in_range(k, start, end)) {
                    return Err(conflict(key));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn value_len(op: &Op) -> usize {
    match op {
        Op::Put { value, .. } => value.len(),
        _ => 0,
    }
}

fn conflict(key: &[u8]) -> StoreError {
    invalid(format!("key {:?} is written twice in one transaction", String::from_utf8_lossy(key)))
}

fn invalid(message: String) -> StoreError {
    StoreError::Invalid(message)
}
