//! What a server answered, as text in which everything is relative: revisions to the one the case began at, keys to
//! the case's own prefix, leases to their order.

use std::fmt::Write;
use std::time::Duration;

use etcd_client::{Client, Error, EventType, KeyValue, ResponseHeader, WatchResponse, WatchStream};

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How often watches that ask for it are told how far they are.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) struct Transcript {
    pub(crate) client: Client,
    prefix: String,
    base: i64,
    leases: Vec<i64>,
    text: String,
}

impl Transcript {
    pub(crate) async fn begin(mut client: Client, case: &str) -> Self {
        let prefix = format!("{case}/");
        client.delete(prefix.clone(), Some(etcd_client::DeleteOptions::new().with_prefix())).await.expect("clean");
        let base = client.get("x", None).await.expect("get").header().expect("a header").revision();
        Self { client, prefix, base, leases: Vec::new(), text: String::new() }
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A revision so many after the one the case began at.
    pub(crate) fn rev(&self, after: i64) -> i64 {
        self.base + after
    }

    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        writeln!(self.text, "{}", line.as_ref()).expect("writing to a string");
    }

    pub(crate) fn text(self) -> String {
        self.text
    }

    /// `+N`; zero means that there is none.
    pub(crate) fn relative(&self, revision: i64) -> String {
        match revision {
            0 => "none".to_owned(),
            ..0 => format!("negative {revision}"),
            revision => format!("{:+}", revision - self.base),
        }
    }

    pub(crate) fn at(&self, header: Option<&ResponseHeader>) -> String {
        match header {
            None => "@no header".to_owned(),
            Some(header) => format!("@{}", self.relative(header.revision())),
        }
    }

    pub(crate) fn name(&self, key: &[u8]) -> String {
        let key = key.strip_prefix(self.prefix.as_bytes()).unwrap_or(key);
        key.escape_ascii().to_string()
    }

    pub(crate) fn lease(&mut self, lease: i64) -> String {
        if lease == 0 {
            return "none".to_owned();
        }
        let at = self.leases.iter().position(|known| *known == lease).unwrap_or_else(|| {
            self.leases.push(lease);
            self.leases.len() - 1
        });
        format!("L{}", at + 1)
    }

    pub(crate) fn kv(&mut self, kv: &KeyValue) -> String {
        let value = match kv.value() {
            long if long.len() > 40 => format!("({} bytes)", long.len()),
            value => value.escape_ascii().to_string(),
        };
        let (create, modified) = (self.relative(kv.create_revision()), self.relative(kv.mod_revision()));
        let mut text = format!("{}={value} create {create} mod {modified} ver {}", self.name(kv.key()), kv.version());
        if kv.lease() != 0 {
            text.push_str(&format!(" lease {}", self.lease(kv.lease())));
        }
        text
    }

    /// Writes what an operation came to; the error's code and text when it was refused.
    pub(crate) fn outcome<T>(
        &mut self,
        what: &str,
        result: Result<T, Error>,
        show: impl FnOnce(&mut Self, T) -> String,
    ) {
        let shown = match result {
            Ok(answer) => show(self, answer),
            Err(error) => refusal(&error),
        };
        self.line(format!("{what}: {shown}"));
    }
}

/// The code and the text.
pub(crate) fn refusal(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => format!("{:?}: {}", status.code(), status.message()),
        other => other.to_string(),
    }
}

/// What a watch tells, until it has told so many events or something that is no event.
impl Transcript {
    pub(crate) async fn next(&self, watch: &mut WatchStream) -> WatchResponse {
        let message = tokio::time::timeout(PATIENCE, watch.message()).await;
        message.expect("nothing was told in time").expect("a message").expect("the stream goes on")
    }

    pub(crate) fn event(&mut self, event: &etcd_client::Event) -> String {
        let kind = match event.event_type() {
            EventType::Put => "put",
            EventType::Delete => "delete",
        };
        let kv = event.kv().map(|kv| self.kv(kv)).unwrap_or_default();
        match event.prev_kv() {
            Some(previous) => format!("{kind} {kv}, was {}", self.kv(previous)),
            None => format!("{kind} {kv}"),
        }
    }

    /// Events of one watch, however many responses they come in.
    pub(crate) async fn events(&mut self, watch: &mut WatchStream, count: usize) {
        let mut seen = 0;
        while seen < count {
            let response = self.next(watch).await;
            let upto = response.header().expect("a header").revision();
            for event in response.events() {
                let line = format!("  watch {}: {}", response.watch_id(), self.event(event));
                self.line(line);
                let revision = event.kv().expect("a key").mod_revision();
                assert!(upto >= revision, "an answer at {upto} tells of {revision}");
            }
            seen += response.events().len();
        }
        assert_eq!(seen, count, "more events than were expected");
    }

    /// One response that is no event.
    pub(crate) async fn notice(&mut self, watch: &mut WatchStream) {
        let response = self.next(watch).await;
        let mut text = format!("  watch {} {}", response.watch_id(), self.at(response.header()));
        for (flag, word) in [(response.created(), "created"), (response.canceled(), "canceled")] {
            if flag {
                text.push_str(&format!(" {word}"));
            }
        }
        if response.compact_revision() != 0 {
            text.push_str(&format!(" compacted {}", self.relative(response.compact_revision())));
        }
        if !response.cancel_reason().is_empty() {
            text.push_str(&format!(" because {}", response.cancel_reason()));
        }
        assert!(response.events().is_empty(), "{response:?}");
        self.line(text);
    }
}

/// The lines in which two texts differ first, with a few before.
pub(crate) fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let at = expected.iter().zip(&found).position(|(a, b)| a != b).unwrap_or(expected.len().min(found.len()));
    let before = expected[at.saturating_sub(3)..at].join("\n");
    let line = |lines: &[&str]| lines.get(at).map_or("(nothing more)", |line| *line).to_owned();
    format!("{before}\n- etcd:    {}\n- Kontiki: {}", line(&expected), line(&found))
}
