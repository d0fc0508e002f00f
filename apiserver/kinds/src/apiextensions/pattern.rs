//! Whether a text is a regular expression of Go's syntax: what schemas ask of strings.
//!
//! Only the grammar is read: groups, classes, repetitions and escapes. What matches is decided elsewhere.

/// Messages of Go's parser.
pub(crate) fn is_wrong(pattern: &str) -> Option<String> {
    let mut reader = Reader { rest: pattern, may_repeat: false, open: 0 };
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
    /// Groups that are not closed yet.
    open: usize,
}

impl Reader<'_> {
    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn one(&mut self, c: char, pattern: &str) -> Result<(), String> {
        let repeats = self.may_repeat;
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
            '*' | '+' | '?' if !repeats => return Err(format!("missing argument to repetition operator: `{c}`")),
            '*' | '+' | '?' => self.lazy(),
            '{' => return self.count(repeats),
            _ => {}
        }
        Ok(())
    }

    /// A `?` after a repetition makes it lazy; a second repetition repeats nothing.
    fn lazy(&mut self) {
        self.rest = self.rest.strip_prefix('?').unwrap_or(self.rest);
        self.may_repeat = false;
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

    /// `{2}`, `{2,}`, `{2,5}`; any other brace is only a brace.
    fn count(&mut self, repeats: bool) -> Result<(), String> {
        /// The most that Go repeats.
        const MOST: u32 = 1000;
        let Some((inner, rest)) = self.rest.split_once('}') else { return Ok(()) };
        let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
        let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|c| c.is_ascii_digit()));
        let (Some(low), high_number) = (number(low), number(high)) else { return Ok(()) };
        if high_number.is_none() && !high.is_empty() {
            return Ok(());
        }
        if !repeats {
            return Err(format!("missing argument to repetition operator: `{{{inner}}}`"));
        }
        if low > MOST || high_number.is_some_and(|high| high > MOST || high < low) {
            return Err(format!("invalid repeat count: `{{{inner}}}`"));
        }
        self.rest = rest;
        self.lazy();
        Ok(())
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
    fn wrong_ones() {
        for pattern in ["(", ")", "[a", "*", "a**", "a{3,2}", "a{1001}", r"\", r"\8", "(?=x)", "[z-a]", "(|*)"] {
            assert!(is_wrong(pattern).is_some(), "{pattern}");
        }
    }
}
