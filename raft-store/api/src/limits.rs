//! What one transaction may ask for, checked before it is proposed and again when it is applied.

use bytes::Bytes;

use crate::conflicts::Written;
use crate::{Compare, Nested, Op, StoreError, Txn};

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// Most keys and values of one transaction together, in bytes.
pub const MAX_TXN_BYTES: usize = 8 * 1024 * 1024;
/// Most comparisons, and most operations of one branch, those of nested transactions included.
pub const MAX_TXN_OPS: usize = 4096;
/// Most keys and values that one `DeleteRange` deletes, in bytes: they are all in its events.
pub const MAX_DELETE_BYTES: usize = 256 * 1024 * 1024;
/// Deepest nesting of transactions; the outermost counts as one.
pub const MAX_TXN_DEPTH: usize = 16;
/// Most keys and values that the replies of one transaction carry, in bytes.
pub const MAX_REPLY_BYTES: usize = 64 * 1024 * 1024;
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
        let mut size = Size::default();
        if let Some(fence) = &self.fence {
            size.key(&fence.key)?;
        }
        size.branches(&self.compare, &self.success, &self.failure, 1)?;
        if size.bytes > MAX_TXN_BYTES {
            return Err(invalid(format!("{} bytes, at most {MAX_TXN_BYTES} are allowed", size.bytes)));
        }
        match self.written_twice() {
            Some(key) => {
                let key = String::from_utf8_lossy(key);
                Err(invalid(format!("key {key:?} is written twice in one transaction")))
            }
            None => Ok(()),
        }
    }

    /// A key that one branch may put and write in another operation as well.
    pub fn written_twice(&self) -> Option<&[u8]> {
        [&self.success, &self.failure].into_iter().find_map(|ops| Written::by(ops).err())
    }

    /// Whether neither branch can change anything.
    pub fn is_read_only(&self) -> bool {
        reads_only(&self.success) && reads_only(&self.failure)
    }
}

fn reads_only(ops: &[Op]) -> bool {
    ops.iter().all(|op| match op {
        Op::Get { .. } | Op::Range(_) => true,
        Op::Txn(nested) => reads_only(&nested.success) && reads_only(&nested.failure),
        Op::Put { .. } | Op::Update { .. } | Op::Delete { .. } | Op::DeleteRange { .. } => false,
    })
}

/// What a transaction takes, counted while it is checked.
#[derive(Default)]
struct Size {
    bytes: usize,
}

impl Size {
    fn branches(
        &mut self,
        compare: &[Compare],
        success: &[Op],
        failure: &[Op],
        depth: usize,
    ) -> Result<(), StoreError> {
        at_most(depth, MAX_TXN_DEPTH, "nested transactions")?;
        at_most(compare.len(), MAX_TXN_OPS, "comparisons")?;
        for compare in compare {
            self.key(&compare.key)?;
        }
        for ops in [success, failure] {
            at_most(operations(ops), MAX_TXN_OPS, "operations")?;
            for op in ops {
                self.op(op, depth)?;
            }
        }
        Ok(())
    }

    fn op(&mut self, op: &Op, depth: usize) -> Result<(), StoreError> {
        match op {
            Op::Put { key, value, .. } => {
                self.bytes += value.len();
                self.key(key)
            }
            Op::Update { key, value, .. } => {
                self.bytes += value.as_ref().map_or(0, Bytes::len);
                self.key(key)
            }
            Op::Delete { key } | Op::Get { key } => self.key(key),
            Op::DeleteRange { .. } | Op::Range(_) => Ok(()),
            Op::Txn(nested) => {
                let Nested { compare, success, failure } = nested.as_ref();
                self.branches(compare, success, failure, depth + 1)
            }
        }
    }

    fn key(&mut self, key: &Bytes) -> Result<(), StoreError> {
        self.bytes += key.len();
        check_key(key)
    }
}

fn operations(ops: &[Op]) -> usize {
    let count = |op: &Op| match op {
        Op::Txn(nested) => 1 + nested.compare.len() + operations(&nested.success) + operations(&nested.failure),
        _ => 1,
    };
    ops.iter().map(count).sum()
}

fn at_most(count: usize, limit: usize, what: &str) -> Result<(), StoreError> {
    match count > limit {
        true => Err(invalid(format!("{count} {what}, at most {limit} are allowed"))),
        false => Ok(()),
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

fn invalid(message: String) -> StoreError {
    StoreError::Invalid(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_bounded() {
        let checked = |success: Vec<Op>| Txn { success, ..Txn::default() }.check().map_err(|error| error.to_string());
        let nested = |op| Op::Txn(Box::new(Nested { success: vec![op], ..Nested::default() }));
        let deep = |depth| (1..depth).fold(Op::Get { key: "a".into() }, |inner, _| nested(inner));
        assert_eq!(checked(vec![deep(MAX_TXN_DEPTH)]), Ok(()));
        let why = format!("{} nested transactions, at most {MAX_TXN_DEPTH} are allowed", MAX_TXN_DEPTH + 1);
        assert_eq!(checked(vec![deep(MAX_TXN_DEPTH + 1)]), Err(format!("invalid request: {why}")));
        let success = vec![Op::Get { key: "a".into() }; MAX_TXN_OPS];
        let many = Op::Txn(Box::new(Nested { success, ..Nested::default() }));
        assert!(checked(vec![many]).is_err(), "operations of nested transactions count");
    }
}
