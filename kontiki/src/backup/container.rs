//! The file of a backup: compressed, in chunks, encrypted when there is a key. All numbers are big-endian.
//!
//! ```text
//! magic             "kontiki-backup" and the format version, u16
//! header            length u32, JSON: whether it is encrypted, and with which salt
//! chunks            kind u8 (0: more follow, 1: the last), length u32, content
//! end               SHA-256 of everything before
//! ```
//!
//! The contents of all chunks together are what is backed up; each is compressed by itself, then sealed with
//! AES-256-GCM under a key made from the key file and the salt (HKDF-SHA256). The nonce is the number of the chunk;
//! header, kind and number are authenticated with it, so that chunks cannot be changed, left out, repeated or put in
//! another order, and the end cannot be cut off. The hash at the end finds damage without the key.

use std::io::{self, Read, Write};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 14] = b"kontiki-backup";
const VERSION: u16 = 1;
/// Of the content of a chunk, before it is compressed.
const CHUNK_BYTES: usize = 1 << 20;
/// Longest chunk and header read: what does not compress grows a little.
const MAX_CHUNK_BYTES: usize = CHUNK_BYTES + (64 << 10);
const MAX_HEADER_BYTES: usize = 64 << 10;
const MORE: u8 = 0;
const LAST: u8 = 1;
const SALT_BYTES: usize = 32;
/// What a key is made for.
const PURPOSE: &[u8] = b"kontiki backup chunk key, AES-256-GCM";
/// A shorter key file could be guessed.
const MIN_KEY_BYTES: usize = 32;

/// Whether something that begins so is one.
pub(super) fn begins_with(content: &[u8]) -> bool {
    content.starts_with(MAGIC)
}

/// What a key file holds.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// White space around it does not count.
    pub(crate) fn new(content: &[u8]) -> Result<Self, String> {
        let secret = content.trim_ascii();
        match secret.len() {
            0..MIN_KEY_BYTES => Err(format!(
                "a key has at least {MIN_KEY_BYTES} bytes, this one {}; make one with: head -c 32 /dev/urandom | base64",
                secret.len()
            )),
            _ => Ok(Self(secret.to_owned())),
        }
    }

    fn key(&self, salt: &[u8]) -> io::Result<LessSafeKey> {
        let bad = |_| io::Error::other("the key cannot be made");
        let salt = Salt::new(HKDF_SHA256, salt);
        let made = salt.extract(&self.0);
        let okm = made.expand(&[PURPOSE], &AES_256_GCM).map_err(bad)?;
        Ok(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    compression: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encryption: Option<Encryption>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encryption {
    cipher: String,
    salt: String,
}

const ZLIB: &str = "zlib";
const CIPHER: &str = "AES-256-GCM";

/// Seals chunks, or leaves them as they are.
struct Sealer {
    key: Option<LessSafeKey>,
    /// Of everything before the chunks.
    head: [u8; 32],
    chunk: u64,
}

impl Sealer {
    /// Each number is used once.
    fn next(&mut self, kind: u8) -> (Nonce, Aad<[u8; 41]>) {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&self.chunk.to_be_bytes());
        let mut with = [0; 41];
        with[..32].copy_from_slice(&self.head);
        with[32] = kind;
        with[33..].copy_from_slice(&self.chunk.to_be_bytes());
        self.chunk += 1;
        (Nonce::assume_unique_for_key(nonce), Aad::from(with))
    }

    fn seal(&mut self, kind: u8, mut content: Vec<u8>) -> io::Result<Vec<u8>> {
        let (nonce, with) = self.next(kind);
        if let Some(key) = &self.key {
            key.seal_in_place_append_tag(nonce, with, &mut content).map_err(|_| io::Error::other("cannot encrypt"))?;
        }
        Ok(content)
    }

    fn open(&mut self, kind: u8, mut content: Vec<u8>) -> io::Result<Vec<u8>> {
        let (nonce, with) = self.next(kind);
        let Some(key) = &self.key else { return Ok(content) };
        let first = self.chunk == 1;
        let length = key.open_in_place(nonce, with, &mut content).map(|plain| plain.len());
        let length = length.map_err(|_| match first {
            true => damaged("it cannot be decrypted: this is another key than it was made with, or it is damaged"),
            false => damaged("a part of it cannot be decrypted"),
        })?;
        content.truncate(length);
        Ok(content)
    }
}

fn damaged(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// Writes a container; [`Self::finish`] must be called.
pub(crate) struct Writer<W> {
    to: W,
    whole: Sha256,
    sealer: Sealer,
    chunk: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// With a secret it is encrypted; then the salt must never have been used before.
    pub(crate) fn new(to: W, secret: Option<&Secret>, salt: [u8; SALT_BYTES]) -> io::Result<Self> {
        let encryption = secret.map(|_| Encryption { cipher: CIPHER.to_owned(), salt: hex::encode(salt) });
        let header = serde_json::to_vec(&Header { compression: ZLIB.to_owned(), encryption })?;
        let length = u32::try_from(header.len()).map_err(io::Error::other)?;
        let head = [&MAGIC[..], &VERSION.to_be_bytes(), &length.to_be_bytes(), &header].concat();
        let key = secret.map(|secret| secret.key(&salt)).transpose()?;
        let sealer = Sealer { key, head: Sha256::digest(&head).into(), chunk: 0 };
        let mut writer = Self { to, whole: Sha256::new(), sealer, chunk: Vec::with_capacity(CHUNK_BYTES) };
        writer.put(&head)?;
        Ok(writer)
    }

    /// Answers where it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.close(LAST)?;
        let digest = self.whole.finalize();
        self.to.write_all(&digest)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn close(&mut self, kind: u8) -> io::Result<()> {
        let mut encoder = ZlibEncoder::new(Vec::with_capacity(CHUNK_BYTES / 2), Compression::fast());
        encoder.write_all(&self.chunk)?;
        self.chunk.clear();
        let content = self.sealer.seal(kind, encoder.finish()?)?;
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        self.put(&[kind])?;
        self.put(&length.to_be_bytes())?;
        self.put(&content)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.whole.update(bytes);
        self.to.write_all(bytes)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK_BYTES {
            self.close(MORE)?;
        }
        let fits = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Reads what is in a container. Nothing of a chunk is given out before it is checked; the end of the reading is the
/// end of a whole and undamaged container, every other ending is an error.
pub(crate) struct Reader<R> {
    from: R,
    whole: Sha256,
    sealer: Sealer,
    chunk: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(mut from: R, secret: Option<&Secret>) -> io::Result<Self> {
        let mut whole = Sha256::new();
        let mut fixed = [0; MAGIC.len() + 2 + 4];
        take(&mut from, &mut whole, &mut fixed).map_err(|_| damaged("not a backup"))?;
        let (magic, rest) = fixed.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(damaged("not a backup"));
        }
        let version = u16::from_be_bytes([rest[0], rest[1]]);
        if version != VERSION {
            let why = format!("its format is {version}, this version reads {VERSION} only: use a newer kontiki");
            return Err(damaged(why));
        }
        let length = u32::from_be_bytes([rest[2], rest[3], rest[4], rest[5]]) as usize;
        if length > MAX_HEADER_BYTES {
            return Err(damaged("its header is too long"));
        }
        let mut header = vec![0; length];
        take(&mut from, &mut whole, &mut header)?;
        let key = key(&header, secret)?;
        let sealer = Sealer { key, head: whole.clone().finalize().into(), chunk: 0 };
        Ok(Self { from, whole, sealer, chunk: Vec::new(), given: 0, ended: false })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let mut head = [0; 5];
        take(&mut self.from, &mut self.whole, &mut head)?;
        let (kind, length) = (head[0], u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize);
        if kind > LAST || length > MAX_CHUNK_BYTES {
            return Err(damaged("a part of it is damaged"));
        }
        let mut content = vec![0; length];
        take(&mut self.from, &mut self.whole, &mut content)?;
        let content = self.sealer.open(kind, content)?;
        self.chunk = inflate(&content)?;
        self.given = 0;
        match kind {
            LAST => self.end(),
            _ if self.chunk.is_empty() => Err(damaged("a part of it is empty")),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        let expected = self.whole.clone().finalize();
        let mut digest = [0; 32];
        self.from.read_exact(&mut digest).map_err(cut_short)?;
        if digest != expected[..] {
            return Err(damaged("its checksum is wrong"));
        }
        if self.from.read(&mut [0])? != 0 {
            return Err(damaged("something follows its end"));
        }
        self.ended = true;
        Ok(())
    }
}

fn inflate(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let limit = CHUNK_BYTES as u64 + 1;
    let read = ZlibDecoder::new(content).take(limit).read_to_end(&mut plain);
    match read {
        Ok(length) if length <= CHUNK_BYTES => Ok(plain),
        _ => Err(damaged("a part of it is damaged")),
    }
}

fn take(from: &mut impl Read, whole: &mut Sha256, buffer: &mut [u8]) -> io::Result<()> {
    from.read_exact(buffer).map_err(cut_short)?;
    whole.update(&*buffer);
    Ok(())
}

fn cut_short(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it is cut short"),
        _ => error,
    }
}

fn key(header: &[u8], secret: Option<&Secret>) -> io::Result<Option<LessSafeKey>> {
    let header: Header = serde_json::from_slice(header).map_err(|_| damaged("its header is damaged"))?;
    if header.compression != ZLIB {
        return Err(damaged(format!(
            "it is compressed with {:?}, which this version does not know",
            header.compression
        )));
    }
    match (header.encryption, secret) {
        (None, None) => Ok(None),
        // Whoever expects an encrypted one must not be given another.
        (None, Some(_)) => Err(damaged("it is not encrypted: leave --key-file out, if you trust where it comes from")),
        (Some(_), None) => Err(damaged("it is encrypted: name the key it was made with by --key-file")),
        (Some(Encryption { cipher, .. }), _) if cipher != CIPHER => {
            Err(damaged(format!("it is encrypted with {cipher:?}, which this version does not know")))
        }
        (Some(Encryption { salt, .. }), Some(secret)) => {
            let salt = hex::decode(salt).map_err(|_| damaged("its header is damaged"))?;
            secret.key(&salt).map(Some)
        }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() {
            if self.ended {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let length = buffer.len().min(self.chunk.len() - self.given);
        buffer[..length].copy_from_slice(&self.chunk[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new(&[byte; 40]).expect("long enough")
    }

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * at / 7) as u8).collect()
    }

    fn written(content: &[u8], secret: Option<&Secret>) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), secret, [3; 32]).expect("begun");
        writer.write_all(content).expect("written");
        writer.finish().expect("finished")
    }

    fn read(file: &[u8], secret: Option<&Secret>) -> Result<Vec<u8>, String> {
        let mut found = Vec::new();
        let mut reader = Reader::new(file, secret).map_err(|error| error.to_string())?;
        reader.read_to_end(&mut found).map_err(|error| error.to_string())?;
        Ok(found)
    }

    #[test]
    fn what_is_written_is_read_back() {
        for bytes in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let content = content(bytes);
            for secret in [None, Some(&secret(1))] {
                assert_eq!(read(&written(&content, secret), secret).as_ref(), Ok(&content), "{bytes}");
            }
        }
        let zeros = vec![b'0'; 4 * CHUNK_BYTES];
        assert!(written(&zeros, None).len() < zeros.len() / 50, "it is compressed");
    }

    #[test]
    fn the_key_decides() {
        let content = content(1000);
        let (open, sealed) = (written(&content, None), written(&content, Some(&secret(1))));
        assert!(!sealed.windows(20).any(|window| window == &content[..20]));
        let refused = |file: &[u8], secret: Option<&Secret>| read(file, secret).expect_err("refused");
        assert!(refused(&sealed, None).contains("--key-file"));
        assert!(refused(&sealed, Some(&secret(2))).contains("another key"));
        assert!(refused(&open, Some(&secret(1))).contains("not encrypted"));
        assert!(Secret::new(b"  short\n").is_err_and(|why| why.contains("at least 32 bytes")));
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let content = content(2 * CHUNK_BYTES + 500);
        for secret in [None, Some(&secret(1))] {
            let file = written(&content, secret);
            let places = (0..200).chain((200..file.len()).step_by(file.len() / 97)).chain(file.len() - 40..file.len());
            for at in places {
                let mut flipped = file.clone();
                flipped[at] ^= 1;
                assert!(read(&flipped, secret).is_err(), "byte {at} of {}", file.len());
                assert!(read(&file[..at], secret).is_err(), "cut at {at}");
            }
            assert!(read(&[&file[..], b"x"].concat(), secret).is_err_and(|why| why.contains("follows its end")));
        }
        assert_eq!(read(b"something else entirely", None), Err("not a backup".to_owned()));
        let mut newer = written(&content, None);
        newer[15] = 2;
        assert!(read(&newer, None).is_err_and(|why| why.contains("use a newer kontiki")));
    }

    /// The hash at the end can be made by anyone; the order of sealed chunks cannot.
    #[test]
    fn sealed_chunks_keep_their_order_and_their_end() {
        let content = content(3 * CHUNK_BYTES);
        let file = written(&content, Some(&secret(1)));
        let starts = chunk_starts(&file);
        assert!(starts.len() >= 3, "{starts:?}");
        let (first, second, third) = (starts[0], starts[1], starts[2]);
        let swapped =
            [&file[..first], &file[second..third], &file[first..second], &file[third..file.len() - 32]].concat();
        let mut cut = file[..third].to_vec();
        cut[second] = LAST;
        for forged in [swapped, cut] {
            let digest = Sha256::digest(&forged);
            let forged = [&forged[..], &digest].concat();
            assert!(read(&forged, Some(&secret(1))).is_err_and(|why| why.contains("decrypted")));
        }
    }

    fn chunk_starts(file: &[u8]) -> Vec<usize> {
        let length = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
        let mut at = MAGIC.len() + 2;
        at += 4 + length(at);
        let mut starts = Vec::new();
        while at < file.len() - 32 {
            starts.push(at);
            at += 5 + length(at + 1);
        }
        starts
    }
}
