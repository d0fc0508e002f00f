//! Whether a text is a regular expression of Go's syntax: what schemas ask of strings.
//!
//! Only the grammar is read: groups, classes, repetitions and escapes. What matches is decided elsewhere.

/// Messages of Go's parser.
pub(crate) fn is_wrong(pattern: &str) -> Option<String> {
    let mut reader = Reader { rest: pattern, may_repeat: false, last: None, open: 0 };
    while let Some(c) = reader.take() {
        if let Err(why) = reader.one(c, pattern) {
            return Some(format!("error parsing regexp: {why}"));
        }
    }
    (reader.open > 0).then(|| format!("error parsing regexp: missing closing ): `{pattern}`"))
}

struct Reader<'p> {
    rest: &'p str,
    /// Whether there is something that `*` can repeat.
    may_repeat: bool,
    /// The pattern from the repetition on that was read last; none if something else was.
    last: Option<&'p str>,
    /// Groups that are not closed yet.
    open: usize,
}

impl<'p> Reader<'p> {
    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn one(&mut self, c: char, pattern: &'p str) -> Result<(), String> {
        let repeats = self.may_repeat;
        let last = self.last.take();
        let here = &pattern[pattern.len() - self.rest.len() - c.len_utf8()..];
        self.may_repeat = true;
        match c {
            '\\' => return self.escape(),
            '[' => return self.class(pattern),
            '(' => {
                self.open += 1;
                self.may_repeat = false;
                return self.group();
            }
            ')' if self.open == 0 => return Err(format!("unexpected ): `{pattern}`")),
            ')' => self.open -= 1,
            '|' => self.may_repeat = false,
            '*' | '+' | '?' => return self.repeat(here, last, repeats),
            '{' if self.is_count()? => return self.repeat(here, last, repeats),
            _ => {}
        }
        Ok(())
    }

    /// What `here` begins with is a repetition of what is before. A `?` makes it lazy; what repeats a repetition is
    /// wrong.
    fn repeat(&mut self, here: &'p str, last: Option<&'p str>, repeats: bool) -> Result<(), String> {
        self.rest = self.rest.strip_prefix('?').unwrap_or(self.rest);
        let read = |from: &'p str| &from[..from.len() - self.rest.len()];
        if let Some(last) = last {
            return Err(format!("invalid nested repetition operator: `{}`", read(last)));
        }
        if !repeats {
            return Err(format!("missing argument to repetition operator: `{}`", read(here)));
        }
        self.last = Some(here);
        Ok(())
    }

    /// `(?:`, `(?i)`, `(?P<name>`: what follows the question mark must be known.
    fn group(&mut self) -> Result<(), String> {
        let Some(rest) = self.rest.strip_prefix('?') else { return Ok(()) };
        if rest.starts_with("P<") || (rest.starts_with('<') && !rest.starts_with("<=") && !rest.starts_with("<!")) {
            let end = rest.find('>').ok_or_else(|| format!("invalid named capture: `(?{rest}`"))?;
            self.rest = &rest[end + 1..];
            return Ok(());
        }
        let end =
            rest.find([':', ')']).filter(|end| rest[..*end].chars().all(|c| matches!(c, 'i' | 'm' | 's' | 'U' | '-')));
        let end = end
            .ok_or_else(|| format!("invalid or unsupported Perl syntax: `(?{}`", rest.chars().next().unwrap_or(' ')))?;
        if rest[end..].starts_with(')') {
            self.open -= 1;
        }
        self.rest = &rest[end + 1..];
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.take() {
            None => Err("trailing backslash at end of expression: ``".to_owned()),
            Some('p' | 'P' | 'x' | 'Q') => Ok(()),
            Some(c) if c.is_ascii_digit() && c != '0' => Err(format!("invalid escape sequence: `\\{c}`")),
            Some(c) if c.is_ascii_alphabetic() && !"AbBzdDsSwWaftnrvCE".contains(c) => {
                Err(format!("invalid escape sequence: `\\{c}`"))
            }
            Some(_) => Ok(()),
        }
    }

    fn class(&mut self, pattern: &str) -> Result<(), String> {
        let missing = || format!("missing closing ]: `{pattern}`");
        self.rest = self.rest.strip_prefix('^').unwrap_or(self.rest);
        let mut last = None;
        for first in std::iter::once(true).chain(std::iter::repeat(false)) {
            let c = self.take().ok_or_else(missing)?;
            match c {
                ']' if !first => return Ok(()),
                '\\' => {
                    self.escape()?;
                    last = None;
                }
                '[' if self.rest.starts_with(':') => {
                    let end = self.rest.find(":]").ok_or_else(missing)?;
                    self.rest = &self.rest[end + 2..];
                    last = None;
                }
                '-' => {
                    let high = self.rest.chars().next().filter(|high| !matches!(high, ']' | '\\' | '['));
                    if let (Some(low), Some(high)) = (last, high) {
                        if high < low {
                            return Err(format!("invalid character class range: `{low}-{high}`"));
                        }
                        self.take();
                        last = None;
                    }
                }
                other => last = Some(other),
            }
        }
        Err(missing())
    }

    /// Whether a brace begins `{2}`, `{2,}` or `{2,5}`, which is read then; any other brace is only a brace.
    fn is_count(&mut self) -> Result<bool, String> {
        /// The most that Go repeats.
        const MOST: u32 = 1000;
        let Some((inner, rest)) = self.rest.split_once('}') else { return Ok(false) };
        let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        if !is_number(low) || !(high.is_empty() || is_number(high)) {
            return Ok(false);
        }
        // Numbers too large to be read are too large to be repeated.
        let number = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        let (low, high) = (number(low), Some(high).filter(|high| !high.is_empty()).map(number));
        if low > MOST || high.is_some_and(|high| high > MOST || high < low) {
            return Err(format!("invalid repeat count: `{{{inner}}}`"));
        }
        self.rest = rest;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::is_wrong;

    #[test]
    fn right_ones() {
        for pattern in [
            "",
            "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
            r"^\d+(\.\d+)*$",
            "a{2,5}?",
            "a{,5}",
            "[]a]",
            "(?:x)|(?i)y",
            "[[:alpha:]_-]+",
            "(?P<n>x)",
            r"[^\]]*",
            r"\$\{x\}",
            "{",
            "[a-]",
        ] {
            assert_eq!(is_wrong(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn messages_are_those_of_go() {
        for (pattern, why) in [
            ("a**", "invalid nested repetition operator: `**`"),
            ("a+?{2}", "invalid nested repetition operator: `+?{2}`"),
            ("x|*", "missing argument to repetition operator: `*`"),
            ("{2}", "missing argument to repetition operator: `{2}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ] {
            assert_eq!(is_wrong(pattern), Some(format!("error parsing regexp: {why}")));
        }
    }

    #[test]
    fn wrong_ones() {
        for pattern in ["(", ")", "[a", "*", "a**", "a{3,2}", "a{1001}", r"\", r"\8", "(?=x)", "[z-a]", "(|*)"] {
            assert!(is_wrong(pattern).is_some(), "{pattern}");
        }
    }
}
