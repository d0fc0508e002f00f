//! The difference of two texts as `diff -u` shows it, found as Python's `difflib` does: the longest block of lines
//! that both have comes first, then what is before and behind it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

/// Unchanged lines shown around a change.
const CONTEXT: usize = 3;
/// Texts with more lines are not compared: it takes too long.
const MAX_LINES: usize = 2_000;
/// From so many lines on, a line that makes up more than a hundredth of them says nothing about what fits.
const MANY: usize = 200;

/// Lines `old` and `new` that stand where the others are; the same ones or not.
#[derive(Clone, Debug)]
struct Piece {
    same: bool,
    old: Range<usize>,
    new: Range<usize>,
}

/// Empty when there is nothing to tell, or too much.
pub(crate) fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut text = String::new();
    if old.len().max(new.len()) > MAX_LINES {
        return text;
    }
    for hunk in hunks(pieces(&old, &new)) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let (from, to) = (place(first.old.start, last.old.end), place(first.new.start, last.new.end));
        // Writing to a string does not fail.
        let _ = writeln!(text, "@@ -{from} +{to} @@");
        for piece in &hunk {
            if piece.same {
                write_lines(&mut text, ' ', &old[piece.old.clone()]);
            } else {
                write_lines(&mut text, '-', &old[piece.old.clone()]);
                write_lines(&mut text, '+', &new[piece.new.clone()]);
            }
        }
    }
    text
}

fn write_lines(text: &mut String, mark: char, lines: &[&str]) {
    for line in lines {
        text.push(mark);
        text.push_str(line);
        text.push('\n');
    }
}

/// `7`, `7,2`; of no lines the one before.
fn place(start: usize, end: usize) -> String {
    match end - start {
        0 => format!("{start},0"),
        1 => (start + 1).to_string(),
        count => format!("{},{count}", start + 1),
    }
}

/// Changes with the lines around them, apart where more lies between them.
fn hunks(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let count = pieces.len();
    let (mut hunks, mut hunk) = (Vec::new(), Vec::new());
    for (index, mut piece) in pieces.into_iter().enumerate() {
        let lines = piece.old.len();
        if piece.same && index + 1 == count {
            shorten(&mut piece, 0, lines.min(CONTEXT));
        } else if piece.same && index == 0 {
            shorten(&mut piece, lines.saturating_sub(CONTEXT), lines);
        } else if piece.same && lines > 2 * CONTEXT {
            let mut before = piece.clone();
            shorten(&mut before, 0, CONTEXT);
            hunk.push(before);
            hunks.push(std::mem::take(&mut hunk));
            shorten(&mut piece, lines - CONTEXT, lines);
        }
        hunk.push(piece);
    }
    hunks.push(hunk);
    hunks.retain(|hunk| hunk.iter().any(|piece| !piece.same));
    hunks
}

/// Keeps a part of a piece of unchanged lines.
fn shorten(piece: &mut Piece, from: usize, to: usize) {
    for lines in [&mut piece.old, &mut piece.new] {
        *lines = lines.start + from..lines.start + to;
    }
}

fn pieces(old: &[&str], new: &[&str]) -> Vec<Piece> {
    let mut found = Vec::new();
    let (mut at_old, mut at_new) = (0, 0);
    for (in_old, in_new, size) in blocks(old, new) {
        if at_old < in_old || at_new < in_new {
            found.push(Piece { same: false, old: at_old..in_old, new: at_new..in_new });
        }
        (at_old, at_new) = (in_old + size, in_new + size);
        if size > 0 {
            found.push(Piece { same: true, old: in_old..at_old, new: in_new..at_new });
        }
    }
    found
}

/// Where blocks begin in both, and of how many lines they are; an empty one ends them.
fn blocks(old: &[&str], new: &[&str]) -> Vec<(usize, usize, usize)> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(index);
    }
    if new.len() >= MANY {
        places.retain(|_, places| places.len() <= new.len() / 100 + 1);
    }
    let (mut found, mut open) = (Vec::new(), vec![(0..old.len(), 0..new.len())]);
    while let Some((in_old, in_new)) = open.pop() {
        let (start_old, start_new, size) = longest(old, new, &places, &in_old, &in_new);
        if size == 0 {
            continue;
        }
        found.push((start_old, start_new, size));
        open.push((in_old.start..start_old, in_new.start..start_new));
        open.push((start_old + size..in_old.end, start_new + size..in_new.end));
    }
    found.sort_unstable();
    let mut joined: Vec<(usize, usize, usize)> = Vec::new();
    for block in found {
        match joined.last_mut() {
            Some(last) if last.0 + last.2 == block.0 && last.1 + last.2 == block.1 => last.2 += block.2,
            _ => joined.push(block),
        }
    }
    joined.push((old.len(), new.len(), 0));
    joined
}

/// The first of the longest blocks in these parts of both.
fn longest(
    old: &[&str],
    new: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    in_old: &Range<usize>,
    in_new: &Range<usize>,
) -> (usize, usize, usize) {
    let (mut best_old, mut best_new, mut size) = (in_old.start, in_new.start, 0);
    // How long the block is that ends at a line of `new` and the line of `old` before.
    let mut ending: HashMap<usize, usize> = HashMap::new();
    for index in in_old.clone() {
        let mut now = HashMap::new();
        let all = places.get(old[index]).map_or(&[][..], Vec::as_slice);
        for &place in all.iter().filter(|place| in_new.contains(*place)) {
            let before = place.checked_sub(1).and_then(|place| ending.get(&place)).copied().unwrap_or(0);
            now.insert(place, before + 1);
            if before + 1 > size {
                (best_old, best_new, size) = (index - before, place - before, before + 1);
            }
        }
        ending = now;
    }
    while best_old > in_old.start && best_new > in_new.start && old[best_old - 1] == new[best_new - 1] {
        (best_old, best_new, size) = (best_old - 1, best_new - 1, size + 1);
    }
    while best_old + size < in_old.end && best_new + size < in_new.end && old[best_old + size] == new[best_new + size] {
        size += 1;
    }
    (best_old, best_new, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_diff_shows_it() {
        assert_eq!(unified("a\nb", "a\nb"), "");
        assert_eq!(unified("a\nb\nc", "a\nx\nc"), "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n");
        assert_eq!(unified("a", "a\nb"), "@@ -1 +1,2 @@\n a\n+b\n");
        let lines = |changed: &[usize]| {
            let line = |n: usize| if changed.contains(&n) { format!("new {n}") } else { n.to_string() };
            (0..20).map(line).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            unified(&lines(&[]), &lines(&[2, 15])),
            "@@ -1,6 +1,6 @@\n 0\n 1\n-2\n+new 2\n 3\n 4\n 5\n@@ -13,7 +13,7 @@\n 12\n 13\n 14\n-15\n+new 15\n 16\n 17\n 18\n"
        );
    }
}
