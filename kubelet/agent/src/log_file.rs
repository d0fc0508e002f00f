//! Log files that other processes append to, kept from growing without bound.

use std::fs;
use std::io;
use std::path::Path;

/// Moves what a log says to `PATH.1` (which had the part before) once it is longer than this many bytes. The
/// writer has the file open for appending and goes on at its beginning; what it writes in the moment between
/// copying and emptying is lost.
pub fn bound(path: &Path, most: u64) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.len() > most => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut before = path.as_os_str().to_owned();
    before.push(".1");
    fs::copy(path, before)?;
    fs::OpenOptions::new().write(true).open(path)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_writer_goes_on_in_the_emptied_file() {
        let dir = std::env::temp_dir().join(format!("kontiki-log-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("a.log");
        bound(&path, 10).expect("no file is no error");
        let mut writer = fs::OpenOptions::new().create(true).append(true).open(&path).expect("a log");
        writer.write_all(b"0123456789").expect("written");
        bound(&path, 10).expect("bounded");
        assert_eq!(fs::read(&path).expect("read"), b"0123456789", "not too long yet");
        writer.write_all(b"a").expect("written");
        bound(&path, 10).expect("bounded");
        writer.write_all(b"new").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(fs::read(dir.join("a.log.1")).expect("read"), b"0123456789a");
        fs::remove_dir_all(&dir).expect("removed");
    }
}
