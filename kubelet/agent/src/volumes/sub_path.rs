//! A part of a volume, which must not lead out of it.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The real path of `sub` in `volume`; made as a directory where nothing is.
pub(super) fn resolve(volume: &Path, sub: &str) -> Result<PathBuf, String> {
    let relative = Path::new(sub);
    if relative.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{sub:?} must not contain '..' or be absolute"));
    }
    let volume = fs::canonicalize(volume).map_err(|e| e.to_string())?;
    let path = volume.join(relative);
    if fs::symlink_metadata(&path).is_err() {
        let nearest = path.ancestors().skip(1).find(|a| a.exists()).unwrap_or(&volume);
        inside(&volume, nearest)?;
        fs::create_dir_all(&path).map_err(|e| e.to_string())?;
    }
    inside(&volume, &path)
}

/// Follows links; the end must be inside.
fn inside(volume: &Path, path: &Path) -> Result<PathBuf, String> {
    let real = fs::canonicalize(path).map_err(|e| e.to_string())?;
    if real.starts_with(volume) { Ok(real) } else { Err(format!("{} leads out of the volume", path.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_must_stay_inside() {
        let dir = std::env::temp_dir().join(format!("kontiki-subpath-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("a")).expect("dir");
        std::os::unix::fs::symlink("/etc", dir.join("out")).expect("link");
        assert!(resolve(&dir, "a/b").expect("made").ends_with("a/b"));
        assert!(resolve(&dir, "../x").is_err());
        assert!(resolve(&dir, "out/passwd").is_err());
        assert!(resolve(&dir, "out/new").is_err());
        fs::remove_dir_all(&dir).expect("cleanup");
    }
}
