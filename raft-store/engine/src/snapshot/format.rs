//! The layout of a snapshot file. All numbers are big-endian.
//!
//! ```text
//! magic, 16 bytes   "kontiki-snap" and the format version, u32
//! header            length u32, crc32 u32, protobuf message
//! chunks            length u32 (not 0), crc32 u32, content
//! end               length u32 = 0, records in all u64, SHA-256 of everything before
//! ```
//!
//! The contents of all chunks together are the records, one after the other: key length u16, value length u32,
//! key, value. A record may begin in one chunk and end in another, so none is too long for them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};
use store_api::StoreError;

use crate::state::Position;
use crate::{dir, fatal, room};

const MAGIC: &[u8; 12] = b"kontiki-snap";
const VERSION: u32 = 4;
/// Its records have the form of states up to format 4.
const OLDER_VERSION: u32 = 3;
/// Content of every chunk but the last.
const CHUNK_BYTES: usize = 1 << 20;
/// Longest part read, chunk or header.
const MAX_PART_BYTES: usize = 4 << 20;

/// What a snapshot says of itself before its content.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(message, required, tag = "1")]
    pub(crate) position: Position,
}

/// Everything written goes through the checksum over the whole.
pub(super) struct Writer {
    file: BufWriter<File>,
    whole: Sha256,
    chunk: Vec<u8>,
    records: u64,
}

impl Writer {
    pub(super) fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let file = BufWriter::with_capacity(CHUNK_BYTES, dir::create_file(path, true)?);
        let mut writer = Self { file, whole: Sha256::new(), chunk: Vec::new(), records: 0 };
        writer.write(MAGIC)?;
        writer.write(&VERSION.to_be_bytes())?;
        writer.part(&header.encode_to_vec())?;
        Ok(writer)
    }

    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::other("a record is too long for a snapshot");
        let key_length = u16::try_from(key.len()).map_err(too_long)?;
        let value_length = u32::try_from(value.len()).map_err(too_long)?;
        self.fill(&key_length.to_be_bytes())?;
        self.fill(&value_length.to_be_bytes())?;
        self.fill(key)?;
        self.fill(value)?;
        self.records += 1;
        Ok(())
    }

    fn fill(&mut self, mut content: &[u8]) -> io::Result<()> {
        while !content.is_empty() {
            let (fits, rest) = content.split_at(content.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(fits);
            content = rest;
            if self.chunk.len() == CHUNK_BYTES {
                self.close_chunk()?;
            }
        }
        Ok(())
    }

    /// Durable on return.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            self.close_chunk()?;
        }
        self.write(&0u32.to_be_bytes())?;
        self.write(&self.records.to_be_bytes())?;
        let digest = self.whole.finalize();
        self.file.write_all(&digest)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }

    fn close_chunk(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        self.part(&chunk)?;
        self.chunk = chunk;
        self.chunk.clear();
        Ok(())
    }

    fn part(&mut self, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).map_err(|_| io::Error::other("a part is too long"))?;
        self.write(&length.to_be_bytes())?;
        self.write(&crc32fast::hash(content).to_be_bytes())?;
        self.write(content)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.whole.update(bytes);
        room::write_all(&mut self.file, bytes)
    }
}

pub(super) struct Reader {
    /// Of what is read, for errors.
    path: PathBuf,
    file: BufReader<Box<dyn Read + Send>>,
    whole: Sha256,
    header: Header,
    /// The beginning of a record that ends in a later chunk.
    begun: Vec<u8>,
    records: u64,
    bytes: u64,
    ended: bool,
    older: bool,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|e| fatal(path.display(), e))?;
        Self::of(path, Box::new(file))
    }

    /// Reads from where it comes from; `path` names it.
    pub(super) fn of(path: &Path, content: Box<dyn Read + Send>) -> Result<Self, StoreError> {
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(CHUNK_BYTES, content),
            whole: Sha256::new(),
            header: Header::default(),
            begun: Vec::new(),
            records: 0,
            bytes: 0,
            ended: false,
            older: false,
        };
        if &reader.array()? != MAGIC {
            return Err(reader.invalid("not a snapshot"));
        }
        let version = u32::from_be_bytes(reader.array()?);
        reader.older = version == OLDER_VERSION;
        if version != VERSION && !reader.older {
            let known = format_args!("its format is {version}, this version reads {VERSION} and {OLDER_VERSION}");
            return Err(reader.invalid(known));
        }
        let length = u32::from_be_bytes(reader.array()?);
        let header = reader.part(length)?;
        reader.header = Header::decode(&*header).map_err(|e| reader.invalid(e))?;
        Ok(reader)
    }

    /// Whether its records have an older form.
    pub(super) fn is_older(&self) -> bool {
        self.older
    }

    /// The records that end in the next chunk, whose checksum is right; `None` at the end.
    pub(super) fn next_records(&mut self) -> Result<Option<Records>, StoreError> {
        let length = u32::from_be_bytes(self.array()?);
        if length == 0 {
            self.ended = true;
            return match self.begun.is_empty() {
                true => Ok(None),
                false => Err(self.invalid("its last record is cut short")),
            };
        }
        let mut content = std::mem::take(&mut self.begun);
        content.append(&mut self.part(length)?);
        let (count, end) = whole_records(&content);
        self.begun = content.split_off(end);
        self.records += count;
        Ok(Some(Records(content)))
    }

    /// After the last chunk: whether the file is whole. Answers its header and length.
    pub(super) fn finish(mut self) -> Result<(Header, u64), StoreError> {
        assert!(self.ended, "finish follows the last chunk");
        let records = u64::from_be_bytes(self.array()?);
        let expected = self.whole.clone().finalize();
        let digest: [u8; 32] = self.array()?;
        if digest != expected[..] {
            return Err(self.invalid("its checksum is wrong"));
        }
        if records != self.records {
            return Err(self.invalid(format_args!("{} records of {records}", self.records)));
        }
        match self.file.read(&mut [0]) {
            Ok(0) => Ok((self.header, self.bytes)),
            Ok(_) => Err(self.invalid("something follows its end")),
            Err(error) => Err(fatal(self.path.display(), error)),
        }
    }

    fn part(&mut self, length: u32) -> Result<Vec<u8>, StoreError> {
        let length = length as usize;
        if length > MAX_PART_BYTES {
            return Err(self.invalid(format_args!("a part of {length} bytes, at most {MAX_PART_BYTES} are read")));
        }
        let checksum = self.array()?;
        let mut content = vec![0; length];
        self.fill(&mut content)?;
        match crc32fast::hash(&content).to_be_bytes() == checksum {
            true => Ok(content),
            false => Err(self.invalid("the checksum of a part is wrong")),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), StoreError> {
        match self.file.read_exact(buffer) {
            Ok(()) => {
                self.whole.update(&*buffer);
                self.bytes += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.invalid("it is cut short")),
            Err(error) => Err(fatal(self.path.display(), error)),
        }
    }

    fn invalid(&self, what: impl std::fmt::Display) -> StoreError {
        StoreError::Invalid(format!("snapshot {}: {what}", self.path.display()))
    }
}

/// Whole records, one after the other.
pub(super) struct Records(Vec<u8>);

type Record<'a> = (&'a [u8], &'a [u8]);

impl Records {
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (record, after) = split_record(rest)?;
            rest = after;
            Some(record)
        })
    }
}

/// How many whole records the content begins with, and where they end.
fn whole_records(content: &[u8]) -> (u64, usize) {
    let (mut count, mut rest) = (0, content);
    while let Some((_, after)) = split_record(rest) {
        count += 1;
        rest = after;
    }
    (count, content.len() - rest.len())
}

fn split_record(raw: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (key_length, rest) = raw.split_first_chunk()?;
    let (value_length, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*key_length)))?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*value_length) as usize)?;
    Some(((key, value), rest))
}
