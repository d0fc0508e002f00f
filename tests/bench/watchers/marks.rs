//! What a change carries, so that whoever sees it knows which one it is and when it was sent. Pure.

use memchr::memmem::Finder;

const BEGINS: &str = "watch-load:";
const ENDS: u8 = b';';

/// Of one change: counted from 0, and microseconds on the clock of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) number: usize,
    pub(crate) sent: u64,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{BEGINS}{}:{}{}", self.number, self.sent, char::from(ENDS))
    }
}

/// Finds marks in a stream that comes in pieces, whatever else is in it.
pub(crate) struct Scanner {
    finder: Finder<'static>,
    /// What may be the beginning of one.
    rest: Vec<u8>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { finder: Finder::new(BEGINS), rest: Vec::new() }
    }
}

impl Scanner {
    pub(crate) fn feed(&mut self, piece: &[u8], mut found: impl FnMut(Mark)) {
        self.rest.extend_from_slice(piece);
        let mut done = 0;
        while let Some(at) = self.finder.find(&self.rest[done..]) {
            let text = done + at + BEGINS.len();
            let Some(length) = self.rest[text..].iter().position(|byte| *byte == ENDS) else {
                self.rest.drain(..done + at);
                return;
            };
            if let Some(mark) = parse(&self.rest[text..text + length]) {
                found(mark);
            }
            done = text + length;
        }
        let kept = (self.rest.len() - done).min(BEGINS.len() - 1);
        self.rest.drain(..self.rest.len() - kept);
    }
}

fn parse(text: &[u8]) -> Option<Mark> {
    let (number, sent) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some(Mark { number: number.parse().ok()?, sent: sent.parse().ok()? })
}

/// Which changes one watcher has seen.
#[derive(Default)]
pub(crate) struct Seen {
    words: Vec<u64>,
    /// Of each pod, which is changed in turns: the newest one seen.
    newest: Vec<Option<usize>>,
    /// Seen again, or after a later change of the same pod.
    pub(crate) disordered: usize,
}

impl Seen {
    pub(crate) fn of(pods: usize) -> Self {
        Self { newest: vec![None; pods], ..Self::default() }
    }

    pub(crate) fn see(&mut self, number: usize) {
        let pod = number % self.newest.len();
        if self.newest[pod].is_some_and(|newest| newest >= number) {
            self.disordered += 1;
        }
        self.newest[pod] = self.newest[pod].max(Some(number));
        let (word, bit) = (number / 64, number % 64);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << bit;
    }

    pub(crate) fn lacks(&self, number: usize) -> bool {
        self.words.get(number / 64).is_none_or(|word| word & (1 << (number % 64)) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_however_the_stream_is_cut() {
        let marks = [Mark { number: 7, sent: 1_000_001 }, Mark { number: 8, sent: 2 }];
        let stream = format!("{{\"a\":\"{}\"}}\nwatch-load watch-load:x; {{\"a\":\"{}\"}}\n", marks[0], marks[1]);
        for size in 1..stream.len() {
            let (mut scanner, mut found) = (Scanner::default(), Vec::new());
            stream.as_bytes().chunks(size).for_each(|piece| scanner.feed(piece, |mark| found.push(mark)));
            assert_eq!(found, marks, "in pieces of {size}");
            assert!(scanner.rest.len() < BEGINS.len());
        }
    }

    #[test]
    fn what_is_missing_or_comes_twice_or_late_is_noticed() {
        let mut seen = Seen::of(10);
        [0, 3, 70, 13].into_iter().for_each(|number| seen.see(number));
        assert_eq!(seen.disordered, 0);
        assert_eq!(
            [0, 1, 3, 13, 69, 70, 71, 1000].map(|number| seen.lacks(number)),
            [false, true, false, false, true, false, true, true]
        );
        seen.see(70);
        assert_eq!(seen.disordered, 1, "again");
        seen.see(60);
        assert_eq!(seen.disordered, 2, "after a later one of the same pod");
    }
}
