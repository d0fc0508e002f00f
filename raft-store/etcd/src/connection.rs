//! A client's connection. What its calls answer at the same moment leaves in one piece.
//!
//! HTTP/2 flushes after whatever it is given first, so that a hundred answers that became ready together would be a
//! hundred small TLS records and calls of the kernel, and as many wakings of the client; and the trailers of one answer
//! would leave behind it in a record of their own. Here a flush lets the other tasks that are ready run once first: they
//! add their answers, and all of it is flushed together. Where nobody else is ready nothing is waited for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::Connected;

/// What is gathered at most; more is written at once.
const GATHERED_BYTES: usize = 4 << 10;

/// Of a client that has shown its certificate.
pub struct Connection<S> {
    stream: BufWriter<S>,
    /// The others have had their turn.
    waited: bool,
    /// One of the connections that there may be.
    _slot: OwnedSemaphorePermit,
}

impl<S: AsyncWrite> Connection<S> {
    pub(crate) fn new(stream: S, slot: OwnedSemaphorePermit) -> Self {
        Self { stream: BufWriter::with_capacity(GATHERED_BYTES, stream), waited: false, _slot: slot }
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

/// Not vectored: HTTP/2 then copies a short answer between its headers and trailers instead of writing it apart.
impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waited && !self.stream.buffer().is_empty() {
            self.waited = true;
            // A task that wakes itself comes behind all that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.waited = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::{Arc, Mutex};

    use tokio::io::AsyncWriteExt;
    use tokio::sync::Semaphore;

    use super::*;

    /// Keeps every write apart.
    #[derive(Clone, Default)]
    struct Pieces(Arc<Mutex<Vec<Vec<u8>>>>);

    impl AsyncWrite for Pieces {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().expect("not poisoned").push(buf.to_vec());
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn connection(pieces: &Pieces) -> Connection<Pieces> {
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a slot");
        Connection::new(pieces.clone(), slot)
    }

    #[tokio::test]
    async fn answers_of_one_moment_leave_together() {
        let pieces = Pieces::default();
        let mut gathered = connection(&pieces);
        let answers: [&[u8]; 3] = [b"one ", b"two ", b"three"];
        let (mut next, mut polls) = (0, 0);
        // As HTTP/2 does: at each poll what is there by now is written, and flushed.
        let flushed = poll_fn(|cx| {
            polls += 1;
            while next < answers.len() && next < 2 * polls {
                let written = ready!(Pin::new(&mut gathered).poll_write(cx, answers[next])).expect("room");
                assert_eq!(written, answers[next].len());
                next += 1;
            }
            Pin::new(&mut gathered).poll_flush(cx)
        });
        flushed.await.expect("flushed");
        assert_eq!((polls, pieces.0.lock().expect("not poisoned").concat()), (2, b"one two three".to_vec()));
        assert_eq!(pieces.0.lock().expect("not poisoned").len(), 1);
        // What is long does not wait, and stays in order.
        gathered.write_all(b"short").await.expect("written");
        gathered.write_all(&[b'x'; 2 * GATHERED_BYTES]).await.expect("written");
        gathered.flush().await.expect("flushed");
        let all = pieces.0.lock().expect("not poisoned").concat();
        assert_eq!((all.len(), &all[13..18]), (13 + 5 + 2 * GATHERED_BYTES, &b"short"[..]));
    }

    #[tokio::test]
    async fn what_is_gathered_leaves_before_the_end() {
        let pieces = Pieces::default();
        let mut gathered = connection(&pieces);
        gathered.write_all(b"last").await.expect("written");
        gathered.shutdown().await.expect("shut down");
        assert_eq!(pieces.0.lock().expect("not poisoned").concat(), b"last");
    }
}
