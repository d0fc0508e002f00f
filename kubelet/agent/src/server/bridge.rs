//! WebSocket channels (`v5.channel.k8s.io`, `v4.channel.k8s.io`) of a client to SPDY streams of the runtime.

use bytes::{BufMut as _, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::spdy::{self, Frame, Writer};
use super::streaming::Client;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// v5 only: the next byte names a channel that the client has closed.
const CLOSE: u8 = 255;
/// Answers to pings waiting to be written.
const PONGS: usize = 16;

/// Which streams a command has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

impl Streams {
    /// In the order in which clients open them.
    fn channels(self) -> Vec<(u8, &'static str)> {
        let wanted = [
            (ERROR, "error", true),
            (STDIN, "stdin", self.stdin),
            (STDOUT, "stdout", self.stdout),
            (STDERR, "stderr", self.stderr),
            (RESIZE, "resize", self.tty),
        ];
        wanted.into_iter().filter(|(_, _, wanted)| *wanted).map(|(channel, name, _)| (channel, name)).collect()
    }
}

/// The SPDY stream of each channel.
type Map = Vec<(u8, u32)>;

/// Carries everything both ways until the command has ended or the client is gone.
pub(super) async fn bridge<S>(client: Client, server: S, streams: Streams) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut from_server, to_server) = tokio::io::split(server);
    let mut writer = Writer::new(to_server);
    let mut map = Map::new();
    for (channel, name) in streams.channels() {
        let stream = writer.open(&[("streamtype", name)]).await.map_err(|e| e.to_string())?;
        map.push((channel, stream));
    }
    let (mut to_client, mut from_client) = client.split();
    let (pongs, mut due_pongs) = mpsc::channel(PONGS);
    let first = map.iter().map(|(channel, _)| *channel).find(|c| matches!(*c, STDOUT | STDERR));
    if let Some(channel) = first {
        // An empty message tells the client that the connection stands.
        send(&mut to_client, channel, &[]).await?;
    }
    let result = tokio::select! {
        result = inward(&mut from_client, &mut writer, &map, &mut due_pongs) => result,
        result = outward(&mut from_server, &mut to_client, &map, &pongs) => result,
    };
    // Clients take any other ending for a broken connection. One that has left needs none.
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = to_client.send(Message::Close(Some(normal))).await;
    result
}

/// From the client to the runtime, until the client leaves.
async fn inward<W: AsyncWrite + Unpin>(
    client: &mut SplitStream<Client>,
    writer: &mut Writer<W>,
    map: &Map,
    pongs: &mut mpsc::Receiver<u32>,
) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let stream_of = |channel: u8| map.iter().find(|(c, _)| *c == channel).map(|(_, stream)| *stream);
    loop {
        let message = tokio::select! {
            message = client.next() => message,
            Some(id) = pongs.recv() => {
                writer.pong(id).await.map_err(text)?;
                continue;
            }
        };
        let bytes = match message {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Text(words))) => words.into(),
            Some(Ok(Message::Close(_))) | None => return Ok(()),
            // Pings are answered by the WebSocket itself.
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(error.to_string()),
        };
        match bytes.split_first() {
            Some((&CLOSE, [channel, ..])) => {
                if let Some(stream) = stream_of(*channel) {
                    writer.finish(stream).await.map_err(text)?;
                }
            }
            Some((&channel @ (STDIN | RESIZE), rest)) => {
                if let Some(stream) = stream_of(channel) {
                    writer.data(stream, rest).await.map_err(text)?;
                }
            }
            _ => {}
        }
    }
}

/// From the runtime to the client, until the runtime closes or every output and the error channel have ended.
async fn outward<R: AsyncRead + Unpin>(
    server: &mut R,
    client: &mut SplitSink<Client, Message>,
    map: &Map,
    pongs: &mpsc::Sender<u32>,
) -> Result<(), String> {
    let mut open: Vec<u32> =
        map.iter().filter(|(c, _)| matches!(*c, STDOUT | STDERR | ERROR)).map(|(_, s)| *s).collect();
    while !open.is_empty() {
        let Some(frame) = spdy::read(server).await.map_err(|e| e.to_string())? else { return Ok(()) };
        let ended = match frame {
            Frame::Data { stream, bytes, fin } => {
                let channel = map.iter().find(|(_, s)| *s == stream).map(|(c, _)| *c);
                if let Some(channel) = channel.filter(|_| !bytes.is_empty()) {
                    send(client, channel, &bytes).await?;
                }
                fin.then_some(stream)
            }
            Frame::Reset { stream } => Some(stream),
            Frame::Ping { id } => {
                // One that cannot be queued is not answered: there is more to come.
                let _ = pongs.try_send(id);
                None
            }
            Frame::GoAway => return Ok(()),
            Frame::Reply { .. } | Frame::Other => None,
        };
        open.retain(|stream| Some(*stream) != ended);
    }
    Ok(())
}

async fn send(client: &mut SplitSink<Client, Message>, channel: u8, bytes: &[u8]) -> Result<(), String> {
    let mut message = BytesMut::with_capacity(1 + bytes.len());
    message.put_u8(channel);
    message.put_slice(bytes);
    client.send(Message::Binary(message.freeze())).await.map_err(|e| e.to_string())
}
