//! SPDY tunnelled in a WebSocket (`SPDY/3.1+portforward.k8s.io`): its binary messages are the bytes
//! of the SPDY connection, so unpacking them needs no knowledge of SPDY.

use bytes::{Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::streaming::Client;

/// Bytes in one message to the client.
const CHUNK: usize = 32 * 1024;

/// Until either side is done.
pub(super) async fn run(client: Client, server: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), String> {
    let (mut to_client, mut from_client) = client.split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let inward = async {
        while let Some(message) = from_client.next().await {
            match message.map_err(|e| e.to_string())? {
                Message::Binary(bytes) => to_server.write_all(&bytes).await.map_err(|e| e.to_string())?,
                Message::Close(_) => break,
                // Pings are answered by the WebSocket itself.
                _ => {}
            }
        }
        Ok::<(), String>(())
    };
    let outward = async {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        loop {
            buffer.reserve(CHUNK);
            if from_server.read_buf(&mut buffer).await.map_err(|e| e.to_string())? == 0 {
                return Ok::<(), String>(());
            }
            let chunk: Bytes = buffer.split().freeze();
            to_client.send(Message::Binary(chunk)).await.map_err(|e| e.to_string())?;
        }
    };
    let result = tokio::select! {
        result = inward => result,
        result = outward => result,
    };
    let _ = to_client.close().await;
    result
}
