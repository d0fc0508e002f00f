//! Positive controls for links: datagrams from one replica's namespace to another's.

use std::net::UdpSocket;
use std::time::Duration;

use super::fabric::Space;
use crate::Failure;

const PORT: u16 = 7_007;
/// Until a datagram that was not dropped is there, on one machine.
const PATIENCE: Duration = Duration::from_millis(150);

/// How many of `count` datagrams get from one to the other.
pub async fn arriving(from: &Space, to: &Space, count: usize) -> Result<usize, Failure> {
    let address = (to.ip, PORT);
    let receiver = to.inside(move || UdpSocket::bind(address)).await?;
    let sent = from.inside(move || {
        let sender = UdpSocket::bind(("0.0.0.0", 0))?;
        (0..count).try_for_each(|number| sender.send_to(&number.to_be_bytes(), address).map(drop))
    });
    match sent.await {
        Ok(()) => {}
        // What is dropped on its way out is refused.
        Err(error) if error.to_string().contains("not permitted") => return Ok(0),
        Err(error) => return Err(error),
    }
    receiver.set_read_timeout(Some(PATIENCE))?;
    tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 16];
        Ok((0..count).take_while(|_| receiver.recv(&mut buffer).is_ok()).count())
    })
    .await?
}
