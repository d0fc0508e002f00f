//! The body of a request or a response, on the side that reads it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;

pub(super) enum Piece {
    Data(Bytes),
    End(Option<HeaderMap>),
    Broken(Status),
}

pub(super) fn body(pieces: mpsc::UnboundedReceiver<Piece>) -> Body {
    Body::new(Pipe { pieces, ended: false, _guard: None })
}

/// `guard` is dropped with the body.
pub(super) fn guarded(pieces: mpsc::UnboundedReceiver<Piece>, guard: impl Send + Sync + 'static) -> Body {
    Body::new(Pipe { pieces, ended: false, _guard: Some(Box::new(guard)) })
}

struct Pipe {
    pieces: mpsc::UnboundedReceiver<Piece>,
    ended: bool,
    _guard: Option<Box<dyn Send + Sync>>,
}

impl http_body::Body for Pipe {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx));
        if let Some(Piece::Data(bytes)) = piece {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        self.ended = true;
        Poll::Ready(match piece {
            Some(Piece::End(trailers)) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Some(Piece::Broken(status)) => Some(Err(status)),
            // The other end has gone without a word.
            _ => Some(Err(Status::unavailable("the connection was reset"))),
        })
    }
}
