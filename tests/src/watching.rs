//! `kubectl get --watch`, event by event.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use crate::Kubectl;

/// Ended when dropped.
pub struct Watching {
    kubectl: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    /// Of what `get` with these arguments shows.
    pub fn start(kubectl: &Kubectl, get: &[&str]) -> Self {
        let shape = "jsonpath={.type} {.object.metadata.name}{\"\\n\"}";
        let mut kubectl = kubectl
            .command(&[get, &["--watch", "--output-watch-events", "-o", shape]].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let lines = BufReader::new(kubectl.stdout.take().expect("piped")).lines();
        Self { kubectl, lines }
    }

    /// Waits for the next, as `ADDED name`.
    pub fn event(&mut self) -> String {
        self.lines.next().expect("an event").expect("UTF-8")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}
