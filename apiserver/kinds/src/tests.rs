//! Tests over all kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// `group/file` without `.rs`, in order, with the kind the file implements, if it does.
fn files() -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    for group in std::fs::read_dir(source()).expect("the source folder is readable") {
        let group = group.expect("a readable entry").path();
        if !group.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&group).expect("a readable folder") {
            let file = file.expect("a readable entry").path();
            let text = std::fs::read_to_string(&file).expect("a readable file");
            let kind = text.lines().find_map(|line| line.strip_prefix("impl Kind for ")?.strip_suffix(" {"));
            let name = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
            found.insert(format!("{}/{}", name(&group), name(&file)), kind.map(str::to_owned));
        }
    }
    found
}

fn list_text() -> String {
    let files = files();
    let mut text = String::from(
        "//! All kinds and what they share. Made from the folders: `UPDATE_LIST=1 cargo test -p api-kinds list`.\n\n\
         use crate::Kind;\n\n",
    );
    for path in files.keys() {
        let module = path.replace('/', "_");
        writeln!(text, "#[path = \"{path}.rs\"]\npub(crate) mod {module};").expect("writing to a string");
    }
    text.push_str("\npub(crate) static KINDS: &[&dyn Kind] = &[\n");
    for (path, kind) in &files {
        if let Some(kind) = kind {
            writeln!(text, "    &{}::{kind},", path.replace('/', "_")).expect("writing to a string");
        }
    }
    text.push_str("];\n");
    text
}

/// The list is what the folders hold.
#[test]
fn list_is_complete() {
    let path = source().join("list.rs");
    let expected = list_text();
    if std::env::var_os("UPDATE_LIST").is_some() {
        std::fs::write(&path, &expected).expect("list.rs is writable");
    }
    let committed = std::fs::read_to_string(&path).expect("list.rs is readable");
    assert!(
        committed == expected,
        "apiserver/kinds/src/list.rs is not what the folders hold; run `UPDATE_LIST=1 cargo test -p api-kinds list` and commit it"
    );
}

#[test]
fn every_kind_has_its_own_resource() {
    let all: BTreeSet<String> = crate::all().iter().map(|kind| kind.resource().to_string()).collect();
    assert_eq!(all.len(), crate::all().len());
    for kind in crate::all() {
        assert_eq!(crate::of(&kind.resource()).resource(), kind.resource());
    }
}
