//! As much of SPDY/3.1 as a client of the runtime's streaming server needs: opening streams, data both
//! ways, ends of streams, and pings. Header blocks of the server hold nothing we need and are skipped;
//! ours are written uncompressed, as the zlib format allows.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;
/// A zlib header that names SPDY/3's dictionary by its Adler-32 sum.
const ZLIB_HEADER: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
/// An empty stored block, which makes the reader hand over what it has.
const ZLIB_FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];
/// Largest frame taken.
const MAX_FRAME: usize = 1 << 20;
/// Largest data frame sent.
const MAX_DATA: usize = 32 * 1024;

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Data { stream: u32, bytes: Bytes, fin: bool },
    Reply { stream: u32 },
    Reset { stream: u32 },
    Ping { id: u32 },
    GoAway,
    Other,
}

/// Writes frames. Streams of a client have odd numbers.
pub(super) struct Writer<W> {
    io: W,
    next_stream: u32,
    wrote_zlib_header: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(io: W) -> Self {
        Self { io, next_stream: 1, wrote_zlib_header: false }
    }

    /// Opens a stream with these headers (lower-case names).
    pub(super) async fn open(&mut self, headers: &[(&str, &str)]) -> io::Result<u32> {
        let stream = self.next_stream;
        self.next_stream += 2;
        let block = self.header_block(headers);
        let mut payload = BytesMut::new();
        payload.put_u32(stream);
        payload.put_u32(0);
        payload.put_u16(0);
        payload.put_slice(&block);
        self.control(SYN_STREAM, 0, &payload).await?;
        Ok(stream)
    }

    pub(super) async fn data(&mut self, stream: u32, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(MAX_DATA) {
            self.data_frame(stream, chunk, 0).await?;
        }
        Ok(())
    }

    /// Nothing more comes on this stream.
    pub(super) async fn finish(&mut self, stream: u32) -> io::Result<()> {
        self.data_frame(stream, &[], FLAG_FIN).await
    }

    pub(super) async fn pong(&mut self, id: u32) -> io::Result<()> {
        self.control(PING, 0, &id.to_be_bytes()).await
    }

    async fn data_frame(&mut self, stream: u32, bytes: &[u8], flags: u8) -> io::Result<()> {
        let mut head = BytesMut::with_capacity(8 + bytes.len());
        head.put_u32(stream & 0x7fff_ffff);
        head.put_u32(u32::from(flags) << 24 | bytes.len() as u32);
        head.put_slice(bytes);
        self.io.write_all(&head).await?;
        self.io.flush().await
    }

    async fn control(&mut self, kind: u16, flags: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = BytesMut::with_capacity(8 + payload.len());
        frame.put_u16(0x8000 | VERSION);
        frame.put_u16(kind);
        frame.put_u32(u32::from(flags) << 24 | payload.len() as u32);
        frame.put_slice(payload);
        self.io.write_all(&frame).await?;
        self.io.flush().await
    }

    fn header_block(&mut self, headers: &[(&str, &str)]) -> BytesMut {
        let mut plain = BytesMut::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut block = BytesMut::new();
        if !std::mem::replace(&mut self.wrote_zlib_header, true) {
            block.put_slice(&ZLIB_HEADER);
        }
        // A stored block: its length, the complement of that, the bytes. Our headers are far below 64 KiB.
        let length = plain.len() as u16;
        block.put_u8(0);
        block.put_u16_le(length);
        block.put_u16_le(!length);
        block.put_slice(&plain);
        block.put_slice(&ZLIB_FLUSH);
        block
    }
}

/// Reads the next frame; `None`: the connection has ended.
pub(super) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0u8; 8];
    match io.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let flags = head[4];
    let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a SPDY frame of {length} bytes")));
    }
    let mut payload = vec![0; length];
    io.read_exact(&mut payload).await?;
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    if first & 0x8000_0000 == 0 {
        return Ok(Some(Frame::Data { stream: first, bytes: payload.into(), fin: flags & FLAG_FIN != 0 }));
    }
    let mut rest = &payload[..];
    let id = if rest.len() >= 4 { rest.get_u32() } else { 0 };
    Ok(Some(match (first & 0xffff) as u16 {
        SYN_REPLY => Frame::Reply { stream: id },
        RST_STREAM => Frame::Reset { stream: id },
        PING => Frame::Ping { id },
        GOAWAY => Frame::GoAway,
        _ => Frame::Other,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_on_the_wire() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        assert_eq!(writer.open(&[("streamtype", "error")]).await.expect("open"), 1);
        assert_eq!(writer.open(&[("streamtype", "stdin")]).await.expect("open"), 3);
        writer.data(3, b"hi").await.expect("data");
        writer.finish(3).await.expect("finish");
        assert_eq!(bytes[..4], [0x80, 3, 0, 1]);
        assert_eq!(bytes[18..24], ZLIB_HEADER);
        let end = &bytes[bytes.len() - 18..];
        assert_eq!(end, [0, 0, 0, 3, 0, 0, 0, 2, b'h', b'i', 0, 0, 0, 3, 1, 0, 0, 0]);
        let data = read(&mut &end[..]).await.expect("frame");
        assert_eq!(data, Some(Frame::Data { stream: 3, bytes: Bytes::from_static(b"hi"), fin: false }));
        let ping = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2];
        assert_eq!(read(&mut &ping[..]).await.expect("frame"), Some(Frame::Ping { id: 2 }));
    }
}
