//! Somebody else's HTTPS server on loopback, which answers what a test wants and notes what it was asked.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use pki::authority::{Authority, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "certificates of the test must be valid while it runs")]
    Timestamp::now()
}

pub(crate) struct Asked {
    pub method: String,
    pub path: String,
    pub headers: String,
    pub body: String,
}

/// Status, a header line or nothing, body.
pub(crate) struct Reply(pub u16, pub String, pub String);

pub(crate) fn json(body: impl ToString) -> Reply {
    Reply(200, "content-type: application/json".to_owned(), body.to_string())
}

type Answer = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

pub(crate) struct Elsewhere {
    pub url: String,
    pub ca_pem: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    pub dir: tempfile::TempDir,
}

impl Elsewhere {
    /// `answer`: `None` is no answer, ever.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ca = Authority::create("elsewhere", now()).expect("a CA");
        let request = Request {
            common_name: "elsewhere".to_owned(),
            ips: vec!["127.0.0.1".parse().expect("an address")],
            server: true,
            days: 1,
            ..Request::default()
        };
        ca.issue(&request, now()).expect("a certificate").write(dir.path(), "server").expect("written");
        let ca_file = dir.path().join("ca.crt");
        std::fs::write(&ca_file, ca.certificate_pem()).expect("written");
        let (certificate, key) = (dir.path().join("server.crt"), dir.path().join("server.key"));
        let tls = pki::reload::server_config(&certificate, &key, &ca_file, false, &[b"http/1.1"]).expect("TLS");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(listener, TlsAcceptor::from(tls), Arc::new(answer), asked.clone()));
        Self { url, ca_pem: ca.certificate_pem().to_owned(), asked, dir }
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }

    /// A kubeconfig for this server.
    pub(crate) fn kubeconfig(&self, path: &str, user: serde_json::Value) -> PathBuf {
        let file = self.dir.path().join("kubeconfig");
        let document = serde_json::json!({"current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {
                "server": format!("{}{path}", self.url), "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": user}]});
        std::fs::write(&file, document.to_string()).expect("written");
        file
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, answer: Arc<Answer>, asked: Arc<Mutex<Vec<Asked>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, answer, asked) = (tls.clone(), answer.clone(), asked.clone());
        tokio::spawn(async move {
            let Ok(mut stream) = tls.accept(stream).await else { return };
            let Some(request) = read(&mut stream).await else { return };
            let reply = answer(&request);
            asked.lock().expect("no panic").push(request);
            let Some(Reply(status, header, body)) = reply else { return std::future::pending().await };
            let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
            let length = body.len();
            let text =
                format!("HTTP/1.1 {status} X\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
            // The other side may have heard enough.
            let _: std::io::Result<()> = stream.write_all(text.as_bytes()).await;
            let _: std::io::Result<()> = stream.shutdown().await;
        });
    }
}

async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    while bytes.len() < end + 4 + length.unwrap_or(0) {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let (line, headers) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(Asked {
        method,
        path,
        headers: headers.to_owned(),
        body: String::from_utf8_lossy(&bytes[end + 4..]).into_owned(),
    })
}
