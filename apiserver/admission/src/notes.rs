//! What is said about a request besides yes and no: by plugins, and by whoever else works on it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Warnings of one request, at most; what comes after them is not told. A client is shown 4096 characters of them.
const MAX_WARNINGS: usize = 256;
/// Audit annotations of one request, at most.
const MAX_ANNOTATIONS: usize = 256;

/// The notes of one request. A try that is made again after a lost race says the same again, which is kept once.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    warnings: Vec<String>,
    annotations: BTreeMap<String, String>,
}

impl Notes {
    /// For a `Warning` header of the answer, whatever the answer is.
    pub fn warn(&self, text: impl Into<String>) {
        let (mut said, text) = (self.said(), text.into());
        if said.warnings.len() < MAX_WARNINGS && !said.warnings.contains(&text) {
            said.warnings.push(text);
        }
    }

    /// For the audit event. The first value of a key stays, as upstream.
    pub fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        let mut said = self.said();
        if said.annotations.len() < MAX_ANNOTATIONS {
            said.annotations.entry(key.into()).or_insert_with(|| value.into());
        }
    }

    pub fn warnings(&self) -> Vec<String> {
        self.said().warnings.clone()
    }

    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.said().annotations.clone()
    }

    /// Nothing here is left half done by a panic.
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
