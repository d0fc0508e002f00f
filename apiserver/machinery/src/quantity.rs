//! Resource quantities (`100m`, `1Gi`, `2e3`): exact numbers with a suffix,
//! compared by value and written in upstream's canonical form.

use std::cmp::Ordering;
use std::fmt;

/// An exact quantity: `value * 10^-9` (nano), saturating as upstream does at its limits.
///
/// `==` also compares the format; [`Quantity::cmp_value`] and `<` compare the number only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    pub nano: i128,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    DecimalExponent,
    DecimalSI,
    BinarySI,
}

const NANO: i128 = 1_000_000_000;
const MILLI: i128 = 1_000_000;
/// `2^63 - 1`: quantities with a binary suffix are capped here.
const MAX_BINARY: i128 = i64::MAX as i128 * NANO;

const WRONG_FORMAT: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const WRONG_SUFFIX: &str = "unable to parse quantity's suffix";

enum Scale {
    /// times 10^n
    Ten(i32),
    /// times 2^n
    Two(u32),
}

fn suffix(text: &str) -> Option<(Scale, Format)> {
    let decimal = |exponent| Some((Scale::Ten(exponent), Format::DecimalSI));
    let binary = |exponent| Some((Scale::Two(exponent), Format::BinarySI));
    match text {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let digits = text.strip_prefix(['e', 'E'])?;
            // Far out of any range either way; a saturated value behaves the same.
            let exponent = digits.parse::<i64>().ok()?.clamp(-1_000, 1_000) as i32;
            Some((Scale::Ten(exponent), Format::DecimalExponent))
        }
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().position(|c| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The nano value of `whole.fraction * 10^exponent`, rounded up (away from zero); `None` beyond an i128.
fn decimal_nano(whole: &str, fraction: &str, exponent: i32) -> Option<i128> {
    let digits = whole.len() + fraction.len();
    // How many of the digits are before the point once the value is counted in nano.
    let point = whole.len() as i64 + i64::from(exponent) + 9;
    let mut value: i128 = 0;
    let mut rest = false;
    for (index, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        if (index as i64) < point {
            value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        } else {
            rest |= digit != b'0';
        }
    }
    if value != 0 {
        for _ in digits as i64..point {
            value = value.checked_mul(10)?;
        }
    }
    value.checked_add(i128::from(rest))
}

/// The nano value of `whole.fraction * 2^exponent`, rounded up; `None` beyond an i128.
fn binary_nano(whole: &str, fraction: &str, exponent: u32) -> Option<i128> {
    /// Digits of the fraction that count; with 2^60 they fit.
    const DIGITS: usize = 18;
    let whole =
        whole.bytes().try_fold(0i128, |value, digit| value.checked_mul(10)?.checked_add(i128::from(digit - b'0')))?;
    let (kept, cut) = fraction.split_at(fraction.len().min(DIGITS));
    let divisor = 10i128.pow(kept.len() as u32);
    let scaled = kept.bytes().fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0')) << exponent;
    let (units, rest) = (scaled / divisor, scaled % divisor);
    let (nanos, dust) = (rest * NANO / divisor, rest * NANO % divisor);
    let round_up = dust != 0 || cut.bytes().any(|digit| digit != b'0');
    whole.checked_mul(1 << exponent)?.checked_add(units)?.checked_mul(NANO)?.checked_add(nanos + i128::from(round_up))
}

/// `value / unit`, away from zero, saturating at the limits of an i64.
fn round_up(value: i128, unit: i128) -> i64 {
    let rounded = value / unit + (value % unit).signum();
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

impl Quantity {
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSI };

    /// The error is upstream's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(WRONG_FORMAT.to_owned());
        }
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, rest) = split_digits(unsigned);
        let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
        // As upstream's scanner: letters of suffixes, then a sign, then digits, then nothing.
        let letters = rest.bytes().position(|c| !b"eEinumkKMGTP".contains(&c)).unwrap_or(rest.len());
        let (_, after) = rest.split_at(letters);
        let after = after.strip_prefix(['-', '+']).unwrap_or(after);
        if !after.bytes().all(|c| c.is_ascii_digit()) {
            return Err(WRONG_FORMAT.to_owned());
        }
        let (scale, mut format) = suffix(rest).ok_or(WRONG_SUFFIX)?;
        let nano = match scale {
            Scale::Ten(exponent) => decimal_nano(whole, fraction, exponent).unwrap_or(i128::MAX),
            Scale::Two(exponent) => binary_nano(whole, fraction, exponent).unwrap_or(i128::MAX).min(MAX_BINARY),
        };
        if format == Format::BinarySI && nano > 0 && nano < NANO {
            format = Format::DecimalSI;
        }
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }

    pub fn from_units(units: i64, format: Format) -> Self {
        Self { nano: i128::from(units) * NANO, format }
    }
    pub fn from_milli(milli: i64, format: Format) -> Self {
        Self { nano: i128::from(milli) * MILLI, format }
    }
    /// Rounded up, as `Quantity.Value()`.
    pub fn value(&self) -> i64 {
        round_up(self.nano, NANO)
    }
    /// Rounded up, as `Quantity.MilliValue()`.
    pub fn milli_value(&self) -> i64 {
        round_up(self.nano, MILLI)
    }
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }
    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.nano.signum() as i32
    }
    /// By number, whatever the formats.
    pub fn cmp_value(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
    /// Rounded up to whole thousandths, as resource lists are on decoding upstream.
    #[must_use]
    pub fn round_up_to_milli(self) -> Self {
        let rest = self.nano % MILLI;
        let missing = if rest == 0 { 0 } else { rest.signum() * MILLI - rest };
        Self { nano: self.nano.saturating_add(missing), format: self.format }
    }
}

/// The format stays, or is `other`'s where this is zero; as `Quantity.Add`. Saturates.
impl std::ops::Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nano: self.nano.saturating_add(other.nano), format }
    }
}

/// As `Quantity.Sub`. Saturates.
impl std::ops::Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nano: self.nano.saturating_sub(other.nano), format }
    }
}

/// As `Quantity.Mul`. Saturates.
impl std::ops::Mul<i64> for Quantity {
    type Output = Self;
    fn mul(self, factor: i64) -> Self {
        Self { nano: self.nano.saturating_mul(i128::from(factor)), format: self.format }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nano.cmp(&other.nano))
    }
}

impl std::str::FromStr for Quantity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

/// The number without its factors of `base`, and how many there were. `number` is not zero.
fn without_factors(mut number: i128, base: i128) -> (i128, i32) {
    let mut times = 0;
    while number % base == 0 {
        number /= base;
        times += 1;
    }
    (number, times)
}

/// Upstream's canonical form.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        if self.format == Format::BinarySI && self.nano % NANO == 0 && (self.nano / NANO).abs() >= 1024 {
            let (number, times) = without_factors(self.nano / NANO, 1024);
            let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(times as usize).copied().unwrap_or("");
            return write!(f, "{number}{suffix}");
        }
        let (number, times) = without_factors(self.nano, 1000);
        let suffix = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"].get(times as usize);
        match suffix {
            Some(suffix) if self.format != Format::DecimalExponent => write!(f, "{number}{suffix}"),
            _ if times == 3 => write!(f, "{number}"),
            _ => write!(f, "{number}e{}", times * 3 - 9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form() {
        let table = [
            ("0", "0"),
            ("0.0", "0"),
            ("-0Ki", "0"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.", "1"),
            ("+1", "1"),
            ("-1.5", "-1500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1Ki", "1Ki"),
            ("1000Ki", "1000Ki"),
            ("0.5Ki", "512"),
            ("0.001Ki", "1024m"),
            ("1025Ki", "1025Ki"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e-1", "1200e-3"),
            ("100e2", "10e3"),
            ("1000", "1k"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("129M", "129M"),
            ("123Mi", "123Mi"),
            ("1E", "1E"),
            ("0.9n", "1n"),
            ("-0.9n", "-1n"),
            ("0.0000000001Ki", "103n"),
            ("8Ei", "9223372036854775807"),
            ("18446744073709551616", "18446744073709551616"),
            ("1.2345", "1234500u"),
            ("007", "7"),
            // Upstream's scanner reads missing digits as zero.
            ("Ki", "0"),
        ];
        for (text, expect) in table {
            let quantity = Quantity::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(quantity.to_string(), expect, "{text}");
            let again = Quantity::parse(&quantity.to_string()).expect("canonical");
            assert_eq!((again.nano, again.to_string()), (quantity.nano, expect.to_owned()), "{text} twice");
        }
    }

    #[test]
    fn refuses() {
        let table = [
            ("", WRONG_FORMAT),
            (" 1", WRONG_FORMAT),
            ("1 ", WRONG_FORMAT),
            ("1.2.3", WRONG_FORMAT),
            ("1Ki ", WRONG_FORMAT),
            ("aoeu", WRONG_FORMAT),
            ("--1", WRONG_SUFFIX),
            ("-3.01e-", WRONG_SUFFIX),
            ("1e", WRONG_SUFFIX),
            ("1K", WRONG_SUFFIX),
            ("1mi", WRONG_SUFFIX),
            ("1i", WRONG_SUFFIX),
            ("1-1", WRONG_SUFFIX),
        ];
        for (text, expect) in table {
            assert_eq!(Quantity::parse(text), Err(expect.to_owned()), "{text:?}");
        }
        assert!(Quantity::parse("1e999999").is_ok_and(|huge| huge.value() == i64::MAX));
        assert!(Quantity::parse("1e-999999").is_ok_and(|tiny| tiny.nano == 1));
        assert!(Quantity::parse(&"9".repeat(5000)).is_ok_and(|huge| huge.nano == i128::MAX));
    }

    #[test]
    fn numbers() {
        for (text, value, milli) in
            [("1500m", 2, 1500), ("1Gi", 1 << 30, 1000 << 30), ("1u", 1, 1), ("-1500m", -2, -1500), ("0", 0, 0)]
        {
            let quantity = Quantity::parse(text).expect(text);
            assert_eq!((quantity.value(), quantity.milli_value()), (value, milli), "{text}");
        }
        let parse = |text| Quantity::parse(text).expect("valid");
        assert_eq!((parse("1Gi") + parse("1G")).to_string(), "2073741824");
        assert_eq!((parse("1Gi") + parse("1Mi")).to_string(), "1025Mi");
        assert_eq!((Quantity::ZERO + parse("1Ki")).to_string(), "1Ki");
        assert_eq!((parse("1") - parse("100m")).to_string(), "900m");
        assert_eq!((parse("100m") * 3).to_string(), "300m");
        assert_eq!(parse("1u").round_up_to_milli().to_string(), "1m");
        assert_eq!(parse("1Ki").cmp_value(&parse("1024")), Ordering::Equal);
        assert!(parse("1Ki") > parse("1k") && parse("1") < parse("1001m"));
    }
}
