//! The webhook of audit, as its kubeconfig describes it: an address, how it is trusted, how we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api_audit::webhook::Post;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Uri;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Failure;
use crate::client::{Trust, tls};
use crate::kubeconfig::{Context, data};

/// Of one request, its answer included, as upstream.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What is read of an answer (bytes): it has nothing to say.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// How it knows who we are, besides a certificate.
enum Secret {
    None,
    Header(String),
    /// Read anew each time: it is rotated.
    TokenFile(PathBuf),
}

pub(super) struct Client {
    uri: Uri,
    host: String,
    port: u16,
    /// `None`: plain HTTP.
    tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    secret: Secret,
}

/// Reads a kubeconfig. What it names must be there and good: a server does not start with a webhook it cannot call.
pub(super) fn read(path: &Path) -> Result<Arc<dyn Post>, Failure> {
    let context = Context::read(path)?;
    let server = context.cluster["server"].as_str().ok_or_else(|| format!("{} names no server", path.display()))?;
    let uri: Uri = server.parse().map_err(|error| format!("{server}: {error}"))?;
    let host = uri.host().ok_or_else(|| format!("{server} has no host"))?.trim_matches(['[', ']']).to_owned();
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(format!("{server} is neither http nor https").into()),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tls = if secure { Some(secured(&context, &host)?) } else { None };
    Ok(Arc::new(Client { uri, host, port, tls, secret: secret(&context.user, &context.dir)? }))
}

fn secured(context: &Context, host: &str) -> Result<(Arc<rustls::ClientConfig>, ServerName<'static>), Failure> {
    let (cluster, user, dir) = (&context.cluster, &context.user, &context.dir);
    let trust = match cluster["insecure-skip-tls-verify"].as_bool() {
        Some(true) => Trust::Anyone,
        _ => Trust::Authority(data(cluster, "certificate-authority", dir)?),
    };
    let has = |field: &str| user.get(field).or_else(|| user.get(format!("{field}-data"))).is_some();
    let identity = match has("client-certificate") {
        true => Some((data(user, "client-certificate", dir)?, data(user, "client-key", dir)?)),
        false => None,
    };
    let name = cluster["tls-server-name"].as_str().unwrap_or(host).to_owned();
    Ok((Arc::new(tls(&trust, identity.as_ref())?), ServerName::try_from(name)?))
}

fn secret(user: &Value, dir: &Path) -> Result<Secret, Failure> {
    if let Some(file) = user["tokenFile"].as_str() {
        return Ok(Secret::TokenFile(dir.join(file)));
    }
    if let Some(token) = user["token"].as_str() {
        return Ok(Secret::Header(format!("Bearer {token}")));
    }
    match (user["username"].as_str(), user["password"].as_str()) {
        (Some(name), password) => {
            let pair = format!("{name}:{}", password.unwrap_or(""));
            Ok(Secret::Header(format!("Basic {}", STANDARD.encode(pair))))
        }
        (None, Some(_)) => Err("the user of the audit webhook has a password and no name".into()),
        (None, None) => Ok(Secret::None),
    }
}

impl Client {
    fn authorization(&self) -> Result<Option<String>, Failure> {
        match &self.secret {
            Secret::None => Ok(None),
            Secret::Header(header) => Ok(Some(header.clone())),
            Secret::TokenFile(file) => {
                let token = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
                Ok(Some(format!("Bearer {}", token.trim())))
            }
        }
    }

    fn request(&self, body: &str) -> Result<http::Request<Full<Bytes>>, Failure> {
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut request = http::Request::post(target)
            .header(HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "kontiki");
        if let Some(authorization) = self.authorization()? {
            request = request.header(AUTHORIZATION, authorization);
        }
        Ok(request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?)
    }

    async fn exchange(&self, body: &str) -> Result<(), Failure> {
        let request = self.request(body)?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let answer = match &self.tls {
            None => send(TokioIo::new(stream), request).await?,
            Some((tls, name)) => {
                let connector = tokio_rustls::TlsConnector::from(tls.clone());
                send(TokioIo::new(connector.connect(name.clone(), stream).await?), request).await?
            }
        };
        let status = answer.status();
        Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await?;
        if status.is_success() { Ok(()) } else { Err(format!("it answered {}", status.as_u16()).into()) }
    }
}

async fn send<S>(
    stream: S,
    request: http::Request<Full<Bytes>>,
) -> Result<http::Response<hyper::body::Incoming>, Failure>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

#[async_trait]
impl Post for Client {
    async fn post(&self, body: &str) -> Result<(), String> {
        match tokio::time::timeout(TIMEOUT, self.exchange(body)).await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not answer within {} s", TIMEOUT.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn kubeconfig(dir: &Path, cluster: &str, user: &str) -> PathBuf {
        let path = dir.join("webhook.yaml");
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: a, user: u}}}}]\nclusters: [{{name: a, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
        );
        std::fs::write(&path, text).expect("writes");
        path
    }

    async fn answering(status: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let port = listener.local_addr().expect("bound").port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut text = vec![0; 4096];
            let length = stream.read(&mut text).await.expect("reads");
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("writes");
            String::from_utf8_lossy(&text[..length]).into_owned()
        });
        (port, asked)
    }

    #[tokio::test]
    async fn a_batch_is_posted_to_where_the_kubeconfig_says() {
        let dir = tempfile::tempdir().expect("dir");
        let (port, asked) = answering("200 OK").await;
        std::fs::write(dir.path().join("token"), "secret\n").expect("writes");
        let path =
            kubeconfig(dir.path(), &format!("{{server: 'http://127.0.0.1:{port}/a?b=c'}}"), "{tokenFile: token}");
        let client = read(&path).expect("good");
        assert_eq!(client.post("{\"items\":[]}").await, Ok(()));
        let asked = asked.await.expect("ends").to_lowercase();
        assert!(asked.starts_with("post /a?b=c http/1.1\r\n"), "{asked}");
        for header in ["authorization: bearer secret\r\n", "content-type: application/json\r\n"] {
            assert!(asked.contains(header), "{asked}");
        }
        let (port, _asked) = answering("503 Service Unavailable").await;
        let path = kubeconfig(dir.path(), &format!("{{server: 'http://127.0.0.1:{port}'}}"), "{}");
        assert_eq!(read(&path).expect("good").post("{}").await, Err("it answered 503".to_owned()));
    }

    #[tokio::test]
    async fn what_could_never_work_is_refused_at_start() {
        let dir = tempfile::tempdir().expect("dir");
        for (cluster, user, want) in [
            ("{}", "{}", "names no server"),
            ("{server: 'ftp://a'}", "{}", "neither http nor https"),
            ("{server: 'https://a'}", "{}", "has no certificate-authority"),
            ("{server: 'http://a'}", "{password: p}", "has a password and no name"),
        ] {
            let error = read(&kubeconfig(dir.path(), cluster, user)).err().expect("is bad").to_string();
            assert!(error.contains(want), "{cluster}: {error}");
        }
    }
}
