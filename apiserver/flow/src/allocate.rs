//! How the seats of a server are divided: as near to what each level wants as its bounds allow.

/// What a level must have, may have, and would have. `lower <= target`, `lower <= upper`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    pub lower: f64,
    pub upper: f64,
    pub target: f64,
}

/// A smaller target is taken as this, as upstream: everybody gets a part of what is left over.
const MIN_TARGET: f64 = 0.001;
/// Sums nearer than this are the same.
const EPSILON: f64 = 1e-7;
/// Halvings of the interval that the fair fraction is looked for in: more than a float can tell apart.
const HALVINGS: u32 = 200;

/// The one division of `sum` in which everybody has `fair * target`, or a bound that is nearer to it; and `fair`.
/// `None` where the bounds cannot be kept.
pub fn allocate(sum: f64, wishes: &[Wish]) -> Option<(Vec<f64>, f64)> {
    let lowest: f64 = wishes.iter().map(|wish| wish.lower).sum();
    let highest: f64 = wishes.iter().map(|wish| wish.upper).sum();
    let sane = |wish: &Wish| wish.lower >= 0.0 && wish.lower <= wish.upper && wish.lower <= wish.target;
    if sum < 0.0 || lowest > sum + EPSILON || highest < sum - EPSILON || !wishes.iter().all(sane) {
        return None;
    }
    let fair = fraction(sum, wishes);
    Some((wishes.iter().map(|wish| share(wish, fair)).collect(), fair))
}

fn share(wish: &Wish, fair: f64) -> f64 {
    (fair * wish.target.max(MIN_TARGET)).clamp(wish.lower, wish.upper)
}

/// What is given out grows with the fraction, so it is found by halving; the last step is exact, because between two
/// bounds it grows linearly.
fn fraction(sum: f64, wishes: &[Wish]) -> f64 {
    let given = |fair: f64| wishes.iter().map(|wish| share(wish, fair)).sum::<f64>();
    let bounds = wishes.iter().map(|wish| wish.upper / wish.target.max(MIN_TARGET));
    let (mut low, mut high) = (0.0, bounds.fold(0.0, f64::max));
    if given(high) <= sum {
        return high;
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if given(middle) < sum { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(sum: f64, wishes: &[(f64, f64, f64)]) -> Option<Vec<i64>> {
        let wishes: Vec<Wish> = wishes
            .iter()
            .map(|(lower, upper, target)| Wish { lower: *lower, upper: *upper, target: *target })
            .collect();
        let (shares, _) = allocate(sum, &wishes)?;
        let whole: f64 = shares.iter().sum();
        assert!((whole - sum).abs() < 1e-3, "{shares:?}");
        #[expect(clippy::cast_possible_truncation, reason = "small")]
        Some(shares.iter().map(|share| (share * 10.0).round() as i64).collect())
    }

    #[test]
    fn seats_go_where_they_are_wanted_within_bounds() {
        for (sum, wishes, want) in [
            (100.0, vec![(0.0, 100.0, 10.0), (0.0, 100.0, 30.0)], Some(vec![250, 750])),
            (100.0, vec![(40.0, 100.0, 40.0), (0.0, 100.0, 360.0)], Some(vec![400, 600])),
            (100.0, vec![(0.0, 20.0, 50.0), (0.0, 100.0, 50.0)], Some(vec![200, 800])),
            (100.0, vec![(10.0, 100.0, 10.0), (50.0, 100.0, 50.0), (0.0, 100.0, 0.0)], Some(vec![167, 833, 0])),
            (60.0, vec![(10.0, 100.0, 10.0), (50.0, 100.0, 50.0)], Some(vec![100, 500])),
            (30.0, vec![(0.0, 10.0, 5.0), (0.0, 20.0, 1.0)], Some(vec![100, 200])),
            (59.0, vec![(10.0, 100.0, 10.0), (50.0, 100.0, 50.0)], None),
            (31.0, vec![(0.0, 10.0, 5.0), (0.0, 20.0, 1.0)], None),
            (10.0, vec![(5.0, 10.0, 1.0)], None),
        ] {
            assert_eq!(divided(sum, &wishes), want, "{sum} {wishes:?}");
        }
    }
}
