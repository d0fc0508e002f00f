//! The pace of whoever reads all there is.

use std::time::{Duration, Instant};

/// Bytes read between two rests.
const PIECE_BYTES: usize = 4 << 20;
/// A rest takes so many times what the piece before it took, so that the scan has a part of one processor only.
const REST: u32 = 3;
/// A piece that took longer waited for the disk.
const LONGEST_REST: Duration = Duration::from_millis(500);

pub(super) struct Pace {
    piece: usize,
    begun: Instant,
}

impl Pace {
    pub(super) fn begin() -> Self {
        Self { piece: 0, begun: Instant::now() }
    }

    /// So many more bytes were read; rests when it is time to.
    pub(super) fn read(&mut self, bytes: usize) {
        self.piece += bytes;
        if self.piece >= PIECE_BYTES {
            std::thread::sleep((self.begun.elapsed() * REST).min(LONGEST_REST));
            *self = Self::begin();
        }
    }
}
