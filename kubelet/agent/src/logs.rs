//! Container logs in the CRI's format: `TIME STREAM TAG TEXT`, read for `kubectl logs`, rotated when long.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncSeekExt as _, BufReader, SeekFrom};
use tokio::sync::mpsc;

use crate::agent::Node;
use crate::{clock, paths};

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// How often logs are measured.
const ROTATE_EVERY: Duration = Duration::from_secs(10);
/// Size at which a log is rotated, and files kept of it: upstream's defaults.
const ROTATE_AT: u64 = 10 * 1024 * 1024;
const FILES_KEPT: usize = 5;
/// Bytes handed over at once.
const CHUNK: usize = 32 * 1024;
/// Longest line read; the runtime cuts at 16 KiB.
const MAX_LINE: usize = 1 << 20;

/// What `kubectl logs` asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    pub(crate) tail: Option<usize>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) limit_bytes: Option<usize>,
    /// `Stdout` or `Stderr` only.
    pub(crate) stream: Option<String>,
}

/// One line as the runtime wrote it.
struct Line<'a> {
    time: &'a str,
    stream: &'a str,
    partial: bool,
    text: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let mut word = || parts.next().and_then(|w| std::str::from_utf8(w).ok());
    let (time, stream, tag) = (word()?, word()?, word()?);
    let partial = tag.split(':').next() == Some("P");
    Some(Line { time, stream, partial, text: parts.next().unwrap_or(b"") })
}

/// Turns lines of the file into what is shown; remembers whether a line is being continued.
struct Printer {
    query: Query,
    continued: bool,
    left: usize,
    out: BytesMut,
}

impl Printer {
    fn new(query: Query) -> Self {
        Self { left: query.limit_bytes.unwrap_or(usize::MAX), query, continued: false, out: BytesMut::new() }
    }

    fn wanted(&self, line: &Line<'_>) -> bool {
        let stream = self.query.stream.as_deref().is_none_or(|s| s.eq_ignore_ascii_case(line.stream));
        let time = self.query.since.is_none_or(|since| line.time.parse::<Timestamp>().is_ok_and(|t| t >= since));
        stream && time
    }

    /// `false`: the limit is reached.
    fn print(&mut self, raw: &[u8]) -> bool {
        let Some(line) = parse(raw.strip_suffix(b"\n").unwrap_or(raw)) else { return true };
        if !self.wanted(&line) {
            return true;
        }
        let mut text = Vec::with_capacity(line.text.len() + 40);
        if self.query.timestamps && !self.continued {
            text.extend_from_slice(line.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(line.text);
        if !line.partial {
            text.push(b'\n');
        }
        self.continued = line.partial;
        text.truncate(self.left);
        self.left -= text.len();
        self.out.extend_from_slice(&text);
        self.left > 0
    }
}

/// Sends a log until its end, or with `follow` until `ended` says that the container has ended and
/// nothing more comes. The receiver going away ends it too.
pub(crate) async fn read(
    path: PathBuf,
    query: Query,
    ended: impl Fn() -> bool + Send,
    sink: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let (mut offset, mut inode) = (0, inode(&path));
    if let Some(count) = query.tail {
        offset = tail_offset(&path, count).await?;
    }
    let mut printer = Printer::new(query.clone());
    loop {
        // Asked before reading: what was written before the end is read after it.
        let over = ended();
        let (read_to, more) = copy(&path, offset, &mut printer, &sink).await?;
        offset = read_to;
        if !more || sink.is_closed() {
            return Ok(());
        }
        let now_inode = self::inode(&path);
        if now_inode != inode && now_inode.is_some() {
            // Rotated under us: what is new starts at the beginning of the new file.
            drain_rotated(&path, inode, offset, &mut printer, &sink).await?;
            (inode, offset) = (now_inode, 0);
            continue;
        }
        if !query.follow || over {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
            () = sink.closed() => return Ok(()),
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|m| m.ino())
}

/// What was added to the old file between our last look and its renaming.
async fn drain_rotated(
    path: &Path,
    inode: Option<u64>,
    offset: u64,
    printer: &mut Printer,
    sink: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let Some(dir) = path.parent() else { return Ok(()) };
    let old = fs::read_dir(dir)?.flatten().find(|e| e.metadata().ok().map(|m| m.ino()) == inode);
    if let Some(old) = old {
        copy(&old.path(), offset, printer, sink).await?;
    }
    Ok(())
}

/// Copies whole lines from `offset` on; the answer is where it ended, and whether more is wanted.
async fn copy(path: &Path, offset: u64, printer: &mut Printer, sink: &mpsc::Sender<Bytes>) -> io::Result<(u64, bool)> {
    let mut file = match File::open(path).await {
        // Between the two steps of a rotation, or not written yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((offset, true)),
        other => other?,
    };
    file.seek(SeekFrom::Start(offset)).await?;
    let mut reader = BufReader::with_capacity(CHUNK, file);
    let mut at = offset;
    let mut line = Vec::new();
    let mut more = true;
    while more {
        line.clear();
        let count = read_line(&mut reader, &mut line).await?;
        if count == 0 || !line.ends_with(b"\n") {
            break;
        }
        at += count as u64;
        more = printer.print(&line);
        if printer.out.len() >= CHUNK && sink.send(printer.out.split().freeze()).await.is_err() {
            return Ok((at, false));
        }
    }
    if !printer.out.is_empty() && sink.send(printer.out.split().freeze()).await.is_err() {
        return Ok((at, false));
    }
    Ok((at, more))
}

async fn read_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<usize> {
    let count = reader.read_until(b'\n', line).await?;
    if count > MAX_LINE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a log line of more than {MAX_LINE} bytes")));
    }
    Ok(count)
}

/// Where the last `count` lines begin. Lines that a tag continues count once.
async fn tail_offset(path: &Path, count: usize) -> io::Result<u64> {
    let file = match File::open(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut reader = BufReader::with_capacity(CHUNK, file);
    let mut starts: VecDeque<u64> = VecDeque::new();
    let (mut at, mut continued) = (0, false);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = read_line(&mut reader, &mut line).await?;
        if read == 0 || !line.ends_with(b"\n") {
            break;
        }
        if !continued {
            starts.push_back(at);
            if starts.len() > count {
                starts.pop_front();
            }
        }
        continued = parse(&line).is_some_and(|l| l.partial);
        at += read as u64;
    }
    Ok(starts.front().copied().unwrap_or(at))
}

/// The text of the last lines, for termination messages.
pub(crate) fn tail_text(path: &Path, lines: usize) -> String {
    // A rotated log is at most this long.
    let content = fs::read(path).unwrap_or_default();
    let all: Vec<_> = content.split(|b| *b == b'\n').filter_map(parse).collect();
    let last = &all[all.len().saturating_sub(lines)..];
    let mut text = String::new();
    for line in last {
        text.push_str(&String::from_utf8_lossy(line.text));
        if !line.partial {
            text.push('\n');
        }
    }
    text
}

/// Removes the logs of a pod that is gone.
pub(crate) fn remove(node: &Node, pod: &Pod) {
    let _ = fs::remove_dir_all(paths::log_dir(node, pod));
}

/// Rotates long logs of running containers until stopped.
pub(crate) async fn keep_rotating(node: Arc<Node>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(ROTATE_EVERY) => {}
            () = node.stop.cancelled() => return,
        }
        for view in node.views() {
            for (name, id, attempt, running) in &view.containers {
                let path = paths::log_dir(&node, &view.pod).join(paths::container_log(name, *attempt));
                let long = fs::metadata(&path).is_ok_and(|m| m.len() >= ROTATE_AT);
                if *running && long {
                    rotate(&node, id, &path).await;
                }
            }
        }
    }
}

async fn rotate(node: &Node, id: &str, path: &Path) {
    let Some((dir, name)) = path.parent().zip(path.file_name().and_then(|n| n.to_str())) else { return };
    let stamp = clock::now().strftime("%Y%m%d-%H%M%S").to_string();
    let old = dir.join(format!("{name}.{stamp}"));
    if fs::rename(path, &old).is_err() {
        return;
    }
    if let Err(error) = node.runtime.reopen_container_log(id).await {
        tracing::warn!(%error, container = id, "reopening a log");
        let _ = fs::rename(&old, path);
        return;
    }
    let prefix = format!("{name}.");
    let mut rotated: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    rotated.retain(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&prefix)));
    rotated.sort();
    for surplus in rotated.iter().rev().skip(FILES_KEPT - 1) {
        let _ = fs::remove_file(surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.5Z stdout F one
2026-01-01T00:00:02.5Z stderr P tw
2026-01-01T00:00:02.6Z stderr F o
2026-01-01T00:00:03.5Z stdout F three
";

    async fn show(query: Query) -> String {
        let (dir, number) = (std::env::temp_dir(), clock::now().as_nanosecond());
        let path = dir.join(format!("kontiki-log-{}-{number}", std::process::id()));
        fs::write(&path, LOG).expect("a log");
        let (sink, mut chunks) = mpsc::channel(16);
        read(path.clone(), query, || true, sink).await.expect("read");
        let mut text = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            text.extend_from_slice(&chunk);
        }
        fs::remove_file(path).expect("cleanup");
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn queries() {
        assert_eq!(show(Query::default()).await, "one\ntwo\nthree\n");
        assert_eq!(show(Query { tail: Some(2), ..Query::default() }).await, "two\nthree\n");
        assert_eq!(show(Query { tail: Some(0), ..Query::default() }).await, "");
        assert_eq!(show(Query { limit_bytes: Some(5), ..Query::default() }).await, "one\nt");
        assert_eq!(show(Query { stream: Some("Stderr".into()), ..Query::default() }).await, "two\n");
        let since = "2026-01-01T00:00:03Z".parse().ok();
        let expected = "2026-01-01T00:00:03.5Z three\n";
        assert_eq!(show(Query { since, timestamps: true, ..Query::default() }).await, expected);
    }
}
