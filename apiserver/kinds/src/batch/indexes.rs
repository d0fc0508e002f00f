//! Lists of indexes of jobs: `1,3-5,7`.

/// How many indexes there are, or what is wrong; each is below `completions`, and they grow.
pub(crate) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut last, mut total) = (None, 0);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// First and last of `3-5` or of `3`.
fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| -> Result<i64, String> {
        let shown = serde_json::Value::from(text);
        let number: i64 = text.parse().map_err(|_| format!("cannot convert string to integer for index: {shown}"))?;
        if number >= completions { Err(format!("too large index: {shown}")) } else { Ok(number) }
    };
    let parts: Vec<&str> = text.split('-').collect();
    match parts[..] {
        [one] => number(one).map(|one| (one, one)),
        [first, last] => match (number(first)?, number(last)?) {
            (first, last) if first >= last => Err(format!("non-increasing order, previous: {first}, current: {last}")),
            both => Ok(both),
        },
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            serde_json::Value::from(text)
        )),
    }
}

/// The first index that is in both lists; what is no interval counts as none.
pub(crate) fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let others = intervals(other);
    let both = intervals(one).into_iter().flat_map(|(first, last)| {
        others.iter().filter(move |other| first <= other.1 && other.0 <= last).map(move |other| first.max(other.0))
    });
    both.min()
}

#[cfg(test)]
mod tests {
    use super::{count, overlap};

    #[test]
    fn lists() {
        assert_eq!((count("", 5), count("1,3-4", 5)), (Ok(0), Ok(3)));
        for bad in ["5", "x", "1-", "2-1", "2,1", "1-2-3", "1-2,2"] {
            assert!(count(bad, 5).is_err(), "{bad}");
        }
        assert_eq!((overlap("1,3-5", "2,5", 9), overlap("1", "2-3", 9), overlap("", "", 9)), (Some(5), None, None));
    }
}
