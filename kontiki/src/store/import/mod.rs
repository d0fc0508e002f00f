//! `kontiki store import`: a new store with the keys that a live etcd has at one revision.

mod etcd;
mod tally;

use std::path::PathBuf;

use clap::Args;
use kontiki_proto::etcd::KeyValue;
use store_api::{Op, StoreError, Txn};
use store_node::anew::{self, Anew, Begun};
use tokio::sync::mpsc;

use self::etcd::{Access, Cut, Etcd};
use self::tally::Tally;
use crate::Failure;
use crate::backup::contents::Description;
use crate::installed::Kind;
use crate::progress;
use crate::restore::{self, FirstReplica};

/// Begin a new store with the keys of a live etcd
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki store import https://10.0.0.9:2379 --cacert ca.crt --cert client.crt --key client.key --advertise 10.0.0.1
  kontiki store import http://127.0.0.1:2379 --prefix /registry/ --advertise 127.0.0.1 --data-dir /srv/store

Keys are read over etcd's API, in pages at one revision, and read back from the new store: number and hash must be the
same. Not copied are leases (keys that had one stay until somebody deletes them), the history before that revision, and
users and roles. What is written to etcd afterwards is not in the copy: stop its clients first. Revisions jump ahead of
etcd's, so that every watcher lists anew. Start the replica with the command that it prints, and have others join it.")]
pub(super) struct ImportArgs {
    /// Where etcd's clients connect (https://HOST:PORT); the first of several that answers is read
    #[arg(required = true, value_delimiter = ',', value_name = "ENDPOINT")]
    endpoints: Vec<String>,
    /// PEM file of the CA of etcd's server certificates
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// PEM file of a client's certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Only keys that begin so
    #[arg(long, default_value = "")]
    prefix: String,
    #[command(flatten)]
    first: FirstReplica,
}

/// Pages that wait to be written.
const QUEUE: usize = 4;
/// Bytes of keys and values after which another transaction begins.
const TXN_BYTES: usize = 4 << 20;

type Page = Result<Vec<KeyValue>, Failure>;

pub(super) async fn run(args: ImportArgs) -> Result<(), Failure> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    restore::check_empty(&args.first.data_dir)?;
    let access = Access { ca: args.cacert, certificate: args.cert, key: args.key };
    let mut etcd = Etcd::connect(&args.endpoints, &access, args.prefix.as_bytes()).await?;
    let cut = etcd.look().await?;
    println!("{}: {} keys at revision {}", etcd.url, cut.keys, cut.revision);

    let mut anew = args.first.anew(Kind::Store, restore::MIN_JUMP);
    anew.jump = anew.jump.saturating_add(cut.revision);
    let (pages, mut come) = mpsc::channel(QUEUE);
    let fetched = tokio::spawn(async move {
        etcd.fetch(cut.revision, &pages).await;
        etcd
    });
    let (begun, read) = tokio::task::block_in_place(|| fill(&anew, cut, || come.blocking_recv()))?;
    let written = tokio::task::block_in_place(|| tally::of_store(&anew.data_dir))?;
    if written.sum() != read.sum() {
        let dir = anew.data_dir.display();
        return Err(format!("{dir} holds {written}, and {read} were read: remove it, and look at its disk").into());
    }
    println!("{written}: the same as were read");
    let description = Description::of_keyless_store(crate::now(), cut.revision);
    let cluster = args.first.install(&description, anew.cluster_id, Begun { newest: cut.revision, ..begun })?;
    args.first.report("imported", "etcd's newest", Kind::Store, &cluster);
    warn(&read, cut, fetched.await?.look().await?);
    Ok(())
}

/// What is not in the copy.
fn warn(read: &Tally, cut: Cut, now: Cut) {
    if read.leased > 0 {
        println!("leases were not copied: {} keys that had one stay until somebody deletes them", read.leased);
    }
    if now.revision > cut.revision {
        println!(
            "etcd is at revision {} by now: what was written after {} is not in the copy; stop its clients, and import \
             anew",
            now.revision, cut.revision
        );
    }
}

/// Makes the store of all pages, and says what was in them. Blocks.
fn fill(anew: &Anew, cut: Cut, mut next: impl FnMut() -> Option<Page>) -> Result<(Begun, Tally), Failure> {
    std::fs::create_dir_all(anew.data_dir.parent().unwrap_or(&anew.data_dir))?;
    let (mut read, mut failure, mut waiting) = (Tally::default(), None, Vec::new());
    let bar = progress::count("keys", cut.keys);
    let begun = anew::import(anew, restore::incarnation(), || {
        if let Some(txn) = waiting.pop() {
            return Ok(Some(txn));
        }
        let page = match next() {
            Some(page) => page,
            None if read.keys == cut.keys => return Ok(None),
            None => Err(format!("etcd sent {} of {} keys; import anew", read.keys, cut.keys).into()),
        };
        let page = page.map_err(|error| {
            failure = Some(error);
            StoreError::Unavailable("etcd could not be read".into())
        })?;
        page.iter().for_each(|kv| read.add(&kv.key, &kv.value, kv.lease != 0));
        bar.set_position(read.keys);
        waiting = transactions(page);
        Ok(waiting.pop())
    });
    bar.finish_and_clear();
    match (begun, failure) {
        (_, Some(failure)) => Err(failure),
        (begun, None) => Ok((begun?, read)),
    }
}

/// The last one is to be written first.
fn transactions(page: Vec<KeyValue>) -> Vec<Txn> {
    let (mut all, mut bytes) = (vec![Txn::default()], 0);
    for KeyValue { key, value, .. } in page {
        let size = key.len() + value.len();
        if bytes > 0 && bytes + size > TXN_BYTES {
            all.push(Txn::default());
            bytes = 0;
        }
        bytes += size;
        if let Some(txn) = all.last_mut() {
            txn.success.push(Op::Put { key, value, lease: 0 });
        }
    }
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, bytes: usize) -> KeyValue {
        KeyValue { key: key.to_owned().into(), value: vec![b'v'; bytes].into(), lease: 7, ..KeyValue::default() }
    }

    fn anew(dir: &std::path::Path) -> Anew {
        Anew {
            data_dir: dir.join("store"),
            cluster_id: "abcd".into(),
            peer_addr: "a:2380".into(),
            api_url: "https://a:2379".into(),
            jump: 1000,
        }
    }

    #[test]
    fn all_pages_become_a_store_and_what_is_read_back_is_the_same() {
        let dir = tempfile::tempdir().expect("dir");
        let mut pages = vec![vec![kv("c", 10)], vec![kv("a", 3 << 20), kv("b", 3 << 20)]];
        let cut = Cut { revision: 70, keys: 3 };
        let (begun, read) = fill(&anew(dir.path()), cut, || pages.pop().map(Ok)).expect("filled");
        assert_eq!((read.keys, read.leased), (3, 3));
        assert_eq!(begun.newest, 1 + 3, "one transaction a page, or more of a large one");
        assert_eq!(begun.revision, begun.newest + 1000);
        let written = tally::of_store(&dir.path().join("store")).expect("read back");
        assert_eq!(written.sum(), read.sum());
        let mut other = Tally::default();
        other.add(b"a", b"v", false);
        assert_ne!(other.sum(), read.sum());
    }

    #[test]
    fn a_source_that_fails_or_ends_early_leaves_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        let cut = Cut { revision: 70, keys: 2 };
        let mut pages = vec![vec![kv("a", 1)]];
        let error = fill(&anew(dir.path()), cut, || pages.pop().map(Ok)).expect_err("short").to_string();
        assert!(error.contains("1 of 2 keys"), "{error}");
        let mut pages = vec![Err("compacted".into()), Ok(vec![kv("a", 1)])];
        let error = fill(&anew(dir.path()), cut, || pages.pop()).expect_err("it failed").to_string();
        assert_eq!(error, "compacted");
        let long = "k".repeat(5000);
        let mut pages = vec![vec![kv(&long, 1), kv("b", 1)]];
        let error = fill(&anew(dir.path()), cut, || pages.pop().map(Ok)).expect_err("too long").to_string();
        assert!(error.contains("key of 5000 bytes"), "{error}");
        assert!(!dir.path().join("store").exists());
    }
}
