//! Names of old log files and which of them go. Pure; names and rules are lumberjack's, which upstream uses.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const FORMAT: &str = "%Y-%m-%dT%H-%M-%S.%3f";
pub(crate) const COMPRESSED: &str = ".gz";

/// `audit.log` was full at this time: `audit-2026-01-02T03-04-05.678.log`.
pub(crate) fn backup_name(path: &Path, time: Timestamp) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}-{}{extension}", time.strftime(FORMAT)))
}

fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = text(path.file_stem()).unwrap_or_else(|| "audit".to_owned());
    (stem, text(path.extension()).map_or_else(String::new, |extension| format!(".{extension}")))
}

/// When the file of this name, beside `path`, was full; `None` for what is none of ours.
pub(crate) fn time_of(path: &Path, name: &str) -> Option<Timestamp> {
    let (stem, extension) = parts(path);
    let name = name.strip_suffix(COMPRESSED).unwrap_or(name);
    let time = name.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(&extension)?;
    let time = DateTime::strptime(FORMAT, time).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// How many old files stay, and how long. 0: without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    pub backups: usize,
    pub days: u32,
}

/// The old files that go. A file and its compressed copy count once.
pub(crate) fn outdated(mut old: Vec<(String, Timestamp)>, keep: Keep, now: Timestamp) -> Vec<String> {
    old.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let age = |time: Timestamp| now.duration_since(time).as_hours() / 24;
    let mut times: Vec<Timestamp> = Vec::new();
    let mut gone = Vec::new();
    for (name, time) in old {
        if times.last() != Some(&time) {
            times.push(time);
        }
        let too_many = keep.backups > 0 && times.len() > keep.backups;
        if too_many || (keep.days > 0 && age(time) >= i64::from(keep.days)) {
            gone.push(name);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn names_say_when_a_file_was_full() {
        let path = Path::new("/var/log/audit.log");
        let full = time("2026-01-02T03:04:05.678Z");
        let name = backup_name(path, full);
        assert_eq!(name, Path::new("/var/log/audit-2026-01-02T03-04-05.678.log"));
        let of = |name: &str| time_of(path, name);
        assert_eq!(of("audit-2026-01-02T03-04-05.678.log"), Some(full));
        assert_eq!(of("audit-2026-01-02T03-04-05.678.log.gz"), Some(full));
        for other in ["audit.log", "audit-.log", "audit-2026.log", "other-2026-01-02T03-04-05.678.log", "audit-x.txt"] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(backup_name(Path::new("audit"), full), Path::new("audit-2026-01-02T03-04-05.678"));
    }

    #[test]
    fn too_many_and_too_old_ones_go() {
        let day = |day: u32| time(&format!("2026-01-{day:02}T00:00:00Z"));
        let old = || [3, 1, 5, 4, 2].map(|at| (format!("f{at}"), day(at))).to_vec();
        let gone = |backups, days| outdated(old(), Keep { backups, days }, day(6));
        assert_eq!(gone(0, 0), [""; 0]);
        assert_eq!(gone(2, 0), ["f3", "f2", "f1"]);
        assert_eq!(gone(0, 4), ["f2", "f1"]);
        assert_eq!(gone(4, 2), ["f4", "f3", "f2", "f1"]);
        let both = vec![("f1".to_owned(), day(1)), ("f1.gz".to_owned(), day(1)), ("f2".to_owned(), day(2))];
        assert_eq!(outdated(both, Keep { backups: 2, days: 0 }, day(3)), [""; 0]);
    }
}
