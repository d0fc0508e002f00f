//! What is written, cut into the parts of an upload.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::Failure;

/// Fills one part, and hands it over when it is full. Blocks while the one before is still being sent.
pub(in crate::backup) struct Parts {
    part: Vec<u8>,
    part_bytes: usize,
    full: mpsc::Sender<Bytes>,
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended")
}

impl Parts {
    pub(super) fn new(part_bytes: usize, full: mpsc::Sender<Bytes>) -> Self {
        Self { part: Vec::new(), part_bytes, full }
    }

    /// What is left is the last part; there is always one.
    pub(super) async fn end(self) -> Result<(), Failure> {
        self.full.send(self.part.into()).await.map_err(|_| ended().into())
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.part.len() == self.part_bytes {
            let part = std::mem::take(&mut self.part).into();
            self.full.blocking_send(part).map_err(|_| ended())?;
        }
        let taken = bytes.len().min(self.part_bytes - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// A part is as long as it is to be, whoever wants to see it gone.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_a_part_of_the_size_asked_for() {
        for (bytes, lengths) in [(0, vec![0]), (3, vec![3]), (4, vec![4]), (11, vec![4, 4, 3])] {
            let (sender, mut receiver) = mpsc::channel(8);
            let content: Vec<u8> = (0..bytes).collect();
            let mut parts = Parts::new(4, sender);
            content.chunks(3).for_each(|piece| parts.write_all(piece).expect("taken"));
            futures::executor::block_on(parts.end()).expect("taken");
            let sent: Vec<Bytes> = std::iter::from_fn(|| receiver.blocking_recv()).collect();
            assert_eq!(sent.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
            assert_eq!(sent.concat(), content);
        }
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let mut parts = Parts::new(1, sender);
        assert_eq!(parts.write_all(b"ab").map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
    }
}
