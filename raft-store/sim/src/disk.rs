//! One replica's disk: real files of the real databases, and what a power cut or bad luck makes of them.
//!
//! The raft log is files that are only appended to: a power cut cuts them somewhere behind what is durable, or leaves
//! zeros there. The state has no log of its own: whatever ends the process, what was not flushed is lost. A database
//! that is closed flushes, so its files are kept as they are before. What was begun and never became part of the state
//! is left in part ([`damage`]).

mod damage;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kontiki_proto::log as proto;
use parking_lot::Mutex;
use prost::Message as _;
use store_api::{NodeId, StoreError};
use store_node::world::{LogDisk, LogEvent};

use crate::facts::{Entry, Fact, promise};
use crate::plant::Plant;
use crate::rng::Rng;
use crate::shared::Shared;

/// Bytes free on a disk that is not full.
pub(crate) const PLENTY: u64 = 1 << 40;

pub(crate) struct Disk {
    host: NodeId,
    pub(crate) dir: PathBuf,
    shared: Arc<Shared>,
    plant: Option<Plant>,
    state: Mutex<State>,
    me: Weak<Self>,
}

struct State {
    rng: Rng,
    /// Longest time a sync takes, milliseconds.
    slow: u64,
    /// The next sync fails.
    failing: bool,
    free: u64,
    /// Out of a hundred writes, so many do not fit.
    tight: u64,
    /// Files of the log and how much of them no power cut takes away.
    durable: BTreeMap<PathBuf, u64>,
    /// The mark of synced writes as it was some time ago.
    mark: Option<Vec<u8>>,
}

impl Disk {
    pub(crate) fn new(host: NodeId, dir: &Path, shared: Arc<Shared>, rng: Rng, plant: Option<Plant>) -> Arc<Self> {
        let state =
            State { rng, slow: 3, failing: false, free: PLENTY, tight: 0, durable: BTreeMap::new(), mark: None };
        let (dir, state) = (dir.into(), Mutex::new(state));
        Arc::new_cyclic(|me| Self { host, dir, shared, plant, state, me: me.clone() })
    }

    pub(crate) fn set_slow(&self, milliseconds: u64) {
        self.state.lock().slow = milliseconds;
    }

    pub(crate) fn fail_next(&self, fails: bool) {
        self.state.lock().failing = fails;
    }

    pub(crate) fn set_free(&self, bytes: u64) {
        self.state.lock().free = bytes;
    }

    pub(crate) fn free(&self) -> u64 {
        self.state.lock().free
    }

    /// Out of a hundred writes, so many do not fit from now on.
    pub(crate) fn set_tight(&self, percent: u64) {
        self.state.lock().tight = percent;
    }

    /// How much of a write fits. Of one that does not, less than any record of the log is left.
    pub(crate) fn fits(&self, bytes: usize) -> usize {
        const LEFT: u64 = 9;
        let mut state = self.state.lock();
        let State { rng, tight, .. } = &mut *state;
        match *tight > 0 && rng.percent(*tight) {
            true => rng.number(0..LEFT.min(bytes as u64)) as usize,
            false => bytes,
        }
    }

    /// Everything is durable some milliseconds after it was said to be.
    fn sync_later(&self, wait: u64) {
        let (Some(me), host) = (self.me.upgrade(), self.host) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wait + 1)).await;
            me.synced();
            me.shared.tell(Fact::Synced { host });
        });
    }

    fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Everything is durable: after the databases were opened.
    pub(crate) fn opened(&self) {
        self.keep(&self.log_dir());
        if self.lies() {
            self.state.lock().mark = fs::read(self.dir.join("log/MARK")).ok();
        }
    }

    /// What was synced may not be durable.
    fn lies(&self) -> bool {
        matches!(self.plant, Some(Plant::SyncIsNoSync | Plant::AckBeforeSync))
    }

    fn keep(&self, database: &Path) {
        let found = log_files(database);
        self.state.lock().durable.extend(found);
    }

    /// Before the process is no more: the state's files as they are.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        let (state, image) = (self.dir.join("state"), self.dir.join("state.image"));
        if image.exists() {
            fs::remove_dir_all(&image)?;
        }
        match state.is_dir() {
            true => copy(&state, &image),
            false => Ok(()),
        }
    }

    /// After it: they are so again.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        let (state, image) = (self.dir.join("state"), self.dir.join("state.image"));
        if image.exists() {
            fs::remove_dir_all(&state)?;
            fs::rename(&image, &state)?;
        }
        Ok(())
    }

    fn synced(&self) {
        if self.plant == Some(Plant::SyncIsNoSync) {
            return;
        }
        self.keep(&self.log_dir());
        let mut state = self.state.lock();
        if state.rng.once_in(8) || self.plant == Some(Plant::AckBeforeSync) {
            state.mark = fs::read(self.dir.join("log/MARK")).ok();
        }
    }

    /// Power goes: what was not durable is there, or not, or in part. The databases must be closed.
    pub(crate) fn lose_power(&self) -> io::Result<String> {
        let mut lost = 0;
        for (file, length) in log_files(&self.log_dir()) {
            let mut state = self.state.lock();
            let durable = state.durable.get(&file).copied().unwrap_or(0).min(length);
            let left = match state.rng.number(0..3) {
                0 => durable,
                1 => length,
                _ => state.rng.number(durable..length + 1),
            };
            let zeros = state.rng.once_in(4);
            drop(state);
            lost += length - left;
            tear(&file, left, length, zeros)?;
        }
        let mut state = self.state.lock();
        let old = state.mark.take();
        if let Some(old) = old.filter(|_| state.rng.once_in(2) || self.lies()) {
            fs::write(self.dir.join("log/MARK"), old)?;
        }
        let left = damage::leave_torn(&self.dir, &mut state.rng)?;
        Ok(format!("{lost} bytes were not durable{left}"))
    }

    /// Changes one bit of what is durable of the raft log, or of its mark; or of the state. Neither must be open.
    pub(crate) fn flip_a_bit(&self, state: bool) -> io::Result<Option<String>> {
        let mut files: Vec<(PathBuf, u64)> = match state {
            true => damage::files_of_state(&self.dir),
            false => log_files(&self.log_dir()).into_iter().collect(),
        };
        files.retain(|(_, length)| *length > 0);
        if !state {
            files.push((self.dir.join("log/MARK"), 16));
        }
        damage::flip(&files, &mut self.state.lock().rng)
    }

    /// Changes one bit of a snapshot that is on its way in or out, if there is one.
    pub(crate) fn flip_a_snapshot(&self) -> io::Result<Option<String>> {
        let files = damage::files_below(&self.dir.join("snapshots"));
        damage::flip(&files, &mut self.state.lock().rng)
    }

    /// The disk is gone, and perhaps what lies beside it.
    pub(crate) fn wipe(&self, witness: bool) -> io::Result<()> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        let beside = self.dir.with_added_extension("member");
        if witness && beside.exists() {
            fs::remove_file(beside)?;
        }
        let mut state = self.state.lock();
        state.durable.clear();
        state.mark = None;
        Ok(())
    }
}

/// Leaves `left` of the `length` bytes of a file, or all of them with zeros behind.
fn tear(file: &Path, left: u64, length: u64, zeros: bool) -> io::Result<()> {
    if left == length {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(file)?;
    file.set_len(left)?;
    if zeros {
        // The system had made the file longer, and never wrote into it.
        file.set_len(length)?;
    }
    Ok(())
}

fn log_files(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeMap::new() };
    let files = entries.flatten().map(|entry| entry.path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.filter_map(|path| Some((path.clone(), fs::metadata(&path).ok()?.len()))).collect()
}

/// A directory as it is at one moment. Table files never change, so they are linked; before the manifest, and after it
/// those that came meanwhile.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for tables in [true, false, true] {
        for entry in fs::read_dir(from)? {
            let (path, copied) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
            let is_table = path.extension().is_some_and(|extension| extension == "sst");
            let done = match path.is_dir() {
                true if tables => continue,
                true => copy(&path, &copied),
                false if is_table != tables || (is_table && copied.exists()) => continue,
                false if is_table => fs::hard_link(&path, &copied),
                false => fs::copy(&path, &copied).map(drop),
            };
            match done {
                // A table that was merged into another one meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
    }
    Ok(())
}

#[async_trait]
impl LogDisk for Disk {
    async fn sync(&self) -> Result<(), StoreError> {
        let (wait, fails) = {
            let mut state = self.state.lock();
            let slow = state.slow;
            (state.rng.number(0..slow + 1), state.failing)
        };
        if self.plant == Some(Plant::AckBeforeSync) && !fails {
            self.sync_later(wait);
            return Ok(());
        }
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        match fails {
            true => Err(StoreError::Fatal("the simulated disk failed".into())),
            false => Ok(()),
        }
    }

    fn happened(&self, event: LogEvent<'_>) {
        let host = self.host;
        let fact = match event {
            LogEvent::Appended(entries) => {
                let entries = entries.iter().filter_map(|(_, bytes)| Entry::decode(bytes)).collect();
                Fact::Appended { host, entries }
            }
            LogEvent::Synced => Fact::Synced { host },
            LogEvent::Voted(vote) => Fact::Voted { host, promise: vote_of(vote) },
            LogEvent::Truncated(from) => Fact::Truncated { host, from },
            LogEvent::Purged(to) => Fact::Purged { host, to },
        };
        // It is not, as long as it comes later.
        if self.plant == Some(Plant::AckBeforeSync) && matches!(fact, Fact::Synced { .. }) {
            return;
        }
        if !matches!(fact, Fact::Appended { .. }) {
            self.synced();
        }
        self.shared.tell(fact);
    }
}

fn vote_of(bytes: &Bytes) -> store_node::Promise {
    proto::Vote::decode(bytes.clone()).map(promise).unwrap_or_default()
}
