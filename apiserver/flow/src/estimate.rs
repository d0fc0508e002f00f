//! How wide a request is, from what it asks for. Pure; numbers are upstream's (gates `SizeBasedListCostEstimate` and
//! `WatchList`, both on in v1.36).

use std::time::Duration;

use crate::work::{SeatSeconds, Work};

/// Bytes that are in memory at once while a list is answered, for each of its seats.
const BYTES_PER_SEAT: u64 = 100_000;
/// A list from the cache is sent while it is made: no more of it is in memory at once (bytes).
const STREAMED_BYTES: u64 = 1_000_000;
const MAX_LIST_SEATS: u64 = 100;
const MAX_WRITE_SEATS: u64 = 10;
/// Watches to be told of a change, for each seat.
const WATCHES_PER_SEAT: u64 = 10;
/// What telling so many takes.
const TELLING: Duration = Duration::from_millis(5);

/// What is stored of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub objects: u64,
    pub bytes: u64,
}

/// A list, or a watch that begins with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListShape {
    pub stored: Stored,
    /// 0: all.
    pub limit: u64,
    /// One object, by name.
    pub single: bool,
}

fn bounded(seats: u64, level_max: Option<u64>, max: u64) -> u64 {
    let max = level_max.filter(|own| *own > 0).map_or(max, |own| own.min(max));
    seats.clamp(1, max)
}

/// All lists are answered from the cache of this replica.
pub fn list(shape: ListShape, level_max: Option<u64>) -> Work {
    let Stored { objects, bytes } = shape.stored;
    let loaded = match (shape.single, shape.limit) {
        (true, _) => objects.min(1),
        (false, 0) => objects,
        (false, limit) => objects.min(limit),
    };
    let average = bytes.div_ceil(objects.max(1));
    let at_once = (loaded.saturating_mul(average)).min(STREAMED_BYTES);
    Work::seats(bounded(at_once.div_ceil(BYTES_PER_SEAT), level_max, MAX_LIST_SEATS))
}

/// A create, update, patch or delete that so many watches are to be told of.
pub fn write(watches: u64, level_max: Option<u64>) -> Work {
    if watches < WATCHES_PER_SEAT {
        return Work::seats(1);
    }
    let wide = watches.div_ceil(WATCHES_PER_SEAT);
    let final_seats = bounded(wide, level_max, MAX_WRITE_SEATS);
    Work { initial_seats: 1, final_seats, additional: SeatSeconds::of(wide, TELLING).per_seat(final_seats) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_wide_as_what_they_load() {
        let seats = |objects, bytes, limit, single, max| {
            list(ListShape { stored: Stored { objects, bytes }, limit, single }, max).initial_seats
        };
        assert_eq!(seats(0, 0, 0, false, None), 1);
        assert_eq!(seats(10, 20_000, 0, false, None), 1);
        assert_eq!(seats(100, 500_000, 0, false, None), 5);
        assert_eq!(seats(100, 500_000, 20, false, None), 1);
        assert_eq!(seats(100, 500_000, 0, true, None), 1);
        assert_eq!(seats(100_000, 500_000_000, 0, false, None), 10, "it is sent while it is made");
        assert_eq!(seats(100_000, 500_000_000, 0, false, Some(3)), 3, "a level's own bound");
    }

    #[test]
    fn writes_are_as_wide_as_their_audience() {
        assert_eq!(write(9, None), Work::seats(1));
        assert_eq!(write(10, None), Work { initial_seats: 1, final_seats: 1, additional: Duration::from_millis(5) });
        let crowd = write(1000, None);
        assert_eq!((crowd.final_seats, crowd.additional), (10, Duration::from_millis(50)), "narrower and longer");
        assert_eq!(write(1000, Some(2)).final_seats, 2);
    }
}
