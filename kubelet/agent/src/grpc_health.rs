//! gRPC probes: the `grpc.health.v1.Health/Check` call, whose two messages are small enough to write here.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kubelet_core::probe::Outcome;
use tokio::net::TcpStream;

/// `ServingStatus.SERVING`
const SERVING: u8 = 1;

pub(crate) async fn check(host: &str, port: i32, service: String, timeout: Duration) -> Outcome {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(timeout, call(&address, &service)).await {
        Ok(Ok(SERVING)) => Outcome::Success,
        Ok(Ok(_)) => Outcome::Failure("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        Ok(Err(error)) => Outcome::Failure(error),
        Err(_) => Outcome::Failure(format!(
            "timeout: failed to connect service {address:?} within {timeout:?}: context deadline exceeded"
        )),
    }
}

async fn call(address: &str, service: &str) -> Result<u8, String> {
    let failed = |e: &dyn std::fmt::Display| format!("error: health rpc probe failed: {e}");
    let stream = TcpStream::connect(address).await.map_err(|e| failed(&e))?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .body(Full::new(message(service)))
        .map_err(|e| failed(&e))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
        let early = response.headers().get("grpc-status").cloned();
        let body = Limited::new(response.into_body(), 64 * 1024).collect().await.map_err(|e| failed(&e))?;
        let code = body.trailers().and_then(|t| t.get("grpc-status")).cloned().or(early);
        match code.as_ref().and_then(|c| c.to_str().ok()) {
            Some("0") | None => Ok(status(&body.to_bytes())),
            Some("12") => {
                Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned())
            }
            Some(code) => Err(format!("error: health rpc probe failed: code {code}")),
        }
    };
    let result = answer.await;
    connection.abort();
    result
}

/// A gRPC frame with `HealthCheckRequest { service = 1 }`.
fn message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    frame.freeze()
}

/// `HealthCheckResponse { status = 1 }` of a gRPC frame; 0: unknown.
fn status(frame: &[u8]) -> u8 {
    match frame.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(&message("a")[..], [0, 0, 0, 0, 3, 0x0a, 1, b'a']);
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), SERVING);
        assert_eq!(status(&[0, 0, 0, 0, 0]), 0);
    }
}
