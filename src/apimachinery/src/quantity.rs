//! Quantities: fixed-point numbers with a suffix, as resource amounts are written (`100m`, `1.5Gi`, `2e3`).
//!
//! The canonical form is Kubernetes' (`k8s.io/apimachinery/pkg/api/resource`): no precision is lost above a nano, the
//! exponent or suffix is as large as it can be with no fraction left, and the family of the suffix stays.

use std::{cmp::Ordering, fmt, str::FromStr};

/// Nano is the finest that a quantity can say; finer amounts are rounded up.
const NANOS: i128 = 1_000_000_000;

/// How a quantity writes its magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Powers of 1024: `Ki`, `Mi`, ….
    BinarySi,
    /// Powers of 1000: `m`, `k`, `M`, ….
    DecimalSi,
    /// `e3`, `E6`, ….
    DecimalExponent,
}

/// An exact amount, in nanos, with the family of suffixes that it was written in.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A text that is no quantity; the words are Kubernetes' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form `number suffix`.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The suffix is none.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// The number is none.
    #[error("unable to parse numeric part of quantity")]
    Number,
}

impl Quantity {
    /// `value` whole units.
    pub fn from_value(value: i64) -> Self {
        Self { nanos: i128::from(value) * NANOS, format: Format::DecimalSi }
    }

    /// `value` thousandths.
    pub fn from_milli(value: i64) -> Self {
        Self { nanos: i128::from(value) * (NANOS / 1000), format: Format::DecimalSi }
    }

    /// The same amount in another family of suffixes.
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The family of suffixes that it is written in.
    pub fn format(self) -> Format {
        self.format
    }

    /// Whole units, rounded up (away from zero), at most what fits.
    pub fn value(self) -> i64 {
        scaled(self.nanos, NANOS)
    }

    /// Thousandths, rounded up (away from zero), at most what fits.
    pub fn milli_value(self) -> i64 {
        scaled(self.nanos, NANOS / 1000)
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Below, at or above zero.
    pub fn sign(self) -> i8 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }
}

fn scaled(nanos: i128, unit: i128) -> i64 {
    let whole = nanos / unit;
    let rest = nanos % unit;
    let rounded = whole + rest.signum();
    i64::try_from(rounded).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_sub(other.nanos), format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let negative = text.starts_with('-');
        let digits = unsigned.find(|byte: char| !byte.is_ascii_digit() && byte != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        let (format, base, exponent) = suffix_of(suffix)?;
        let nanos = magnitude(whole, fraction, base, exponent).ok_or(QuantityError::Number)?;
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }
}

/// The family, base and exponent of a suffix.
fn suffix_of(suffix: &str) -> Result<(Format, i128, i32), QuantityError> {
    let decimal = |exponent| Ok((Format::DecimalSi, 10, exponent));
    let binary = |exponent| Ok((Format::BinarySi, 2, exponent));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
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
            let allowed = |byte: char| byte.is_ascii_digit() || "eEinumkKMGTP+-".contains(byte);
            if !suffix.chars().all(allowed) {
                return Err(QuantityError::Format);
            }
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            let exponent = exponent.parse().map_err(|_| QuantityError::Suffix)?;
            Ok((Format::DecimalExponent, 10, exponent))
        }
    }
}

/// `whole.fraction * base^exponent` in nanos, rounded up; amounts beyond all measure stay at the largest.
fn magnitude(whole: &str, fraction: &str, base: i128, exponent: i32) -> Option<i128> {
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() && fraction.is_empty() {
        return Some(0);
    }
    let largest = i128::from(i64::MAX) * NANOS;
    if whole.len() + fraction.len() > 30 {
        // More digits than matter: the leading ones decide whether it is too large, the rest only rounds up.
        if whole.len() > 30 {
            return Some(largest);
        }
        let kept: String = fraction.chars().take(30 - whole.len()).collect();
        return magnitude(whole, &kept, base, exponent).map(|nanos| nanos.saturating_add(1).min(largest));
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let mut decimal_exponent = 9 - i32::try_from(fraction.len()).ok()?;
    let mut nanos = digits;
    if base == 2 {
        nanos = nanos.checked_mul(1_i128.checked_shl(u32::try_from(exponent).ok()?)?).unwrap_or(i128::MAX);
    } else {
        decimal_exponent = decimal_exponent.saturating_add(exponent);
    }
    let shift = 10_i128.checked_pow(decimal_exponent.unsigned_abs());
    let scaled = match (decimal_exponent >= 0, shift) {
        (true, Some(shift)) => nanos.checked_mul(shift).unwrap_or(largest),
        (true, None) => largest,
        (false, Some(shift)) => nanos / shift + i128::from(nanos % shift != 0),
        (false, None) => 1,
    };
    Some(scaled.min(largest))
}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return out.write_str("0");
        }
        let sign = if self.nanos < 0 { "-" } else { "" };
        let nanos = self.nanos.abs();
        let mut format = self.format;
        // Small or fractional amounts have no binary suffix.
        if format == Format::BinarySi && (nanos < 1024 * NANOS || nanos % NANOS != 0) {
            format = Format::DecimalSi;
        }
        if format == Format::BinarySi {
            let (mut value, mut step) = (nanos / NANOS, 0);
            while value % 1024 == 0 && step < 6 {
                value /= 1024;
                step += 1;
            }
            return write!(out, "{sign}{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let (mut value, mut step) = (nanos, 0);
        while value % 1000 == 0 && step < 9 {
            value /= 1000;
            step += 1;
        }
        if format == Format::DecimalSi {
            return write!(out, "{sign}{value}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][step]);
        }
        let exponent = 3 * i32::try_from(step).unwrap_or_default() - 9;
        if exponent == 0 { write!(out, "{sign}{value}") } else { write!(out, "{sign}{value}e{exponent}") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>().map_or_else(|error| error.to_string(), |quantity| quantity.to_string())
    }

    #[test]
    fn the_canonical_form_is_that_of_kubernetes() {
        let cases = [
            ("0", "0"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("0.5Gi", "512Mi"),
            ("1024Ki", "1Mi"),
            ("1023", "1023"),
            ("1e3", "1e3"),
            ("1000e3", "1e6"),
            ("2E6", "2e6"),
            ("1.5Gi", "1536Mi"),
            ("5Ki", "5Ki"),
            ("0.1n", "1n"),
            ("-1.5", "-1500m"),
            ("+2k", "2k"),
            ("12000000", "12M"),
            ("0.5Ki", "512"),
            (".5", "500m"),
            ("5.", "5"),
        ];
        for (text, expected) in cases {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_in_kubernetes_words() {
        for text in ["", "abc", "1.2.3", "1 Gi", "--1", "1x"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Format), "{text:?}");
        }
        for text in ["1mi", "1KiB", "1ee3", "1iK"] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn amounts_beyond_measure_stay_at_the_largest() {
        assert_eq!("1e999".parse::<Quantity>().expect("a quantity").value(), i64::MAX);
        assert_eq!(
            "99999999999999999999999999999999999999999".parse::<Quantity>().expect("a quantity").value(),
            i64::MAX
        );
        assert_eq!("1e-999".parse::<Quantity>().expect("a quantity").to_string(), "1e-9");
    }

    proptest! {
        #[test]
        fn the_canonical_form_means_the_same_and_is_its_own(number in 0_u64..1_000_000_000, fraction in 0_u32..1000,
            suffix in prop::sample::select(vec!["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "e-3"])) {
            let quantity: Quantity = format!("{number}.{fraction:03}{suffix}").parse().expect("a quantity");
            let text = quantity.to_string();
            let again: Quantity = text.parse().expect("its own form");
            prop_assert_eq!(quantity, again);
            prop_assert_eq!(text, again.to_string());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = text.parse::<Quantity>();
        }
    }
}
