//! Room on the disk, where it is simulated: of a write that does not fit, what fits is written, and it fails as on a
//! full disk.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

type Fits = Box<dyn FnMut(usize) -> usize>;

thread_local! {
    static FITS: RefCell<Option<Fits>> = const { RefCell::new(None) };
}

/// From here on, on this thread, so many bytes of every write of some bytes fit on the disk.
pub fn simulate_room(fits: impl FnMut(usize) -> usize + 'static) {
    FITS.with(|taken| *taken.borrow_mut() = Some(Box::new(fits)));
}

/// Whether this thread simulates.
pub(crate) fn is_simulated() -> bool {
    FITS.with(|fits| fits.borrow().is_some())
}

fn fitting(bytes: usize) -> usize {
    FITS.with(|fits| fits.borrow_mut().as_mut().map_or(bytes, |fits| fits(bytes).min(bytes)))
}

/// Before something is written that somebody else writes.
pub(crate) fn check() -> io::Result<()> {
    whole(1, fitting(1))
}

/// [`Write::write_all`], into a file.
pub fn write_all(file: &mut impl Write, content: &[u8]) -> io::Result<()> {
    let fits = fitting(content.len());
    file.write_all(&content[..fits])?;
    whole(content.len(), fits)
}

/// [`FileExt::write_all_at`].
pub(crate) fn write_all_at(file: &File, content: &[u8], offset: u64) -> io::Result<()> {
    let fits = fitting(content.len());
    file.write_all_at(&content[..fits], offset)?;
    whole(content.len(), fits)
}

fn whole(bytes: usize, fits: usize) -> io::Result<()> {
    match fits == bytes {
        true => Ok(()),
        false => Err(io::ErrorKind::StorageFull.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_written() {
        let mut file = Vec::new();
        assert!(write_all(&mut file, b"all of it").is_ok() && check().is_ok());
        simulate_room(|bytes| bytes / 2);
        let full = write_all(&mut file, b" half").map_err(|error| error.kind());
        assert_eq!((full, file), (Err(io::ErrorKind::StorageFull), b"all of it h".to_vec()));
        assert!(check().is_err());
        simulate_room(|bytes| bytes);
        assert!(check().is_ok());
    }
}
