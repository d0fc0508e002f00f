//! What a run did, line by line, and a hash of it by which two runs are compared.

use std::collections::VecDeque;
use std::fmt::Display;

use sha2::{Digest, Sha256};

/// Lines kept for whoever looks at a failure.
const KEPT_LINES: usize = 400;

#[derive(Default)]
pub(crate) struct Trace {
    hash: Sha256,
    newest: VecDeque<String>,
    /// Lines are printed as they come.
    loud: bool,
}

impl Trace {
    pub(crate) fn new(loud: bool) -> Self {
        Self { loud, ..Self::default() }
    }

    /// `now` in microseconds of virtual time.
    pub(crate) fn line(&mut self, now: u64, what: impl Display) {
        let line = format!("{:>9.3} {what}", now as f64 / 1_000.0);
        if self.loud {
            eprintln!("{line}");
        }
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        self.newest.push_back(line);
        if self.newest.len() > KEPT_LINES {
            self.newest.pop_front();
        }
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    pub(crate) fn newest(&self) -> Vec<String> {
        self.newest.iter().cloned().collect()
    }
}
