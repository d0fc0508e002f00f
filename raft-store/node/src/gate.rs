//! Writes enter the log together. A batch costs flushes, messages and wakings, however much is in it: while some are
//! under way, the writes that come meanwhile wait, and are the next one. Where the others are far away, more are under
//! way at once, so that nobody waits for more than a few milliseconds before the way itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::propose::{Attempt, WRITE_TIMEOUT};
use crate::replica::Raft;
use crate::types::{LogCommand, TypeConfig};

/// Batches under way at least. While one waits for its quorum the next one's bytes are on their way.
const UNDER_WAY: usize = 2;
/// A batch of so many writes is followed by others as large.
const CROWD: usize = 4;
/// Then the next one has so many before it goes its way beside one under way. What a batch costs, however little is in
/// it, is what forty writes cost: ten clients made batches of two and a half, a hundred of twenty.
const COMPANY: usize = 32;
/// And at most.
const UNDER_WAY_FAR: usize = 128;
/// A round trip that takes so long makes room for one more. Nobody waits longer for company where the way is long.
const ROOM_EVERY: Duration = Duration::from_millis(2);
/// Writes of one batch at most.
const BATCH_WRITES: usize = 1_024;
/// Bytes of one batch at most, unless one write is larger.
const BATCH_BYTES: usize = 4 << 20;

type Refusal = ClientWriteError<TypeConfig>;

#[derive(Default)]
pub(crate) struct Gate(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    writes: VecDeque<Write>,
    under_way: usize,
    /// How many may be.
    places: usize,
    /// When the newest went its way.
    began: Option<Instant>,
    /// Writes of the newest batch.
    newest: usize,
}

struct Write {
    command: Bytes,
    answer: oneshot::Sender<Attempt>,
}

/// A place under way. Whoever has it and leaves passes it on to those who wait.
struct Slot {
    gate: Arc<Gate>,
    raft: Raft,
}

enum Entrance {
    Now(Slot),
    Later(oneshot::Receiver<Attempt>),
}

/// How many batches may be under way where a round trip takes so long.
fn places(round_trip: Duration) -> usize {
    let more = usize::try_from(round_trip.as_micros() / ROOM_EVERY.as_micros()).unwrap_or(UNDER_WAY_FAR);
    (UNDER_WAY + more).min(UNDER_WAY_FAR)
}

/// Proposes a command of this replica, which leads as far as it knows, and knows how long a round trip takes.
pub(crate) async fn enter(
    gate: &Arc<Gate>,
    raft: &Raft,
    command: Bytes,
    deadline: Instant,
    round_trip: Duration,
) -> Attempt {
    let late = || Attempt::Unknown("no quorum confirmed the write in time".into());
    match gate.arrive(raft, &command, places(round_trip)) {
        Entrance::Now(_slot) => match timeout_at(deadline, raft.client_write(LogCommand(command))).await {
            Ok(Ok(response)) => Attempt::Applied { index: response.log_id.index(), reply: Some(response.data.0) },
            Ok(Err(RaftError::APIError(refusal))) => refused(refusal),
            Ok(Err(RaftError::Fatal(fatal))) => failed(&fatal),
            Err(_) => late(),
        },
        Entrance::Later(answer) => match timeout_at(deadline, answer).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(_)) => Attempt::Unknown("this replica is stopping".into()),
            Err(_) => late(),
        },
    }
}

fn refused(refusal: Refusal) -> Attempt {
    match refusal {
        ClientWriteError::ForwardToLeader(to) => Attempt::NotLeader(to.leader_id),
        other => Attempt::Unknown(other.to_string()),
    }
}

fn failed(fatal: &Fatal<TypeConfig>) -> Attempt {
    Attempt::Unknown(fatal.to_string())
}

impl Gate {
    fn arrive(self: &Arc<Self>, raft: &Raft, command: &Bytes, places: usize) -> Entrance {
        let slot = || Slot { gate: self.clone(), raft: raft.clone() };
        let mut waiting = self.0.lock();
        waiting.places = places;
        let is_first = waiting.writes.is_empty();
        let mut goes = is_first && waiting.take_place(1, Instant::now());
        if goes && waiting.newest < CROWD {
            return Entrance::Now(slot());
        }
        let (answer, later) = oneshot::channel();
        waiting.writes.push_back(Write { command: command.clone(), answer });
        let count = waiting.writes.len();
        goes = goes || waiting.take_place(count, Instant::now());
        drop(waiting);
        if goes {
            slot().pass_on(is_first);
        }
        Entrance::Later(later)
    }

    /// Those who wait, as many as one batch takes, into the place of a batch that is through. Where nobody waits, or
    /// too few, the place is free.
    fn next(&self) -> Option<Vec<Write>> {
        let mut waiting = self.0.lock();
        waiting.under_way -= 1;
        let count = waiting.writes.len();
        if count == 0 || !waiting.take_place(count, Instant::now()) {
            return None;
        }
        let batch = waiting.batch();
        if batch.is_empty() {
            waiting.under_way -= 1;
            return None;
        }
        waiting.newest = batch.len();
        Some(batch)
    }
}

impl Waiting {
    /// Whether a batch of so many may go its way, which it then does. There is always one under way while some wait.
    fn take_place(&mut self, writes: usize, now: Instant) -> bool {
        let is_near = self.places == UNDER_WAY;
        let just = self.began.is_some_and(|began| now.duration_since(began) < ROOM_EVERY);
        let seeks_company = self.under_way > 0 && self.newest >= CROWD && writes < COMPANY && (is_near || just);
        let goes = self.under_way < self.places && !seeks_company;
        if goes {
            self.under_way += 1;
            self.began = Some(now);
        }
        goes
    }

    /// Who has given up is left out.
    fn batch(&mut self) -> Vec<Write> {
        let (mut batch, mut bytes) = (Vec::with_capacity(self.writes.len().min(BATCH_WRITES)), 0);
        while let Some(write) = self.writes.pop_front_if(|write| {
            batch.is_empty() || batch.len() < BATCH_WRITES && bytes + write.command.len() <= BATCH_BYTES
        }) {
            if !write.answer.is_closed() {
                bytes += write.command.len();
                batch.push(write);
            }
        }
        batch
    }
}

impl Slot {
    /// To those who wait; after those who are about to have come, too: what another replica forwards, or a connection
    /// has read, comes together.
    fn pass_on(self, others_come: bool) {
        let handle = Handle::try_current().ok().filter(|_| others_come);
        if let Some(handle) = handle {
            handle.spawn(async move {
                tokio::task::yield_now().await;
                drop(self);
            });
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(batch) = self.gate.next() else { return };
        let slot = Self { gate: self.gate.clone(), raft: self.raft.clone() };
        // A runtime that ends drops the task at once: with the batch, so that this ends, too.
        match Handle::try_current() {
            Ok(handle) => drop(handle.spawn(pass(slot, batch))),
            Err(_) => drop(batch),
        }
    }
}

async fn pass(slot: Slot, batch: Vec<Write>) {
    propose(&slot.raft, batch).await;
    // Whoever waits now is let in when the slot is dropped.
    drop(slot);
}

async fn propose(raft: &Raft, batch: Vec<Write>) {
    // Nobody waits for longer, whoever has come last.
    let deadline = Instant::now() + WRITE_TIMEOUT;
    let (commands, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|write| (LogCommand(write.command), write.answer)).unzip();
    let mut outcomes = match timeout_at(deadline, raft.client_write_many(commands)).await {
        // After an entry that nobody answered it ends, and may not be asked again.
        Ok(Ok(outcomes)) => outcomes.fuse(),
        Ok(Err(fatal)) => return answers.into_iter().for_each(|answer| drop(answer.send(failed(&fatal)))),
        // Their own deadlines tell them.
        Err(_) => return,
    };
    for answer in answers {
        let attempt = match timeout_at(deadline, outcomes.next()).await {
            Ok(Some(Ok(Ok(written)))) => {
                Attempt::Applied { index: written.log_id.index(), reply: Some(written.response.0) }
            }
            Ok(Some(Ok(Err(refusal)))) => refused(refusal),
            Ok(Some(Err(fatal))) => failed(&fatal),
            Ok(None) => Attempt::Unknown("this replica is stopping".into()),
            Err(_) => return,
        };
        // Who does not wait any more is told nothing.
        answer.send(attempt).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_goes_in_company() {
        let began = Instant::now();
        let of = |(under_way, places), newest, writes, after| {
            let mut waiting = Waiting { under_way, newest, places, began: Some(began), ..Waiting::default() };
            let goes = waiting.take_place(writes, began + Duration::from_millis(after));
            assert_eq!(waiting.under_way, under_way + usize::from(goes));
            goes
        };
        let (near, far) = ((1, 2), (1, 9));
        assert!(of((0, 2), 20, 1, 0), "nobody is under way");
        assert!(of(near, 3, 1, 0), "there are few");
        assert!(!of(near, 4, 31, 9));
        assert!(of(near, 4, 32, 0));
        assert!(!of((2, 2), 4, 99, 9), "no place is free");
        assert!(!of(far, 4, 31, 1));
        assert!(of(far, 4, 1, 2), "the way is long, and it waited for a while");
    }

    #[test]
    fn distance_makes_room() {
        let of =
            |millis: &[u64]| millis.iter().map(|millis| places(Duration::from_millis(*millis))).collect::<Vec<_>>();
        assert_eq!(of(&[0, 1, 2, 60, 180, 10_000]), [2, 2, 3, 32, 92, 128]);
        assert_eq!(places(Duration::MAX), 128);
    }
}
