//! Clocks on the wall may jump by hours in either direction: the store never looks at them. It knows only clocks that
//! never go back, and those the simulation moves.

use std::fs;
use std::path::{Path, PathBuf};

/// What tells the time of day.
const TELLERS: [&str; 4] = ["SystemTime::now", "Timestamp::now", "Utc::now", "Local::now"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.extend(Some(path).filter(|path| path.extension().is_some_and(|of| of == "rs"))),
        }
    }
}

#[test]
fn the_store_never_asks_for_the_time_of_day() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the store");
    let mut files = Vec::new();
    ["api", "core", "engine", "node"].iter().for_each(|part| sources(&store.join(part).join("src"), &mut files));
    let asks = |file: &&PathBuf| {
        let text = fs::read_to_string(file).expect("text");
        TELLERS.iter().any(|teller| text.contains(teller))
    };
    let asking: Vec<&PathBuf> = files.iter().filter(asks).collect();
    assert!(files.len() > 100, "only {} files are looked at", files.len());
    assert!(asking.is_empty(), "{asking:?}");
}
