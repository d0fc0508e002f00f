//! The bridge of a node.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::BUSYBOX;

/// Deletes it, and what is still attached to it.
pub(super) fn remove(bridge: &str) -> Result<(), String> {
    let dir = Path::new("/sys/class/net").join(bridge);
    if bridge.is_empty() || !dir.join("bridge").exists() {
        return Ok(());
    }
    for port in fs::read_dir(dir.join("brif")).into_iter().flatten().flatten() {
        // The kernel may be taking it away itself, with the namespace of its other end.
        let _ = delete(&port.file_name().to_string_lossy());
    }
    delete(bridge)
}

fn delete(link: &str) -> Result<(), String> {
    let output = Command::new(BUSYBOX).args(["ip", "link", "delete", link]).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{BUSYBOX}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("deleting {link}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
