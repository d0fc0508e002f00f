//! Quantiles and medians, for benches. Pure.

/// The smallest number that at least the share `wanted` (0 to 1) of all is not above; 0 of none.
pub fn quantile(sorted: &[u32], wanted: f64) -> u32 {
    let at = (sorted.len() as f64 * wanted).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

/// Of an even number the mean of the two in the middle; `NaN` of none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

/// With three digits that mean something.
pub fn short(number: f64) -> String {
    match number {
        number if !number.is_finite() => "-".to_owned(),
        number if number >= 100.0 => format!("{number:.0}"),
        number if number >= 10.0 => format!("{number:.1}"),
        number => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numbers_that_were_seen() {
        let numbers: Vec<u32> = (1..=100).collect();
        assert_eq!((quantile(&numbers, 0.5), quantile(&numbers, 0.99), quantile(&numbers, 1.0)), (50, 99, 100));
        assert_eq!((quantile(&[7], 0.5), quantile(&[7], 0.99), quantile(&[], 0.5)), (7, 7, 0));
    }

    #[test]
    fn medians_lie_in_the_middle() {
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0])), (2.0, 2.5));
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(["1235", "12.3", "1.23", "-"].map(str::to_owned), [1234.6, 12.34, 1.234, f64::NAN].map(short));
    }
}
