//! How much a request takes.

use std::time::Duration;

/// Seats while it is executed, and seats for some time after its answer: a write is then still on its way to those who
/// watch. They are one reservation of the larger of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub initial_seats: u64,
    pub final_seats: u64,
    pub additional: Duration,
}

impl Work {
    pub fn seats(initial_seats: u64) -> Self {
        Self { initial_seats, final_seats: 0, additional: Duration::ZERO }
    }

    pub fn max_seats(&self) -> u64 {
        self.initial_seats.max(self.final_seats)
    }
}

/// Work in seat-seconds, exactly: seats times nanoseconds. At 600 seats a second an `i128` lasts forever, so that
/// progress never has to be wound back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeatSeconds(i128);

const NANOS: i128 = 1_000_000_000;

impl SeatSeconds {
    pub const MAX: Self = Self(i128::MAX);

    pub fn of(seats: u64, duration: Duration) -> Self {
        Self(i128::from(seats) * nanos(duration))
    }

    /// A share of the seats: `seats / among`.
    pub fn shared(seats: u64, among: u64, duration: Duration) -> Self {
        if among == 0 { Self(0) } else { Self(i128::from(seats) * nanos(duration) / i128::from(among)) }
    }

    /// How long it takes so many seats.
    pub fn per_seat(self, seats: u64) -> Duration {
        let nanos = self.0.max(0) / i128::from(seats.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    #[expect(clippy::cast_precision_loss, reason = "for gauges")]
    pub fn to_float(self) -> f64 {
        self.0 as f64 / NANOS as f64
    }
}

fn nanos(duration: Duration) -> i128 {
    // A Duration has less than 2^94 nanoseconds.
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

impl std::ops::Add for SeatSeconds {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}
impl std::ops::Sub for SeatSeconds {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}
impl std::ops::AddAssign for SeatSeconds {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}
impl std::ops::SubAssign for SeatSeconds {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}
impl std::iter::Sum for SeatSeconds {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        Self(all.map(|one| one.0).sum())
    }
}

/// As upstream's debug pages show it: `0.00300000ss`.
impl std::fmt::Display for SeatSeconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.abs() / NANOS, self.0.abs() % NANOS / 10);
        write!(f, "{sign}{whole}.{rest:08}ss")
    }
}
