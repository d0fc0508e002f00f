//! How fast the engine is on this machine:
//!
//!     cargo run --release -p store-engine --example engine_bench [DIRECTORY]
//!
//! One thread, no network and no consensus: appends with fsync, groups applied, reads, a snapshot.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use store_api::{Compare, RangeRequest, ReadAt, RequestId, Txn};
use store_core::{Command, Reply};
use store_engine::{ApplyEntry, ApplyPayload, RaftLog, StateMachine};

const KEYS: u64 = 20_000;
const VALUE_BYTES: usize = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir_in(std::env::args().nth(1).unwrap_or_else(|| ".".into()))?;
    log(dir.path())?;
    let state = StateMachine::open(dir.path())?;
    let revisions = create(&state)?;
    for group in [1, 16, 256] {
        update(&state, &revisions, group)?;
    }
    reads(&state)?;
    snapshot(&state, dir.path())?;
    println!("{} MB on disk", state.disk_bytes() >> 20);
    Ok(())
}

fn report(what: &str, count: u64, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what:<44} {:>10.0}/s {:>8.1} us each", count as f64 / seconds, seconds / count as f64 * 1e6);
}

fn log(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let log = RaftLog::open(dir)?;
    let entry = Bytes::from(vec![b'e'; VALUE_BYTES]);
    let mut index = 1;
    for (group, rounds) in [(1, 500), (32, 200)] {
        let began = Instant::now();
        for _ in 0..rounds {
            let entries: Vec<(u64, Bytes)> = (index..index + group).map(|index| (index, entry.clone())).collect();
            log.append(&entries)?;
            log.sync()?;
            index += group;
        }
        report(&format!("log: append {group} and sync"), rounds * group, began);
    }
    Ok(())
}

fn key(n: u64) -> Bytes {
    Bytes::from(format!("/registry/pods/namespace-{:03}/pod-{n:06}", n % 100))
}

/// The command as the log's entry number `index`.
fn entry(index: u64, command: Command) -> ApplyEntry {
    let log_id = Bytes::copy_from_slice(&index.to_be_bytes());
    ApplyEntry { index, log_id, payload: ApplyPayload::Command(command) }
}

fn put(n: u64, seq: u64, expected: u64) -> Command {
    let value = Bytes::from(vec![seq as u8; VALUE_BYTES]);
    let request = Some(RequestId { client: 7, seq });
    Command::Txn(Txn { request, ..Txn::put(key(n), value).when(Compare::unchanged_since(key(n), expected)) })
}

/// Creates all keys; answers the revision of each.
fn create(state: &StateMachine) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    let began = Instant::now();
    for first in (0..KEYS).step_by(256) {
        let entries: Vec<ApplyEntry> = (first..KEYS.min(first + 256)).map(|n| entry(n, put(n, n, 0))).collect();
        state.apply(&entries)?;
    }
    report("state: create in groups of 256", KEYS, began);
    Ok((1..=KEYS).collect())
}

/// Compare-and-swap updates all over the keys.
fn update(state: &StateMachine, created: &[u64], group: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut revisions = std::collections::BTreeMap::new();
    let mut seq = state.revision() + KEYS;
    let rounds = (4096 / group).max(16);
    let began = Instant::now();
    for _ in 0..rounds {
        let mut entries = Vec::new();
        let mut picked = Vec::new();
        for _ in 0..group {
            seq += 1;
            let n = seq.wrapping_mul(2_654_435_761) % KEYS;
            let known = match revisions.get(&n) {
                Some(revision) => *revision,
                None => state.get(&key(n), None)?.0.map_or(created[n as usize], |kv| kv.mod_revision),
            };
            entries.push(entry(state.next_index() + entries.len() as u64, put(n, seq, known)));
            picked.push(n);
        }
        for (n, applied) in picked.into_iter().zip(state.apply(&entries)?) {
            if let Reply::Txn(reply) = applied.reply
                && reply.succeeded
            {
                revisions.insert(n, reply.revision);
            }
        }
    }
    report(&format!("state: update in groups of {group}"), rounds * group, began);
    Ok(())
}

fn reads(state: &StateMachine) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    for n in 0..KEYS {
        state.get(&key(n.wrapping_mul(2_654_435_761) % KEYS), None)?;
    }
    report("state: get", KEYS, began);
    let began = Instant::now();
    for n in 0..KEYS {
        state.get(&key(KEYS + n), None)?;
    }
    report("state: get of absent keys", KEYS, began);
    let request = RangeRequest::prefix(b"/registry/pods/", ReadAt::Local);
    let began = Instant::now();
    let count = state.range(&request, None)?.kvs.len() as u64;
    report("state: range, per key", count, began);
    let began = Instant::now();
    state.range(&RangeRequest { keys_only: true, ..request }, None)?;
    report("state: range of keys only, per key", count, began);
    let began = Instant::now();
    let (mut after, mut count) = (0, 0);
    while after < state.revision() {
        let revisions = state.events(after, u64::MAX, 1000)?;
        count += revisions.iter().map(|(_, events)| events.len() as u64).sum::<u64>();
        after = revisions.last().map_or(u64::MAX, |(revision, _)| *revision);
    }
    report("state: events from disk", count, began);
    Ok(())
}

fn snapshot(state: &StateMachine, dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let file = dir.join("snapshot");
    let began = Instant::now();
    let built = state.build_snapshot(&file)?;
    report("snapshot: build, per KiB", built.bytes / 1024, began);
    let began = Instant::now();
    state.install_snapshot(&file)?;
    report("snapshot: install, per KiB", built.bytes / 1024, began);
    let removing = state.revision() - 10;
    state.apply(&[entry(state.next_index(), Command::Compact { revision: removing })])?;
    let began = Instant::now();
    while state.collect_garbage(1000)? {}
    report("state: collect garbage, per revision", removing, began);
    Ok(())
}
