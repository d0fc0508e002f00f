//! What a `hostPath` must be before it is mounted.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

pub(super) fn check(path: &Path, kind: &str) -> Result<(), String> {
    let found = fs::metadata(path).ok().map(|m| m.file_type());
    let shown = path.display();
    let must = |holds: bool, what: &str| {
        if holds { Ok(()) } else { Err(format!("hostPath type check failed: {shown} is not {what}")) }
    };
    match kind {
        "" => Ok(()),
        "Directory" => must(found.is_some_and(|f| f.is_dir()), "a directory"),
        "File" => must(found.is_some_and(|f| f.is_file()), "a file"),
        "Socket" => must(found.is_some_and(|f| f.is_socket()), "a socket file"),
        "CharDevice" => must(found.is_some_and(|f| f.is_char_device()), "a character device"),
        "BlockDevice" => must(found.is_some_and(|f| f.is_block_device()), "a block device"),
        "DirectoryOrCreate" if found.is_none() => {
            fs::create_dir_all(path).map_err(|e| e.to_string())?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())
        }
        "DirectoryOrCreate" => must(found.is_some_and(|f| f.is_dir()), "a directory"),
        "FileOrCreate" if found.is_none() => {
            fs::write(path, b"").map_err(|e| e.to_string())?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(|e| e.to_string())
        }
        "FileOrCreate" => must(found.is_some_and(|f| f.is_file()), "a file"),
        other => Err(format!("{other} is an invalid volume type")),
    }
}
