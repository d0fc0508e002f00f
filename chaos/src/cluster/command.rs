//! Other programs, run to their end.

use std::process::Stdio;

use tokio::process::Command;

use crate::Failure;

/// Standard output of a program that must succeed.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let (line, why) = (arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Err(format!("{program} {line}: {}: {}", output.status, why.trim()).into())
}

/// Whether a program is in the `PATH`.
pub(crate) fn there_is(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
