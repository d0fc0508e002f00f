//! The order of keys: letters by themselves, runs of digits by their number, all else before both.

use api_machinery::Value;
use serde_json::Map;

/// Keys in upstream's order. That is none: `12` comes before `1a`, `1a` before `9`, and `9` before `12`. So it is not
/// for the library's sort, which may panic then; merging is content with any answer.
pub(super) fn sorted(map: &Map<String, Value>) -> Vec<&str> {
    merge_sorted(map.keys().map(String::as_str).collect())
}

fn merge_sorted(mut keys: Vec<&str>) -> Vec<&str> {
    if keys.windows(2).all(|pair| !is_less(pair[1], pair[0])) {
        return keys;
    }
    let right = merge_sorted(keys.split_off(keys.len() / 2));
    let left = merge_sorted(keys);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let taken = if is_less(other, one) { right.next() } else { left.next() };
        merged.extend(taken);
    }
    merged.extend(left.chain(right));
    merged
}

/// Decided at the first character that differs.
fn is_less(one: &str, other: &str) -> bool {
    let shared = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let (before, a, b): (&str, &str, &str) = (&one[..shared], &one[shared..], &other[shared..]);
    let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) else { return a.len() < b.len() };
    match (first.is_alphabetic(), second.is_alphabetic()) {
        (true, true) => return first < second,
        (false, false) => {}
        (_, second_is_letter) => return second_is_letter,
    }
    let within = (first == '0' || second == '0') && is_in_number(before);
    let ((number, digits), (other_number, other_digits)) = (run(a, within), run(b, within));
    (number, digits, first) < (other_number, other_digits, second)
}

/// Whether what stands before belongs to a number that is not all zeros.
fn is_in_number(before: &str) -> bool {
    before.bytes().rev().take_while(u8::is_ascii_digit).any(|digit| digit != b'0')
}

/// The number that the leading digits make, and how many they are.
fn run(text: &str, within: bool) -> (i64, usize) {
    let digits = text.bytes().take_while(u8::is_ascii_digit);
    digits.fold((i64::from(within), 0), |(number, count), digit| {
        (number.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')), count + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural() {
        let sort = |keys: &str| merge_sorted(keys.split(' ').collect()).join(" ");
        assert_eq!(sort("a10 a2 a1 b A"), "A a1 a2 a10 b");
        assert_eq!(sort("a-b a.b a/b ab a1 a_b"), "a-b a.b a/b a_b a1 ab");
        assert_eq!(sort("10 1- 12 01 1 001"), "1 1- 01 001 10 12");
        assert_eq!(sort("a aa"), "a aa");
        // Whatever comes of it, all are there.
        let mut all = merge_sorted(vec!["12", "1a", "9"]);
        all.sort_unstable();
        assert_eq!(all, ["12", "1a", "9"]);
    }
}
