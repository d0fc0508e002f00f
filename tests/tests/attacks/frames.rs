//! HTTP/2 written by hand: frames that no client library would send.

use std::collections::HashSet;
use std::time::Duration;

use system_tests::client::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How long the server may say nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A frame of HTTP/2.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// GOAWAY's: the other side is likely to cause too much load.
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// Fields in HPACK, whatever is in them.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // Literal, not indexed, and its name with it.
        block.push(0);
        for text in [name, value] {
            let mut left = text.len();
            if left < 127 {
                block.push(u8::try_from(left).expect("short"));
            } else {
                block.push(127);
                left -= 127;
                while left >= 128 {
                    block.push(u8::try_from(left % 128 + 128).expect("seven bits and one"));
                    left /= 128;
                }
                block.push(u8::try_from(left).expect("seven bits"));
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path)])
}

/// A connection of HTTP/2 whose frames are written by hand.
pub(crate) struct Frames {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
    /// By the server.
    closed: bool,
}

pub(crate) struct Frame {
    pub(crate) kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frames {
    pub(crate) async fn open(client: &Client) -> Self {
        Self::with(client, &[]).await
    }

    pub(crate) async fn with(client: &Client, settings: &[(u16, u32)]) -> Self {
        let mut this = Self { stream: client.connect(true).await, read: Vec::new(), closed: false };
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &settings)].concat();
        this.send(&hello).await.expect("it is written");
        this
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// `None` when the server has closed, or has said nothing for long.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(head) = self.read.first_chunk::<9>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if self.read.len() >= 9 + length {
                    let (kind, stream) = (head[3], u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]));
                    let payload = self.read[9..9 + length].to_vec();
                    self.read.drain(..9 + length);
                    return Some(Frame { kind, stream, payload });
                }
            }
            let mut buffer = [0; 16 << 10];
            match tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await {
                Ok(Ok(read @ 1..)) => self.read.extend_from_slice(&buffer[..read]),
                ended => {
                    self.closed = ended.is_ok();
                    return None;
                }
            }
        }
    }

    /// Whether this stream is answered by 200, not reset.
    pub(crate) async fn is_answered(&mut self, stream: u32) -> bool {
        while let Some(frame) = self.next().await {
            match frame.kind {
                // The indexed field `:status: 200`.
                HEADERS if frame.stream == stream => return frame.payload.first() == Some(&0x88),
                RST_STREAM if frame.stream == stream => return false,
                GOAWAY => return false,
                _ => {}
            }
        }
        false
    }

    /// Of so many streams of its own, how many are answered by 200, and how many otherwise or reset.
    pub(crate) async fn answered(&mut self, streams: usize) -> (usize, usize) {
        let (mut fine, mut refused, mut heard) = (0, 0, HashSet::new());
        while heard.len() < streams {
            let Some(frame) = self.next().await else { break };
            let counts = matches!(frame.kind, HEADERS | RST_STREAM) && heard.insert(frame.stream);
            match frame.kind {
                GOAWAY => break,
                // The indexed field `:status: 200`.
                HEADERS if counts && frame.payload.first() == Some(&0x88) => fine += 1,
                _ if counts => refused += 1,
                _ => {}
            }
        }
        (fine, refused)
    }

    /// Until this stream is answered, or the connection has ended.
    pub(crate) async fn ends(&mut self, stream: u32) {
        loop {
            match self.next().await {
                Some(frame) if frame.kind == HEADERS && frame.stream == stream => return,
                None if self.closed => return,
                _ => {}
            }
        }
    }

    /// Whether the server answers a ping; the alternative is that it ends the connection.
    pub(crate) async fn pongs(&mut self) -> bool {
        loop {
            match self.next().await {
                Some(frame) if frame.kind == PING => return true,
                Some(frame) if frame.kind == GOAWAY => return false,
                Some(_) => {}
                None => {
                    assert!(self.closed, "a ping is not answered, and the connection is left open");
                    return false;
                }
            }
        }
    }

    /// The reason of the GOAWAY that ends it, 0 when it is closed without one; `None` when it is still open.
    pub(crate) async fn went_away(&mut self) -> Option<u32> {
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                return frame
                    .payload
                    .get(4..8)
                    .map(|code| code.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)));
            }
        }
        self.closed.then_some(0)
    }

    /// Sends until the server closes, or has taken everything, or takes nothing more for two seconds.
    pub(crate) async fn flood(&mut self, batches: usize, mut batch: impl FnMut(usize) -> Vec<u8>) -> Flooded {
        for number in 0..batches {
            match tokio::time::timeout(Duration::from_secs(2), self.send(&batch(number))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Flooded::Closed,
                Err(_) => return Flooded::Stuck,
            }
        }
        Flooded::Taken
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Flooded {
    Taken,
    Closed,
    Stuck,
}
