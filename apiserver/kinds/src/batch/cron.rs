//! The format of cron schedules: five fields, or `@daily` and the like.

use api_machinery::quote::quoted;

/// Name, least and most number, and names that stand for numbers.
type Field = (&'static str, i64, i64, &'static [&'static str]);

const FIELDS: [Field; 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of month", 1, 31, &[]),
    ("month", 1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    ("day of week", 0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
const DESCRIPTORS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with a schedule.
pub(crate) fn check(schedule: &str) -> Result<(), String> {
    if let Some(every) = schedule.strip_prefix("@every ") {
        return check_duration(every).map_err(|error| format!("failed to parse duration {schedule}: {error}"));
    }
    if schedule.starts_with('@') {
        let known = DESCRIPTORS.contains(&schedule);
        return if known { Ok(()) } else { Err(format!("unrecognized descriptor: {schedule}")) };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields.iter().zip(FIELDS).try_for_each(|(text, field)| check_field(text, field))
}

/// Parts with commas between them; empty ones say nothing.
fn check_field(text: &str, field: Field) -> Result<(), String> {
    text.split(',').filter(|part| !part.is_empty()).try_for_each(|part| check_part(part, field))
}

/// `1h30m`, of whatever sign, or `0`; the error is that of Go's parser.
fn check_duration(text: &str) -> Result<(), String> {
    let shown = quoted(text);
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    let invalid = || Err(format!("time: invalid duration {shown}"));
    if rest.is_empty() {
        return invalid();
    }
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    while !rest.is_empty() {
        let (number, after) = rest.split_at(number_len(rest));
        if !number.contains(|c: char| c.is_ascii_digit()) {
            return invalid();
        }
        let (unit, next) = after.split_at(after.find(is_of_number).unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {shown}"));
        }
        if !["ns", "us", "µs", "μs", "ms", "s", "m", "h"].contains(&unit) {
            return Err(format!("time: unknown unit {} in duration {shown}", quoted(unit)));
        }
        rest = next;
    }
    Ok(())
}

/// How much of the beginning of a text is a number with at most one point.
fn number_len(text: &str) -> usize {
    let mut points = 0;
    let end = text.find(|c: char| {
        points += usize::from(c == '.');
        !(c.is_ascii_digit() || (c == '.' && points == 1))
    });
    end.unwrap_or(text.len())
}

/// `*`, `3`, `1-5`, `*/2`, `1-9/3`, and `3/5`, which goes on to the end.
fn check_part(part: &str, field: Field) -> Result<(), String> {
    let (_, least, most, _) = field;
    let mut halves = part.split('/');
    let (range, step) = (halves.next().unwrap_or(""), halves.next());
    let bounds: Vec<&str> = range.split('-').collect();
    let (start, mut end) = match bounds[..] {
        ["*" | "?", ..] => (least, most),
        [one] => number(one, field).map(|one| (one, one))?,
        [start, end] => (number(start, field)?, number(end, field)?),
        _ => return Err(format!("too many hyphens: {part}")),
    };
    if halves.next().is_some() {
        return Err(format!("too many slashes: {part}"));
    }
    if bounds.len() == 1 && step.is_some() {
        end = most;
    }
    let step = step.map_or(Ok(1), integer)?;
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {part}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    Ok(())
}

fn number(text: &str, field: Field) -> Result<i64, String> {
    let (_, least, _, words) = field;
    let lower = text.to_lowercase();
    match words.iter().position(|word| *word == lower) {
        Some(index) => Ok(least + i64::try_from(index).unwrap_or(0)),
        None => integer(text),
    }
}

/// The error is that of Go's parser.
fn integer(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    let wrong = || format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", quoted(text));
    let number: i64 = text.parse().map_err(|_| wrong())?;
    if number < 0 { Err(format!("negative number ({number}) not allowed: {text}")) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules() {
        for good in [
            "* * * * *",
            "*/5 0-3 1,15 jan-MAR sun",
            "@daily",
            "@every 1h30m",
            "@every -1.5s",
            "0 0 ? * 6",
            "3/5 , 1,,2 * *",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "x",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "@never",
            "@every x",
            "* * * * 7",
            "1-2-3 * * * *",
            "*/2/3 * * * *",
            "@every 1.2.3s",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_are_those_of_upstreams_parsers() {
        for (schedule, error) in [
            ("x * * * *", r#"failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax"#),
            ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
            ("60/5 * * * *", "beginning of range (60) beyond end of range (59): 60/5"),
            ("@every 5", r#"failed to parse duration @every 5: time: missing unit in duration "5""#),
            ("@every 5d", r#"failed to parse duration @every 5d: time: unknown unit "d" in duration "5d""#),
        ] {
            assert_eq!(check(schedule), Err(error.to_owned()), "{schedule}");
        }
    }
}
