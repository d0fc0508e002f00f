//! Running probes: exec, HTTP, TCP and gRPC health checks.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kubelet_core::probe::{Outcome, ProbeKind, Worker};
use kubelet_core::{Kind, pods};
use kubelet_cri::CriError;
use tokio::net::TcpStream;

use crate::agent::Node;
use crate::clock;
use crate::worker::Inbox;

/// Bytes read of an answer's body.
const MAX_BODY: usize = 10 * 1024;
/// Redirects followed to the same host.
const MAX_REDIRECTS: usize = 10;

pub(crate) struct Job {
    pub(crate) node: Arc<Node>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) container: Container,
    pub(crate) container_id: String,
    pub(crate) kind: ProbeKind,
    pub(crate) pod_ip: String,
    pub(crate) inbox: Arc<Inbox>,
}

/// Probes one incarnation of a container until it has nothing more to say, or is aborted.
pub(crate) async fn run(job: Job, started: Timestamp) {
    let Some(probe) = job.kind.of(&job.container).cloned() else { return };
    let mut worker = Worker::new(job.kind, &probe, started);
    // A task only exists while its probe is timely: startup probes before the start, others after it.
    while let Some(due) = worker.due(job.kind != ProbeKind::Startup) {
        tokio::time::sleep(clock::until(due)).await;
        let outcome = once(&job, &probe, worker.timeout().unsigned_abs()).await;
        announce(&job, &outcome);
        let verdict = worker.answer(&outcome, clock::now());
        if let Some(good) = verdict {
            job.inbox.probe(&job.container_id, job.kind, good);
        }
        if job.kind == ProbeKind::Startup && verdict.is_some() {
            return;
        }
    }
}

fn announce(job: &Job, outcome: &Outcome) {
    let (title, message) = match outcome {
        Outcome::Success => return,
        Outcome::Failure(message) => ("failed", message),
        Outcome::Error(message) => ("errored", message),
    };
    let kind = pods::find_container(&job.pod, &job.container.name).map_or(Kind::App, |(kind, _)| kind);
    let text = format!("{} probe {title}: {message}", job.kind.title());
    job.node.events.pod(&job.pod, Some((kind, &job.container.name)), false, "Unhealthy", text);
}

async fn once(job: &Job, probe: &Probe, timeout: Duration) -> Outcome {
    if let Some(exec) = &probe.exec {
        return exec_probe(job, exec.command.clone().unwrap_or_default(), timeout).await;
    }
    if job.node.hollow {
        // There is nobody to connect to.
        return Outcome::Success;
    }
    if let Some(http) = &probe.http_get {
        return match HttpTarget::new(http, &job.container, &job.pod_ip) {
            Err(error) => Outcome::Error(error),
            Ok(target) => match target.get(timeout, "kube-probe").await {
                Ok(()) => Outcome::Success,
                Err(message) => Outcome::Failure(message),
            },
        };
    }
    if let Some(tcp) = &probe.tcp_socket {
        let host = tcp.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| job.pod_ip.clone());
        return match port(&tcp.port, &job.container) {
            Err(error) => Outcome::Error(error),
            Ok(port) => tcp_probe(&host, port, timeout).await,
        };
    }
    if let Some(grpc) = &probe.grpc {
        let service = grpc.service.clone().unwrap_or_default();
        return crate::grpc_health::check(&job.pod_ip, grpc.port, service, timeout).await;
    }
    Outcome::Error("missing probe handler".to_owned())
}

async fn exec_probe(job: &Job, command: Vec<String>, timeout: Duration) -> Outcome {
    match job.node.runtime.exec_sync(&job.container_id, command, timeout).await {
        Ok(result) if result.exit_code == 0 => Outcome::Success,
        Ok(result) => {
            let mut said = [result.stdout, result.stderr].concat();
            said.truncate(MAX_BODY);
            Outcome::Failure(String::from_utf8_lossy(&said).into_owned())
        }
        Err(CriError::Timeout(_)) => {
            Outcome::Failure(format!("command timed out: timed out after {}s", timeout.as_secs()))
        }
        Err(error) => Outcome::Error(error.to_string()),
    }
}

async fn tcp_probe(host: &str, port: u16, timeout: Duration) -> Outcome {
    let address = authority(host, port);
    match tokio::time::timeout(timeout, TcpStream::connect(address.as_str())).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(format!("dial tcp {address}: connect: {}", plain(&error))),
        Err(_) => Outcome::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}

/// An operating system's error without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or("").to_owned()
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A number, or the name of one of the container's ports.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => match name.parse::<i32>() {
            Ok(number) => Some(number),
            Err(_) => {
                container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name)).map(|p| p.container_port)
            }
        },
    };
    let number = number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    number.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find port: {name:?} in container {}", container.name),
    })
}

/// Where an HTTP probe or hook goes.
pub(crate) struct HttpTarget {
    https: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

impl HttpTarget {
    pub(crate) fn new(action: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<Self, String> {
        let path = action.path.clone().unwrap_or_default();
        Ok(Self {
            https: action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https")),
            host: action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| pod_ip.to_owned()),
            port: port(&action.port, container)?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers: action.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
        })
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{path}", authority(&self.host, self.port))
    }

    /// Success is 200 to 399.
    pub(crate) async fn get(&self, timeout: Duration, agent: &str) -> Result<(), String> {
        match self.status(timeout, agent).await? {
            200..400 => Ok(()),
            status => Err(format!("HTTP probe failed with statuscode: {status}")),
        }
    }

    /// The status of the answer; `Err`: there was none.
    pub(crate) async fn status(&self, timeout: Duration, agent: &str) -> Result<u16, String> {
        let url = self.url(&self.path);
        match tokio::time::timeout(timeout, self.follow(agent)).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(format!("Get {url:?}: {error}")),
            Err(_) => {
                Err(format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
            }
        }
    }

    async fn follow(&self, agent: &str) -> Result<u16, String> {
        let mut path = self.path.clone();
        for _ in 0..=MAX_REDIRECTS {
            let (status, location) = self.request(&path, agent).await?;
            let Some(location) = location.filter(|_| (300..400).contains(&status)) else { return Ok(status) };
            let here = self.url("");
            path = match location.strip_prefix(&here) {
                Some(rest) => rest.to_owned(),
                None if location.starts_with('/') => location,
                // Elsewhere: not followed, and that counts as success.
                None => return Ok(status),
            };
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    }

    async fn request(&self, path: &str, agent: &str) -> Result<(u16, Option<String>), String> {
        let address = authority(&self.host, self.port);
        let stream = TcpStream::connect(address.as_str())
            .await
            .map_err(|e| format!("dial tcp {address}: connect: {}", plain(&e)))?;
        let mut request = http::Request::get(path)
            .header(http::header::HOST, &address)
            .header(http::header::USER_AGENT, format!("{agent}/1.36"))
            .header(http::header::ACCEPT, "*/*")
            .header(http::header::CONNECTION, "close");
        for (name, value) in &self.headers {
            if name.eq_ignore_ascii_case("host")
                && let Some(headers) = request.headers_mut()
                && let Ok(value) = value.parse()
            {
                headers.insert(http::header::HOST, value);
                continue;
            }
            request = request.header(name, value);
        }
        let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|e| e.to_string())?;
        if self.https {
            let tls = tokio_rustls::TlsConnector::from(crate::tls::unverified());
            let name = rustls::pki_types::ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
            let stream = tls.connect(name, stream).await.map_err(|e| e.to_string())?;
            exchange(TokioIo::new(stream), request).await
        } else {
            exchange(TokioIo::new(stream), request).await
        }
    }
}

async fn exchange<IO>(io: IO, request: http::Request<Empty<bytes::Bytes>>) -> Result<(u16, Option<String>), String>
where
    IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| e.to_string());
    let result = match response {
        Ok(response) => {
            let status = response.status().as_u16();
            let location =
                response.headers().get(http::header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
            // The body does not matter, but a server may wait for it to be read.
            let _ = Limited::new(response.into_body(), MAX_BODY).collect().await;
            Ok((status, location))
        }
        Err(error) => Err(error),
    };
    connection.abort();
    result
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every request with a status of its own.
    async fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
            }
        });
        port
    }

    fn target(port: u16) -> HttpTarget {
        let action = HTTPGetAction { port: IntOrString::Int(port.into()), ..Default::default() };
        HttpTarget::new(&action, &Container::default(), "127.0.0.1").expect("a target")
    }

    #[tokio::test]
    async fn probes_mind_the_status_and_hooks_do_not() {
        let soon = Duration::from_secs(5);
        let broken = target(server("500 Internal Server Error").await);
        assert_eq!(broken.get(soon, "kube-probe").await, Err("HTTP probe failed with statuscode: 500".to_owned()));
        assert_eq!(broken.status(soon, "kube-lifecycle").await, Ok(500));
        assert_eq!(target(server("204 No Content").await).get(soon, "kube-probe").await, Ok(()));
        let closed = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port").local_addr().expect("an address");
        assert!(target(closed.port()).status(soon, "kube-lifecycle").await.is_err());
    }
}
