//! A service that speaks as much of S3's protocol as a backup needs, in this process, and may misbehave.
//!
//! Buckets are in the path, requests are signed in their URLs, and only those are answered that one account has signed.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::client;

/// The account.
pub const ACCESS_KEY_ID: &str = "backup-operator";
pub const SECRET_ACCESS_KEY: &str = "which-nobody-else-knows";
pub const REGION: &str = "eu-test-1";

/// What goes wrong, each so many times.
#[derive(Default)]
pub struct Faults {
    /// A part is answered with 503.
    pub busy: usize,
    /// A part is refused for good.
    pub full: usize,
    /// A part is kept damaged.
    pub damage: usize,
}

#[derive(Default)]
struct State {
    objects: HashMap<String, Bytes>,
    uploads: HashMap<String, BTreeMap<u16, Bytes>>,
    begun: usize,
    faults: Faults,
}

/// Serves until it is dropped.
pub struct Service {
    pub port: u16,
    pub ca_file: PathBuf,
    state: Arc<Mutex<State>>,
    _dir: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Service {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = client::authority("bucket-ca");
        let ca_file = dir.path().join("ca.crt");
        std::fs::write(&ca_file, ca.certificate_pem()).expect("written");
        let own = ca.issue(&client::serving("bucket"), client::now()).expect("a certificate");
        let acceptor = client::acceptor(&own);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::<Mutex<State>>::default();
        runtime.spawn(serve(listener, acceptor, state.clone()));
        Self { port, ca_file, state, _dir: dir, _runtime: runtime }
    }

    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub fn misbehave(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    /// `BUCKET/KEY` of each, sorted.
    pub fn objects(&self) -> Vec<String> {
        let mut names: Vec<String> = self.state.lock().objects.keys().cloned().collect();
        names.sort();
        names
    }

    /// Uploads that were neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.state.lock().uploads.len()
    }

    /// Flips a bit in the middle.
    pub fn damage(&self, name: &str) {
        let mut state = self.state.lock();
        let object = state.objects.get_mut(name).expect("it is there");
        *object = damaged(object);
    }
}

fn damaged(content: &[u8]) -> Bytes {
    let mut content = content.to_vec();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    content.into()
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), state.clone());
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let service = service_fn(|request| answer(&state, request));
            // A client that leaves is no failure of the service.
            let _: hyper::Result<()> = http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn plain(code: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = code;
    answer
}

fn error(code: StatusCode, name: &str, message: &str) -> Answer {
    plain(code, format!("<?xml version=\"1.0\"?><Error><Code>{name}</Code><Message>{message}</Message></Error>"))
}

async fn answer(state: &Mutex<State>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Ok(url) = Url::parse(&format!("https://{host}{}", head.uri)) else {
        return Ok(error(StatusCode::BAD_REQUEST, "InvalidURI", "Couldn't parse the specified URI."));
    };
    if !is_signed(&head.method, &url) {
        let why = "The request signature we calculated does not match the signature you provided.";
        return Ok(error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", why));
    }
    let Ok(body) = body.collect().await else {
        return Ok(error(StatusCode::BAD_REQUEST, "IncompleteBody", "The body is shorter than it was said to be."));
    };
    Ok(asked(&mut state.lock(), &head.method, &url, body.to_bytes()))
}

/// By the account, now.
fn is_signed(method: &Method, url: &Url) -> bool {
    let method = match method.as_str() {
        "HEAD" => rusty_s3::Method::Head,
        "GET" => rusty_s3::Method::Get,
        "PUT" => rusty_s3::Method::Put,
        "POST" => rusty_s3::Method::Post,
        "DELETE" => rusty_s3::Method::Delete,
        _ => return false,
    };
    let given: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let of = |name: &str| given.get(name).map(String::as_str).unwrap_or_default();
    let Ok(date) = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", of("X-Amz-Date")) else { return false };
    let Ok(date) = date.to_zoned(jiff::tz::TimeZone::UTC) else { return false };
    let expires: i64 = of("X-Amz-Expires").parse().unwrap_or_default();
    if (client::now().as_second() - date.timestamp().as_second()) > expires {
        return false;
    }
    let own = given.iter().filter(|(name, _)| !name.starts_with("X-Amz-"));
    let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
    let expires = u64::try_from(expires).unwrap_or_default();
    let (id, secret) = (ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    let date = date.timestamp();
    let right =
        rusty_s3::signing::sign(&date, method, url.clone(), id, secret, None, REGION, expires, own, std::iter::empty());
    let right: HashMap<String, String> = right.query_pairs().into_owned().collect();
    right.get("X-Amz-Signature").is_some_and(|right| right == of("X-Amz-Signature"))
}

fn asked(state: &mut State, method: &Method, url: &Url, body: Bytes) -> Answer {
    let name = url.path().trim_start_matches('/').to_owned();
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let missing = || error(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
    match (method.as_str(), query.get("uploadId")) {
        ("HEAD" | "GET", _) => {
            state.objects.get(&name).map_or_else(missing, |object| plain(StatusCode::OK, object.clone()))
        }
        ("DELETE", None) => {
            state.objects.remove(&name);
            plain(StatusCode::NO_CONTENT, "")
        }
        ("POST", None) if query.contains_key("uploads") => begin(state),
        (_, Some(id)) if !state.uploads.contains_key(id) => {
            error(StatusCode::NOT_FOUND, "NoSuchUpload", "The specified multipart upload does not exist.")
        }
        ("PUT", Some(id)) => match query.get("partNumber").and_then(|number| number.parse().ok()) {
            Some(number) => put_part(state, id, number, body),
            None => error(StatusCode::BAD_REQUEST, "InvalidArgument", "Part number must be an integer."),
        },
        ("POST", Some(id)) => complete(state, id, name, &String::from_utf8_lossy(&body)),
        ("DELETE", Some(id)) => {
            state.uploads.remove(id);
            plain(StatusCode::NO_CONTENT, "")
        }
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "The specified method is not allowed."),
    }
}

fn begin(state: &mut State) -> Answer {
    state.begun += 1;
    let id = format!("upload-{}", state.begun);
    state.uploads.insert(id.clone(), BTreeMap::new());
    let namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
    plain(
        StatusCode::OK,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><InitiateMultipartUploadResult xmlns=\"{namespace}\">\
             <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        ),
    )
}

fn put_part(state: &mut State, id: &str, number: u16, body: Bytes) -> Answer {
    let take = |count: &mut usize| count.checked_sub(1).map(|left| *count = left).is_some();
    if take(&mut state.faults.busy) {
        return error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Reduce your request rate.");
    }
    if take(&mut state.faults.full) {
        return error(StatusCode::FORBIDDEN, "QuotaExceeded", "The bucket is full.");
    }
    let kept = if take(&mut state.faults.damage) { damaged(&body) } else { body };
    let parts = state.uploads.get_mut(id).expect("it was looked for");
    parts.insert(number, kept);
    let mut answer = plain(StatusCode::OK, "");
    answer.headers_mut().insert("etag", format!("\"{id}-{number}\"").parse().expect("a value"));
    answer
}

/// Of the parts that the request names, by their ETags and in their order.
fn complete(state: &mut State, id: &str, name: String, asked: &str) -> Answer {
    let parts = state.uploads.remove(id).expect("it was looked for");
    let named = asked.matches("<Part>").count() + asked.matches("<Part ").count();
    let are_there = parts.keys().all(|number| asked.contains(&format!("{id}-{number}")));
    if named != parts.len() || !are_there || parts.is_empty() {
        // As the service does that began to answer before it knew.
        return error(StatusCode::OK, "InvalidPart", "One or more of the specified parts could not be found.");
    }
    let content: Vec<u8> = parts.into_values().flatten().collect();
    state.objects.insert(name, content.into());
    let namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
    plain(
        StatusCode::OK,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><CompleteMultipartUploadResult xmlns=\"{namespace}\">\
             <ETag>\"{id}\"</ETag></CompleteMultipartUploadResult>"
        ),
    )
}
