//! What is mounted where.

use std::fs;
use std::path::{Path, PathBuf};

/// Mount points at or below a directory, deepest and newest first.
pub(crate) fn below(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    Ok(points(&fs::read_to_string("/proc/self/mountinfo")?, dir))
}

fn points(table: &str, dir: &Path) -> Vec<PathBuf> {
    let all = table.lines().rev().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    let mut below: Vec<_> = all.filter(|point| point.starts_with(dir)).collect();
    below.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    below
}

/// The kernel writes blanks and backslashes of paths as three octal digits.
fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (written, meant)| path.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mounts_deepest_first() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
            2 1 0:5 / /d\\040x/a rw - tmpfs tmpfs rw\n\
            3 1 0:6 / /d\\040x/a/b rw - tmpfs tmpfs rw\n\
            4 1 0:7 / /d\\040xy rw - tmpfs tmpfs rw\n";
        let found = points(table, Path::new("/d x"));
        assert_eq!(found, [PathBuf::from("/d x/a/b"), PathBuf::from("/d x/a")]);
    }
}
