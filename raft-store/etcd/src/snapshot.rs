//! A copy of the state as a stream of parts: the file, what fills it up to a whole number of blocks, and the SHA-256 of
//! both.
//!
//! Clients know by the length whether the hash is there: it follows a multiple of 512 bytes. The filling is zeros and, in
//! its last two bytes, how many bytes it has, so that `kontiki restore` finds the file in it.

use std::fs::File;
use std::io::{self, Read};

use bytes::Bytes;
use futures::Stream;
use kontiki_proto::etcd as pb;
use sha2::{Digest, Sha256};
use store_api::SnapshotCopy;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::limits::{SNAPSHOT_PART_BYTES, SNAPSHOT_QUEUE};

const BLOCK_BYTES: u64 = 512;
/// Of the filling's length, big-endian.
const LENGTH_BYTES: u64 = 2;

type Part = Result<pb::SnapshotResponse, Status>;

/// Reads beside everything else; a client that goes away ends it.
pub(crate) fn stream(copy: SnapshotCopy, header: Option<pb::ResponseHeader>) -> impl Stream<Item = Part> {
    let (parts, stream) = mpsc::channel(SNAPSHOT_QUEUE);
    tokio::task::spawn_blocking(move || {
        let sent = File::open(&copy.path).and_then(|file| {
            read_parts(file, copy.bytes, |blob, remaining_bytes| {
                parts.blocking_send(Ok(pb::SnapshotResponse { header, remaining_bytes, blob })).is_ok()
            })
        });
        if let Err(error) = sent {
            parts.blocking_send(Err(Status::internal(format!("reading the copy failed: {error}")))).ok();
        }
    });
    ReceiverStream::new(stream)
}

/// Hands over part after part with what remains after it, until all is sent or nobody takes it.
fn read_parts(file: impl Read, bytes: u64, mut send: impl FnMut(Bytes, u64) -> bool) -> io::Result<()> {
    let padded = (bytes + LENGTH_BYTES).next_multiple_of(BLOCK_BYTES);
    let filling = padded - bytes;
    let zeros = io::repeat(0).take(filling - LENGTH_BYTES);
    let length = u16::try_from(filling).map_err(io::Error::other)?.to_be_bytes();
    let mut content = file.take(bytes).chain(zeros).chain(&length[..]);
    let (mut hasher, mut remaining) = (Sha256::new(), padded);
    while remaining > 0 {
        let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(SNAPSHOT_PART_BYTES);
        let mut blob = vec![0; length];
        content.read_exact(&mut blob)?;
        hasher.update(&blob);
        remaining -= length as u64;
        if !send(blob.into(), remaining) {
            return Ok(());
        }
    }
    send(Bytes::copy_from_slice(&hasher.finalize()), 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(content: &[u8], bytes: u64) -> io::Result<(Vec<u8>, Vec<u64>)> {
        let (mut all, mut remaining) = (Vec::new(), Vec::new());
        read_parts(content, bytes, |blob, rest| {
            all.extend_from_slice(&blob);
            remaining.push(rest);
            true
        })?;
        Ok((all, remaining))
    }

    #[test]
    fn the_hash_follows_whole_blocks() {
        for length in [0, 1, 510, 511, 512, SNAPSHOT_PART_BYTES, SNAPSHOT_PART_BYTES + 1] {
            let content = vec![7; length];
            let (all, remaining) = sent(&content, length as u64).expect("read");
            let (body, hash) = all.split_at(all.len() - 32);
            assert_eq!((body.len() % 512, &body[..length]), (0, &content[..]), "{length}");
            let filling = u16::from_be_bytes([body[body.len() - 2], body[body.len() - 1]]);
            assert_eq!(body.len() - usize::from(filling), length);
            assert_eq!(hash, &Sha256::digest(body)[..]);
            assert_eq!(remaining.last(), Some(&0));
            assert!(remaining.is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_it_was_is_an_error() {
        assert!(sent(&[1; 10], 11).is_err());
    }
}
