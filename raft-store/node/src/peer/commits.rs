//! What is committed travels with the next entries, where those are about to leave anyway. Of a stream of writes, one
//! after the other, every second request would say that alone; who receives it wakes, and works, once more for each
//! write.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, timeout_at};

use crate::types::TypeConfig;

type Request = AppendEntriesRequest<TypeConfig>;

/// Entries that follow each other so closely are a stream; the next ones are waited for twice as long as that took.
const CLOSE: Duration = Duration::from_millis(3);
/// Where they were waited for in vain, nothing waits for so long: whoever writes next may be waiting for what was held
/// back, at a watch there.
const IN_VAIN: Duration = Duration::from_secs(1);

struct Commits<S, W> {
    input: S,
    /// Whether somebody there waits to learn what is committed.
    is_awaited: W,
    /// When entries left last, and how long after those before.
    last: Option<(Instant, Duration)>,
    /// When entries were last waited for in vain.
    in_vain: Option<Instant>,
    begun: bool,
}

/// The requests of one stream to another replica, fewer of them without entries.
pub(super) fn with_entries<S>(input: S, is_awaited: impl Fn() -> bool) -> impl Stream<Item = Request>
where
    S: Stream<Item = Request> + Unpin,
{
    let commits = Commits { input: input.fuse(), is_awaited, last: None, in_vain: None, begun: false };
    stream::unfold(commits, |mut commits| async move { Some((commits.next().await?, commits)) })
}

impl<S: Stream<Item = Request> + Unpin, W: Fn() -> bool> Commits<S, W> {
    async fn next(&mut self) -> Option<Request> {
        let mut request = self.input.next().await?;
        // The first one is how the two find out whether they agree.
        if std::mem::replace(&mut self.begun, true)
            && let Some(until) = self.patience()
        {
            // What comes later says of what is committed at least as much.
            while request.entries.is_empty() {
                match timeout_at(until, self.input.next()).await {
                    Ok(Some(later)) => request = later,
                    Ok(None) => break,
                    Err(_) => {
                        self.in_vain = Some(Instant::now());
                        break;
                    }
                }
            }
        }
        if !request.entries.is_empty() {
            self.note(Instant::now());
        }
        Some(request)
    }

    fn note(&mut self, now: Instant) {
        let gap = self.last.map_or(Duration::MAX, |(last, _)| now.duration_since(last));
        self.last = Some((now, gap));
    }

    /// Until when the next entries are waited for.
    fn patience(&self) -> Option<Instant> {
        let (last, gap) = self.last.filter(|(_, gap)| *gap <= CLOSE)?;
        let in_vain = self.in_vain.is_some_and(|at| at.elapsed() < IN_VAIN);
        (!in_vain && !(self.is_awaited)()).then(|| last + gap * 2)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::codec::log_id_from_proto;
    use crate::types::{Entry, Vote};

    fn request(committed: u64, entry: Option<u64>) -> Request {
        let id = |index| log_id_from_proto(kontiki_proto::log::LogId { term: 1, node: 1, index });
        let entries = entry.map(|index| Entry { log_id: id(index), payload: openraft::EntryPayload::Blank });
        let entries = entries.into_iter().collect();
        let vote = Vote::new_committed(1, 1);
        AppendEntriesRequest { vote, prev_log_id: None, leader_commit: Some(id(committed)), entries }
    }

    /// What leaves, as the committed index, whether there are entries, and after how many milliseconds, when each of
    /// these comes so many milliseconds after the one before.
    async fn sent(coming: &[(u64, u64, Option<u64>)], is_awaited: bool) -> Vec<(u64, bool, u64)> {
        let (sender, receiver) = mpsc::channel(1);
        let coming = coming.to_vec();
        tokio::spawn(async move {
            for (pause, committed, entry) in coming {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                sender.send(request(committed, entry)).await.expect("it is read");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        let began = Instant::now();
        let sent = with_entries(ReceiverStream::new(receiver), move || is_awaited);
        let told = sent.map(|request| {
            let committed = request.leader_commit.map_or(0, |id| id.index());
            (committed, !request.entries.is_empty(), began.elapsed().as_millis() as u64)
        });
        told.collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_stream_of_writes_only_the_last_is_told_apart() {
        let writes = [(0, 0, Some(1)), (1, 1, None), (1, 1, Some(2)), (1, 2, None), (1, 2, Some(3)), (1, 3, None)];
        let close = sent(&writes, false).await;
        assert_eq!(close, [(0, true, 0), (1, false, 1), (1, true, 2), (2, true, 4), (3, false, 8)]);
        let awaited = sent(&writes, true).await;
        assert_eq!(awaited.len(), writes.len(), "somebody waits for each: {awaited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_in_vain_twice() {
        // Each write waits until the one before is seen there.
        let mut writes = vec![(0, 0, Some(1)), (2, 0, Some(2))];
        writes.extend((2..20).flat_map(|index| [(1, index, None), (1, index, Some(index + 1))]));
        let times = |sent: Vec<(u64, bool, u64)>| sent.into_iter().map(|(_, _, at)| at).collect::<Vec<_>>();
        assert!(times(sent(&writes, false).await).len() < writes.len());
        let mut paused = writes.clone();
        paused[3].0 = 50;
        let late = times(sent(&paused, false).await);
        assert_eq!((late.len(), &late[..4]), (writes.len(), &[0, 2, 6, 53][..]), "after the third none waits");
    }

    #[tokio::test(start_paused = true)]
    async fn writes_that_are_apart_are_told_at_once() {
        let writes = [(0, 0, Some(1)), (1, 1, None), (9, 1, Some(2)), (1, 2, None), (9, 2, Some(3)), (1, 3, None)];
        let at: Vec<u64> = sent(&writes, false).await.into_iter().map(|(_, _, at)| at).collect();
        assert_eq!(at, [0, 1, 10, 11, 20, 21]);
    }
}
