//! An object's content for whoever reads without waiting in the runtime's way.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::client::Download;

/// Parts that wait to be read.
const QUEUED: usize = 16;

/// Blocks until the next bytes are there.
pub(in crate::backup) struct Content {
    parts: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Content {
    pub(super) fn of(download: Download) -> Self {
        let (sender, parts) = mpsc::channel(QUEUED);
        tokio::spawn(pull(download, sender));
        Self { parts, rest: Bytes::new() }
    }
}

/// Ends with the download, an error, or when nobody reads any more.
async fn pull(mut download: Download, parts: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(next) = download.next().await.transpose() {
        let is_last = next.is_err();
        if parts.send(next.map_err(io::Error::other)).await.is_err() || is_last {
            return;
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.parts.blocking_recv() {
                None => return Ok(0),
                Some(part) => self.rest = part?,
            }
        }
        let taken = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}
