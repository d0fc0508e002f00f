//! Which images go when the disk they are on fills up: those that nothing has used for longest.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::Now;

/// Percent of the disk in use from which images are removed, and down to which: upstream's defaults.
const HIGH: i128 = 85;
const LOW: i128 = 80;
/// An image is left alone for so long after it came: somebody has just pulled it.
const MINIMUM_AGE: SignedDuration = SignedDuration::from_mins(2);

/// A file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    pub capacity: i64,
    pub available: i64,
}

impl Disk {
    /// Bytes to free now.
    fn excess(self) -> i64 {
        let (capacity, available) = (i128::from(self.capacity), i128::from(self.available));
        let used = capacity - available;
        if capacity <= 0 || used * 100 < capacity * HIGH {
            return 0;
        }
        i64::try_from(used - capacity * LOW / 100).unwrap_or(i64::MAX)
    }
}

/// An image as the runtime lists it.
#[derive(Clone, Debug)]
pub struct Image {
    pub id: String,
    pub size: i64,
    /// Never removed: the runtime or the node cannot do without it.
    pub kept: bool,
}

#[derive(Clone, Debug)]
struct Record {
    image: Image,
    first_seen: Now,
    last_used: Option<Now>,
}

/// What is remembered of images between looks. No larger than the node's list of images.
#[derive(Clone, Debug, Default)]
pub struct Images {
    records: BTreeMap<String, Record>,
}

/// What is to be removed, and whether that is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    pub ids: Vec<String>,
    /// Bytes that should become free, and that these images are said to hold.
    pub wanted: i64,
    pub found: i64,
}

impl Images {
    /// Takes in what there is. `used`: ids of the images of all containers, dead ones included.
    pub fn look(&mut self, images: Vec<Image>, used: &BTreeSet<String>, now: Now) {
        let mut records = BTreeMap::new();
        for image in images {
            let known = self.records.remove(&image.id);
            let first_seen = known.as_ref().map_or(now, |record| record.first_seen);
            let last_used =
                if used.contains(&image.id) { Some(now) } else { known.and_then(|record| record.last_used) };
            records.insert(image.id.clone(), Record { image, first_seen, last_used });
        }
        self.records = records;
    }

    /// What to remove so that the disk is no longer full; nothing on a disk that is not.
    pub fn removal(&self, disk: Disk, now: Now) -> Removal {
        let wanted = disk.excess();
        let mut removal = Removal { wanted, ..Removal::default() };
        for record in self.unused(now) {
            if removal.found >= wanted {
                break;
            }
            removal.ids.push(record.image.id.clone());
            removal.found = removal.found.saturating_add(record.image.size);
        }
        removal
    }

    /// Everything that could go, the longest unused first.
    fn unused(&self, now: Now) -> Vec<&Record> {
        let old = |record: &&Record| now.duration_since(record.first_seen) >= MINIMUM_AGE;
        let idle = |record: &&Record| !record.image.kept && record.last_used != Some(now);
        let mut unused: Vec<_> = self.records.values().filter(idle).filter(old).collect();
        unused.sort_by_key(|record| (record.last_used, record.first_seen));
        unused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Now {
        Now::from_second(1_000_000 + seconds).expect("in range")
    }

    fn list(ids: &[&str]) -> Vec<Image> {
        ids.iter().map(|id| Image { id: (*id).to_owned(), size: 10, kept: *id == "pause" }).collect()
    }

    fn used(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_full_disk_loses_what_was_unused_for_longest() {
        let mut images = Images::default();
        images.look(list(&["old", "used", "pause", "never"]), &used(&["old", "used"]), at(0));
        images.look(list(&["old", "used", "pause", "never", "new"]), &used(&["used"]), at(200));
        let full = |percent: i64| Disk { capacity: 100, available: 100 - percent };
        assert_eq!(images.removal(full(84), at(200)).ids, [""; 0], "not full");
        assert_eq!(images.removal(full(85), at(200)).ids, ["never"], "5 bytes are enough");
        let removal = images.removal(full(100), at(200));
        assert_eq!(removal, Removal { ids: vec!["never".into(), "old".into()], wanted: 20, found: 20 });
        images.look(list(&["used", "pause", "new"]), &used(&["used"]), at(400));
        assert_eq!(images.removal(full(100), at(400)), Removal { ids: vec!["new".into()], wanted: 20, found: 10 });
    }
}
