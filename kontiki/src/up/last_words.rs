//! The end of a log, for a message.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Bytes looked at.
const TAIL: u64 = 4096;
/// Characters shown.
const SHOWN: usize = 400;

/// The last line of a log that says something.
pub(super) fn last_words(log: &Path) -> String {
    let tail = tail(log).unwrap_or_default();
    let line = tail.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("nothing").chars().take(SHOWN).collect()
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something() {
        let dir = tempfile::tempdir().expect("dir");
        let log = dir.path().join("a.log");
        assert_eq!(last_words(&log), "nothing");
        std::fs::write(&log, format!("{}\nINFO starting\nkontiki: port taken\n\n", "x".repeat(9000))).expect("writes");
        assert_eq!(last_words(&log), "kontiki: port taken");
        std::fs::write(&log, "y".repeat(9000)).expect("writes");
        assert_eq!(last_words(&log).len(), SHOWN);
    }
}
