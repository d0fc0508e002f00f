//! What `up` tells whoever started it.

use std::fmt::Display;
use std::io::Write as _;

/// One line on standard output. When nobody listens any more (`kontiki up | grep -m1 ^ready`), the cluster is
/// not to end for that.
pub(crate) fn say(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
