//! The format of cron schedules: five fields, or `@daily` and the like.

/// Fields: name, least and most number, and names that stand for numbers.
const FIELDS: [(&str, u32, u32, &[&str]); 5] = [
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
        return check_every(every).ok_or_else(|| format!("failed to parse duration {schedule}"));
    }
    if schedule.starts_with('@') {
        let known = DESCRIPTORS.contains(&schedule);
        return if known { Ok(()) } else { Err(format!("unrecognized descriptor: {schedule}")) };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields.iter().zip(FIELDS).try_for_each(|(text, field)| text.split(',').try_for_each(|part| check_part(part, field)))
}

/// `1h30m`
fn check_every(text: &str) -> Option<()> {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |end| digits + end);
        if digits == 0 || !["ns", "us", "µs", "ms", "s", "m", "h"].contains(&&rest[digits..unit]) {
            return None;
        }
        rest = &rest[unit..];
    }
    Some(())
}

/// `*`, `3`, `1-5`, `*/2`, `1-9/3`
fn check_part(part: &str, field: (&str, u32, u32, &[&str])) -> Result<(), String> {
    let (_, least, most, _) = field;
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    if let Some(step) = step {
        let number: u32 = step.parse().map_err(|_| format!("failed to parse int from {step}: invalid syntax"))?;
        if number == 0 {
            return Err(format!("step of range should be a positive number: {part}"));
        }
    }
    if range == "*" || range == "?" {
        return Ok(());
    }
    let (start, end) = range.split_once('-').unwrap_or((range, range));
    let (start, end) = (number(start, field)?, number(end, field)?);
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {part}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    Ok(())
}

fn number(text: &str, field: (&str, u32, u32, &[&str])) -> Result<u32, String> {
    let (_, least, _, words) = field;
    let lower = text.to_ascii_lowercase();
    if let Some(index) = words.iter().position(|word| *word == lower) {
        return Ok(least + u32::try_from(index).unwrap_or(0));
    }
    text.parse().map_err(|_| format!("failed to parse int from {text}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn schedules() {
        for good in ["* * * * *", "*/5 0-3 1,15 jan-MAR sun", "@daily", "@every 1h30m", "0 0 ? * 6"] {
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
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
