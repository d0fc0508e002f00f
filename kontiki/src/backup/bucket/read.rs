//! An object's content for whoever reads without waiting in the runtime's way.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::http::{Response, header};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::Failure;

/// Frames that wait to be read.
const QUEUED: usize = 16;
/// A service that sends nothing for so long sends nothing more.
const SILENCE: Duration = Duration::from_secs(60);

/// Blocks until the next bytes are there.
pub(in crate::backup) struct Content {
    frames: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Content {
    /// And how many bytes it is.
    pub(super) fn of(response: Response<Incoming>) -> Result<(Self, u64), Failure> {
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let length = length.ok_or("the service does not say how much it sends")?;
        let (sender, frames) = mpsc::channel(QUEUED);
        tokio::spawn(pull(response.into_body(), sender));
        Ok((Self { frames, rest: Bytes::new() }, length))
    }
}

/// Ends with the body, an error, or when nobody reads any more.
async fn pull(mut body: Incoming, frames: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let next = match timeout(SILENCE, body.frame()).await {
            Ok(None) => return,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => Ok(bytes),
                // Trailers.
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::other(format!("the service sent nothing for {} s", SILENCE.as_secs()))),
        };
        let is_last = next.is_err();
        if frames.send(next).await.is_err() || is_last {
            return;
        }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.frames.blocking_recv() {
                None => return Ok(0),
                Some(frame) => self.rest = frame?,
            }
        }
        let taken = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}
