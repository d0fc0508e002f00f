//! A watcher sees every matching event once, in order, as it happened, over all its connections.
//!
//! The properties by name: filter, ordered, unique, reliable (nothing left out between the first and the last),
//! resumable, bookmark (nothing at or before it comes later, it never goes back, it is never ahead of the
//! cluster), future (nothing at or before the start), type, gap (a watch ends with 410 only when what it begins with
//! may have been compacted), global (a watcher that goes on at another replica does not go back), converge.

use super::Violations;
use crate::history::{CompactionLog, Connection, End, Event, Kind, Message, Start, WatchLog};
use crate::truth::Truth;

pub fn check(log: &WatchLog, truth: &Truth, compactions: &CompactionLog) -> Violations {
    let expected = truth.seen_through(&log.selector);
    let mut violations = Violations::new();
    let mut position: Option<u64> = None;
    for connection in &log.connections {
        if let (true, Some(before), Start::After(start)) = (log.resumes, position, connection.start)
            && start < before
        {
            violations.push(format!("went back from {before} to {start}"));
        }
        let mut reader = Reader::new(&expected, truth.upto, connection);
        reader.read(connection);
        violations.append(&mut reader.violations);
        violations.extend(ended(connection, truth, compactions));
        position = Some(position.unwrap_or(0).max(reader.position));
    }
    if !log.caught_up {
        violations.push(format!("did not get to {}, but stopped at {}", truth.upto, position.unwrap_or(0)));
    }
    violations.into_iter().map(|why| format!("{}: {why}", log.watcher)).collect()
}

/// 410 for what is kept, and what no server should say.
fn ended(connection: &Connection, truth: &Truth, compactions: &CompactionLog) -> Option<String> {
    let End::Error { code, why } = &connection.end else { return None };
    let ahead = matches!(connection.start, Start::After(start) if start > truth.from);
    let fine = match code {
        429 | 500..=503 => true,
        // A start that this replica has not reached.
        504 => ahead,
        410 => match connection.start {
            Start::After(start) => compactions.may_have_forgotten(start, connection.closed),
            Start::Initial => false,
        },
        _ => false,
    };
    (!fine).then(|| format!("{:?} through {} ended with {code} {why}", connection.start, connection.replica))
}

/// Follows one connection along what should come.
struct Reader<'a> {
    expected: &'a [Event],
    /// The first that has not come yet.
    next: usize,
    /// Nothing at or before this may come.
    position: u64,
    upto: u64,
    through: usize,
    /// The objects at the start are still coming.
    initial: bool,
    violations: Violations,
}

impl<'a> Reader<'a> {
    fn new(expected: &'a [Event], upto: u64, connection: &Connection) -> Self {
        let mut reader = Self {
            expected,
            next: 0,
            position: 0,
            upto,
            through: connection.replica,
            initial: true,
            violations: Violations::new(),
        };
        if let Start::After(start) = connection.start {
            reader.begin(start);
        }
        reader
    }

    fn begin(&mut self, start: u64) {
        self.initial = false;
        self.position = start;
        self.next = self.expected.partition_point(|event| event.revision() <= start);
    }

    fn read(&mut self, connection: &Connection) {
        for message in &connection.messages {
            match message {
                Message::Event(event) if self.initial => self.at_start(event),
                Message::Event(event) => self.event(event),
                Message::Bookmark { revision, initial_end: true } if self.initial => self.begin(*revision),
                Message::Bookmark { revision, .. } => self.bookmark(*revision),
            }
        }
    }

    fn wrong(&mut self, why: String) {
        self.violations.push(format!("{why} (through {})", self.through));
    }

    /// The state is checked with the lists; here only that it looks like one.
    fn at_start(&mut self, event: &Event) {
        if event.kind != Kind::Added {
            self.wrong(format!("{event:?} came among the objects at the start"));
        }
    }

    fn event(&mut self, event: &Event) {
        let at = event.revision();
        if at <= self.position {
            return self.wrong(format!("{at} came at or after {}: {event:?}", self.position));
        }
        while let Some(missed) = self.expected.get(self.next).filter(|expected| expected.revision() < at) {
            let missed = format!("missed {} of {} at {}", name(missed), missed.object.name, missed.revision());
            self.wrong(format!("{missed}: {at} came"));
            self.next += 1;
        }
        match self.expected.get(self.next).filter(|expected| expected.revision() == at) {
            Some(expected) if expected == event => {}
            Some(expected) => self.wrong(format!("{event:?} came, which was {expected:?}")),
            None => self.wrong(format!("{event:?} came, which did not happen or does not match")),
        }
        self.next = self.expected.partition_point(|expected| expected.revision() <= at);
        self.position = at;
    }

    fn bookmark(&mut self, revision: u64) {
        if revision < self.position {
            self.wrong(format!("a bookmark at {revision} came after {}", self.position));
        }
        if revision > self.upto {
            self.wrong(format!("a bookmark at {revision} came, the last revision is {}", self.upto));
        }
        while let Some(missed) = self.expected.get(self.next).filter(|expected| expected.revision() <= revision) {
            let missed = format!("missed {} of {} at {}", name(missed), missed.object.name, missed.revision());
            self.wrong(format!("{missed}: a bookmark at {revision} came"));
            self.next += 1;
        }
        self.position = self.position.max(revision);
    }
}

fn name(event: &Event) -> &'static str {
    match event.kind {
        Kind::Added => "ADDED",
        Kind::Modified => "MODIFIED",
        Kind::Deleted => "DELETED",
    }
}

#[cfg(test)]
mod tests {
    use Kind::{Added, Deleted, Modified};

    use super::*;
    use crate::checkers::support::*;
    use crate::history::{Compaction, CompactionOutcome, Selector};

    /// Nothing was compacted.
    fn check(log: &WatchLog, truth: &Truth) -> Violations {
        super::check(log, truth, &CompactionLog::default())
    }

    fn history() -> Truth {
        truth(&[
            (Added, 11, "a", "a1"),
            (Modified, 12, "a", "a2"),
            (Added, 13, "b", "b3"),
            (Modified, 15, "a", "a5"),
            (Deleted, 17, "a", "a5"),
            (Added, 18, "a", "a8"),
        ])
    }

    fn connection(start: Start, messages: Vec<Message>) -> Connection {
        Connection { replica: 1, start, opened: ms(0), closed: ms(9), messages, end: End::Closed }
    }

    fn log(selector: Selector, connections: Vec<Connection>) -> WatchLog {
        WatchLog { watcher: "w".into(), selector, resumes: true, connections, caught_up: true }
    }

    fn all(selector: &Selector) -> Vec<Message> {
        history().seen_through(selector).into_iter().map(Message::Event).collect()
    }

    /// The violations after a change to a whole and right sequence.
    fn planted(change: impl FnOnce(&mut Vec<Message>)) -> Violations {
        let mut messages = all(&Selector::Round);
        change(&mut messages);
        check(&log(Selector::Round, vec![connection(Start::After(10), messages)]), &history())
    }

    fn bookmark(revision: u64) -> Message {
        Message::Bookmark { revision, initial_end: false }
    }

    #[test]
    fn whole_sequences_pass() {
        assert_eq!(planted(|_| {}), Violations::new());
        assert_eq!(planted(|messages| messages.insert(3, bookmark(14))), Violations::new());
        assert_eq!(planted(|messages| messages.push(bookmark(18))), Violations::new());
        let red = Selector::Colour("red".into());
        let kinds: Vec<_> = history().seen_through(&red).iter().map(|event| (event.kind, event.revision())).collect();
        assert_eq!(kinds, [(Added, 12), (Deleted, 15), (Added, 18)], "entered, left, entered again");
        assert_eq!(
            check(&log(red.clone(), vec![connection(Start::After(10), all(&red))]), &history()),
            Violations::new()
        );
    }

    #[test]
    fn a_watcher_may_hop() {
        let messages = all(&Selector::Round);
        let first = connection(Start::After(10), messages[..2].to_vec());
        let second = Connection { replica: 2, ..connection(Start::After(12), messages[2..].to_vec()) };
        let hops = log(Selector::Round, vec![first.clone(), second.clone()]);
        assert_eq!(check(&hops, &history()), Violations::new());
        let behind = Connection { start: Start::After(11), messages: messages[1..].to_vec(), ..second.clone() };
        caught(&check(&log(Selector::Round, vec![first.clone(), behind]), &history()), "went back from 12 to 11");
        let resumed_late = Connection { messages: messages[3..].to_vec(), ..second };
        caught(&check(&log(Selector::Round, vec![first, resumed_late]), &history()), "missed ADDED of b at 13");
    }

    #[test]
    fn planted_violations_are_caught() {
        caught(&planted(|messages| drop(messages.remove(2))), "missed ADDED of b at 13");
        caught(&planted(|messages| messages.insert(2, messages[1].clone())), "12 came at or after 12");
        caught(&planted(|messages| messages.swap(1, 2)), "12 came at or after 13");
        caught(&planted(|messages| messages.insert(2, bookmark(13))), "missed ADDED of b at 13: a bookmark");
        caught(&planted(|messages| messages.insert(4, bookmark(12))), "a bookmark at 12 came after 15");
        caught(&planted(|messages| messages.push(bookmark(19))), "the last revision is 18");
        caught(
            &planted(|messages| messages.insert(0, Message::Event(event(Added, 9, "z", "z9")))),
            "9 came at or after 10",
        );
        caught(&planted(|messages| messages.push(Message::Event(event(Added, 19, "z", "z9")))), "did not happen");
        caught(&planted(|messages| messages[1] = Message::Event(event(Added, 12, "a", "a2"))), "which was Event");
        caught(&planted(|messages| messages[1] = Message::Event(event(Modified, 12, "a", "a1"))), "which was Event");
        // A deletion shows the object as it was last.
        caught(&planted(|messages| messages[4] = Message::Event(event(Deleted, 17, "a", "a2"))), "which was Event");
    }

    #[test]
    fn what_does_not_match_is_caught() {
        let red = Selector::Colour("red".into());
        let mut messages = all(&red);
        messages.insert(1, Message::Event(event(Added, 13, "b", "b3")));
        let violations = check(&log(red.clone(), vec![connection(Start::After(10), messages)]), &history());
        caught(&violations, "does not match");
        let mut stays = all(&red);
        stays.remove(1);
        caught(&check(&log(red, vec![connection(Start::After(10), stays)]), &history()), "missed DELETED of a at 15");
    }

    #[test]
    fn a_future_start_gets_nothing_before_it() {
        let early = connection(Start::After(17), all(&Selector::Round)[4..].to_vec());
        caught(&check(&log(Selector::Round, vec![early]), &history()), "17 came at or after 17");
        let bookmarked = connection(Start::After(17), vec![bookmark(15)]);
        caught(&check(&log(Selector::Round, vec![bookmarked]), &history()), "a bookmark at 15 came after 17");
    }

    #[test]
    fn ends_and_convergence_are_checked() {
        let ended = |code| {
            let end = End::Error { code, why: "x".into() };
            let connection = Connection { end, ..connection(Start::After(12), Vec::new()) };
            check(&log(Selector::Round, vec![connection]), &history())
        };
        caught(&ended(410), "ended with 410");
        let expired = |revision, invoked| {
            let end = End::Error { code: 410, why: "x".into() };
            let connection = Connection { end, ..connection(Start::After(12), Vec::new()) };
            let (invoked, outcome) = (ms(invoked), CompactionOutcome::Unknown("cut".into()));
            let compaction = Compaction { replica: 1, revision, invoked, returned: invoked, outcome };
            let compactions = CompactionLog { compactions: vec![compaction], ..CompactionLog::default() };
            super::check(&log(Selector::Round, vec![connection]), &history(), &compactions)
        };
        assert_eq!(expired(13, 5), Violations::new());
        caught(&expired(12, 5), "ended with 410");
        caught(&expired(13, 10), "ended with 410");
        caught(&ended(400), "ended with 400");
        assert_eq!(ended(503), Violations::new());
        let behind = WatchLog { caught_up: false, ..log(Selector::Round, Vec::new()) };
        caught(&check(&behind, &history()), "did not get to 18");
    }

    #[test]
    fn a_state_at_the_start_is_followed_by_every_change() {
        let initial_end = Message::Bookmark { revision: 13, initial_end: true };
        let at_start = [event(Added, 12, "a", "a2"), event(Added, 13, "b", "b3")].map(Message::Event);
        let messages = [&at_start[..], &[initial_end], &all(&Selector::Round)[3..]].concat();
        let run = |messages| check(&log(Selector::Round, vec![connection(Start::Initial, messages)]), &history());
        assert_eq!(run(messages.clone()), Violations::new());
        let mut missed = messages.clone();
        missed.remove(3);
        caught(&run(missed), "missed MODIFIED of a at 15");
        let mut modified = messages;
        modified[0] = Message::Event(event(Modified, 12, "a", "a2"));
        caught(&run(modified), "among the objects at the start");
    }
}
