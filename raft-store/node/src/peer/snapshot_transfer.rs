//! Snapshots on the wire: a header, then chunks in order, each with its checksum.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kontiki_proto::raft::SnapshotPart;
use kontiki_proto::raft::snapshot_part::{Chunk, Header, Part};
use store_engine::room;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Peer;
use crate::blocking::blocking;
use crate::codec;
use crate::snapshot::{SnapshotFile, from_header, to_header};
use crate::types::{SnapshotMeta, Vote};

/// Bytes of one chunk.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 4;
/// A sender that is silent for so long has gone.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// Streams the file to `peer`; answers the vote it has after installing it.
pub(super) async fn send(peer: &Peer, vote: &Vote, file: &Arc<SnapshotFile>) -> Result<Vote, Status> {
    let header = Header { vote: Some(codec::vote_to_proto(vote)), ..to_header(&file.meta, file.bytes) };
    let (parts, queue) = mpsc::channel(CHUNKS_AHEAD);
    let reader = tokio::spawn({
        let file = file.clone();
        async move { read_parts(header, &file.path, file.bytes, &parts).await }
    });
    let response = peer.bulk().install_snapshot(ReceiverStream::new(queue)).await?.into_inner();
    reader.await.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| {
        tracing::error!(%error, path = %file.path.display(), "cannot read the snapshot being sent");
        Status::data_loss(error.to_string())
    })?;
    response.vote.map(codec::vote_from_proto).ok_or_else(|| Status::internal("the answer has no vote"))
}

/// Ends early, without an error, when the receiver has gone.
async fn read_parts(header: Header, path: &Path, bytes: u64, parts: &mpsc::Sender<SnapshotPart>) -> io::Result<()> {
    if parts.send(SnapshotPart { part: Some(Part::Header(header)) }).await.is_err() {
        return Ok(());
    }
    let mut outgoing = Outgoing { file: File::open(path)?, bytes, offset: 0, whole: crc32fast::Hasher::new() };
    loop {
        let chunk = blocking(|| outgoing.next())?;
        let last = chunk.last;
        if parts.send(SnapshotPart { part: Some(Part::Chunk(chunk)) }).await.is_err() || last {
            return Ok(());
        }
    }
}

/// A snapshot on its way out.
struct Outgoing {
    file: File,
    bytes: u64,
    offset: u64,
    whole: crc32fast::Hasher,
}

impl Outgoing {
    fn next(&mut self) -> io::Result<Chunk> {
        let len = CHUNK_BYTES.min((self.bytes - self.offset) as usize);
        let mut data = vec![0; len];
        self.file.read_exact(&mut data)?;
        self.whole.update(&data);
        let (offset, crc) = (self.offset, crc32fast::hash(&data));
        self.offset += len as u64;
        let last = self.offset == self.bytes;
        let file_crc = if last { self.whole.clone().finalize() } else { 0 };
        Ok(Chunk { offset, data: Bytes::from(data), crc, last, file_crc })
    }
}

/// A snapshot on its way in; what is unfinished is removed when dropped.
pub(super) struct Incoming {
    file: File,
    path: PathBuf,
    bytes: u64,
    written: u64,
    whole: crc32fast::Hasher,
    done: bool,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.done {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Receives a whole snapshot into `path`, checked and synced. It must fit into `room` bytes twice: as a file, and as
/// the state made of it.
pub(super) async fn receive(
    parts: &mut Streaming<SnapshotPart>,
    path: PathBuf,
    room: u64,
) -> Result<(Vote, SnapshotMeta), Status> {
    let Some(Part::Header(header)) = next(parts).await? else {
        return Err(Status::invalid_argument("the first part is not the header"));
    };
    let vote = header.vote.map(codec::vote_from_proto).ok_or_else(|| Status::invalid_argument("no vote"))?;
    let meta = from_header(&header).map_err(|error| Status::invalid_argument(error.to_string()))?;
    if header.bytes > room / 2 {
        let why = format!("no room for a snapshot of {} bytes, {room} bytes are free", header.bytes);
        return Err(Status::resource_exhausted(why));
    }
    let mut incoming = Incoming::create(path, header.bytes)?;
    loop {
        let Some(Part::Chunk(chunk)) = next(parts).await? else {
            return Err(Status::invalid_argument("not a chunk"));
        };
        if blocking(|| incoming.write(&chunk))? {
            return Ok((vote, meta));
        }
    }
}

async fn next(parts: &mut Streaming<SnapshotPart>) -> Result<Option<Part>, Status> {
    let part = tokio::time::timeout(CHUNK_TIMEOUT, parts.message()).await;
    let part = part.map_err(|_| Status::deadline_exceeded("no chunk in time"))??;
    Ok(part.and_then(|part| part.part))
}

impl Incoming {
    fn create(path: PathBuf, bytes: u64) -> Result<Self, Status> {
        let file = File::create(&path).map_err(disk)?;
        Ok(Self { file, path, bytes, written: 0, whole: crc32fast::Hasher::new(), done: false })
    }

    /// Answers whether it was the last chunk and the file is complete and durable.
    fn write(&mut self, chunk: &Chunk) -> Result<bool, Status> {
        let fits = chunk.offset == self.written && chunk.data.len() as u64 <= self.bytes - self.written;
        if !fits || crc32fast::hash(&chunk.data) != chunk.crc {
            return Err(Status::data_loss(format!("chunk at {} is damaged or out of place", chunk.offset)));
        }
        room::write_all(&mut self.file, &chunk.data).map_err(disk)?;
        self.whole.update(&chunk.data);
        self.written += chunk.data.len() as u64;
        if !chunk.last {
            return Ok(false);
        }
        if self.written != self.bytes || self.whole.clone().finalize() != chunk.file_crc {
            return Err(Status::data_loss("the file is damaged or incomplete"));
        }
        self.file.sync_all().map_err(disk)?;
        self.done = true;
        Ok(true)
    }
}

fn disk(error: io::Error) -> Status {
    Status::resource_exhausted(format!("cannot write the snapshot: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts_of(content: &[u8]) -> Vec<Chunk> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, content).expect("written");
        let (send, mut parts) = mpsc::channel(100);
        let read = read_parts(Header::default(), &path, content.len() as u64, &send);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(read).expect("read");
        drop(send);
        let mut chunks = Vec::new();
        while let Some(part) = parts.blocking_recv() {
            if let Some(Part::Chunk(chunk)) = part.part {
                chunks.push(chunk);
            }
        }
        chunks
    }

    fn write(chunks: &[Chunk], bytes: usize) -> Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("incoming");
        let mut incoming = Incoming::create(path.clone(), bytes as u64).expect("created");
        for chunk in chunks {
            if incoming.write(chunk).map_err(|status| status.message().to_owned())? {
                return Ok(std::fs::read(&path).expect("there"));
            }
        }
        drop(incoming);
        assert!(!path.exists(), "an unfinished file is removed");
        Err("unfinished".into())
    }

    #[test]
    fn a_file_arrives_whole_or_not_at_all() {
        let content: Vec<u8> = (0..CHUNK_BYTES * 2 + 7).map(|n| (n / 1000) as u8).collect();
        let chunks = parts_of(&content);
        assert_eq!(chunks.len(), 3);
        assert_eq!(write(&chunks, content.len()), Ok(content.clone()));
        assert_eq!(write(&chunks[..2], content.len()), Err("unfinished".into()));
        let mut swapped = chunks.clone();
        swapped.swap(0, 1);
        assert_eq!(write(&swapped, content.len()), Err("chunk at 1048576 is damaged or out of place".into()));
        let mut flipped = chunks.clone();
        flipped[1].data = Bytes::from(vec![9; CHUNK_BYTES]);
        assert_eq!(write(&flipped, content.len()), Err("chunk at 1048576 is damaged or out of place".into()));
        let mut wrong_end = chunks;
        wrong_end[2].file_crc ^= 1;
        assert_eq!(write(&wrong_end, content.len()), Err("the file is damaged or incomplete".into()));
        assert_eq!(write(&parts_of(b""), 0), Ok(Vec::new()));
    }
}
