//! Where golden data is: in the folder `GOLDEN_DIR` names, or beside the checkout. It is not part of this repository;
//! where it is absent, tests say so and pass.

use std::path::{Path, PathBuf};

/// A file or folder of the API surface, such as `defaults.tsv` or `roundtrip`. `GOLDEN_DIR` may be the whole surface,
/// or only the part; what it does not have is looked for beside the checkout.
pub(crate) fn place(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/api-surface");
    let given = std::env::var_os("GOLDEN_DIR").map(PathBuf::from);
    let inside = |folder: &Path| Some(folder.join(name)).filter(|path| path.exists());
    let part = |folder: &Path| {
        let is_named = folder.file_name().is_some_and(|own| own == name);
        let holds = name == "roundtrip" && holds_samples(folder);
        (is_named || holds).then(|| folder.to_owned())
    };
    if let Some(folder) = &given {
        assert!(folder.is_dir(), "GOLDEN_DIR: {} is no folder", folder.display());
    }
    let given = given.as_deref();
    let found = given.and_then(inside).or_else(|| given.and_then(part)).or_else(|| inside(&beside));
    if found.is_none() {
        println!("skipped: no {name} beside the checkout, nor where GOLDEN_DIR says");
    }
    found
}

/// Whether a folder has samples in it itself.
fn holds_samples(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|extension| extension == "pb"))
}
