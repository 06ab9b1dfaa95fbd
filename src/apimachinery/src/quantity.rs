//! Amounts of resources (`500m`, `1Gi`), parsed, compared, added and written exactly as Go's `resource.Quantity` does.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// Digits that an `i128` always holds.
const MAX_DIGITS: usize = 38;
/// Finest amount there is: a billionth.
const NANO: i32 = -9;
/// Digits that Go's fast path takes.
const MAX_FAST_DIGITS: i64 = 18;
/// Exponents beyond which an amount is only ever infinite or nothing.
const MAX_EXPONENT: i32 = 10_000;

/// How an amount is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    #[default]
    DecimalSi,
}

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It has another form.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is none.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The unit is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An amount: `mantissa × 10^scale`.
#[derive(Debug, Clone, Default)]
pub struct Quantity {
    mantissa: i128,
    scale: i32,
    format: Format,
    /// The text it was read from, where Go keeps it.
    text: Option<Box<str>>,
}

impl Quantity {
    /// Nothing.
    pub fn zero() -> Self {
        Self::default()
    }

    /// A whole number of units.
    pub fn from_i64(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), scale: 0, format, text: None }
    }

    /// Thousandths of a unit.
    pub fn from_millis(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), scale: -3, format, text: None }
    }

    /// Reads a JSON value: a string, a number, or nothing for null.
    ///
    /// # Errors
    /// When it is no quantity.
    pub fn from_json(value: &Value) -> Result<Self, ParseError> {
        match value {
            Value::Null => Ok(Self::default()),
            Value::String(text) => text.trim().parse(),
            other => other.to_string().parse(),
        }
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match self.mantissa.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// Whole units, fractions rounded away from zero; saturates.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// Thousandths of units, rounded away from zero; saturates.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// In units of `10^scale`, rounded away from zero; saturates.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let (value, _) = self.at_scale(scale);
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it is a whole number that an `i64` holds, and which.
    pub fn as_i64(&self) -> Option<i64> {
        let (value, exact) = self.at_scale(0);
        if exact { i64::try_from(value).ok() } else { None }
    }

    /// The nearest float.
    pub fn as_f64(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "the nearest float is what is asked for")]
        let mantissa = self.mantissa as f64;
        mantissa * 10f64.powi(self.scale)
    }

    /// Rounds away from zero so that nothing finer than `10^scale` is left; says whether nothing was lost.
    pub fn round_up(&mut self, scale: i32) -> bool {
        if self.scale >= scale {
            return true;
        }
        let (value, exact) = self.at_scale(scale);
        self.text = None;
        self.mantissa = value;
        self.scale = scale;
        exact
    }

    /// Adds `other`. Zero takes the other's format.
    pub fn add(&mut self, other: &Self) {
        self.text = None;
        if self.is_zero() {
            self.format = other.format;
        }
        self.combine(other, i128::saturating_add);
    }

    /// Takes `other` away. Zero takes the other's format.
    pub fn sub(&mut self, other: &Self) {
        self.text = None;
        if self.is_zero() {
            self.format = other.format;
        }
        self.combine(other, i128::saturating_sub);
    }

    /// Turns the sign.
    pub fn neg(&mut self) {
        self.text = None;
        self.mantissa = -self.mantissa;
    }

    /// Multiplies by a whole number; saturates.
    pub fn mul(&mut self, factor: i64) {
        self.text = None;
        self.mantissa = self.mantissa.saturating_mul(i128::from(factor));
    }

    /// The amount in its canonical form, whatever it was read from.
    pub fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".into();
        }
        let mut format = self.format;
        if format == Format::BinarySi {
            let small = self.cmp_i64(-1024) == Ordering::Greater && self.cmp_i64(1024) == Ordering::Less;
            let (whole, exact) = self.at_scale(0);
            if small || !exact {
                format = Format::DecimalSi;
            } else {
                return binary(whole);
            }
        }
        self.decimal(format)
    }

    fn decimal(&self, format: Format) -> String {
        let (mut mantissa, mut exponent) = (self.mantissa, self.scale);
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        let above = exponent.rem_euclid(3);
        // At most two digits more than an i128 that had none to spare: then the finer exponent stays.
        if let Some(wider) = mantissa.checked_mul(10i128.pow(above.unsigned_abs())) {
            mantissa = wider;
            exponent -= above;
        }
        if exponent == 0 {
            return mantissa.to_string();
        }
        let suffix = match (format, exponent) {
            (Format::DecimalSi, -9) => "n",
            (Format::DecimalSi, -6) => "u",
            (Format::DecimalSi, -3) => "m",
            (Format::DecimalSi, 3) => "k",
            (Format::DecimalSi, 6) => "M",
            (Format::DecimalSi, 9) => "G",
            (Format::DecimalSi, 12) => "T",
            (Format::DecimalSi, 15) => "P",
            (Format::DecimalSi, 18) => "E",
            _ => return format!("{mantissa}e{exponent}"),
        };
        format!("{mantissa}{suffix}")
    }

    fn cmp_i64(&self, value: i64) -> Ordering {
        self.cmp(&Self::from_i64(value, Format::DecimalSi))
    }

    /// The mantissa at another scale, rounded away from zero, and whether that is exact; saturates.
    fn at_scale(&self, scale: i32) -> (i128, bool) {
        if self.scale >= scale {
            let shift = self.scale.saturating_sub(scale).unsigned_abs();
            let limit = if self.mantissa < 0 { i128::MIN } else { i128::MAX };
            return match shifted(self.mantissa, shift) {
                Some(value) => (value, true),
                None => (limit, false),
            };
        }
        let shift = scale.saturating_sub(self.scale).unsigned_abs();
        let Some(divisor) = 10i128.checked_pow(shift) else {
            return (self.mantissa.signum(), self.mantissa == 0);
        };
        let (quotient, rest) = (self.mantissa / divisor, self.mantissa % divisor);
        (if rest == 0 { quotient } else { quotient + rest.signum() }, rest == 0)
    }

    fn combine(&mut self, other: &Self, operation: fn(i128, i128) -> i128) {
        if other.is_zero() {
            return;
        }
        if self.is_zero() {
            self.scale = other.scale;
        }
        let scale = self.scale.min(other.scale);
        let (left, _) = self.at_scale(scale);
        let (right, _) = other.at_scale(scale);
        self.mantissa = operation(left, right);
        self.scale = scale;
    }
}

fn shifted(mantissa: i128, digits: u32) -> Option<i128> {
    if mantissa == 0 {
        return Some(0);
    }
    mantissa.checked_mul(10i128.checked_pow(digits)?)
}

fn binary(mut value: i128) -> String {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut suffix = 0;
    while value % 1024 == 0 && suffix + 1 < SUFFIXES.len() {
        value /= 1024;
        suffix += 1;
    }
    format!("{value}{}", SUFFIXES[suffix])
}

/// The parts of a text: sign, digits before and after the point, unit.
struct Parts<'a> {
    positive: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (positive, rest) = match text.as_bytes().first() {
        Some(b'-') => (false, &text[1..]),
        Some(b'+') => (true, &text[1..]),
        _ => (true, text),
    };
    let rest = rest.trim_start_matches('0');
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at(digits(rest)),
    };
    let letters = suffix.bytes().take_while(|byte| b"eEinumkKMGTP".contains(byte)).count();
    let exponent = &suffix[letters..];
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if digits(exponent) != exponent.len() {
        return Err(ParseError::Format);
    }
    Ok(Parts { positive, whole: if whole.is_empty() { "0" } else { whole }, fraction, suffix })
}

enum Base {
    Ten(i32),
    Two(u32),
}

fn unit(suffix: &str) -> Result<(Base, Format), ParseError> {
    let decimal = |exponent| Ok((Base::Ten(exponent), Format::DecimalSi));
    let binary = |exponent| Ok((Base::Two(exponent), Format::BinarySi));
    match suffix {
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
        other => {
            let exponent = other.strip_prefix(['e', 'E']).and_then(|number| number.parse::<i32>().ok());
            let exponent = exponent.filter(|exponent| exponent.abs() <= MAX_EXPONENT).ok_or(ParseError::Suffix)?;
            Ok((Base::Ten(exponent), Format::DecimalExponent))
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        if text == "0" {
            return Ok(Self { text: Some(text.into()), ..Self::default() });
        }
        let parts = split(text)?;
        let (base, mut format) = unit(parts.suffix)?;
        if !text.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err(ParseError::Numeric);
        }
        let digits = format!("{}{}", parts.whole, parts.fraction);
        let fraction = i32::try_from(parts.fraction.len()).map_err(|_| ParseError::Numeric)?;
        let keeps = keeps_text(&parts, &base, &digits, fraction);
        let (mut mantissa, lost) = number(&digits);
        let mut scale = lost - fraction;
        match base {
            Base::Ten(exponent) => scale += exponent,
            Base::Two(exponent) => {
                // Room is made below the point first, so that the product fits; what that loses is below a billionth.
                let limit = i128::MAX >> exponent;
                while mantissa > limit {
                    mantissa = mantissa / 10 + i128::from(mantissa % 10 != 0);
                    scale += 1;
                }
                mantissa <<= exponent;
            }
        }
        let mut amount = Self { mantissa, scale, format, text: None };
        if amount.scale < NANO {
            amount.round_up(NANO);
        }
        if format == Format::BinarySi {
            if amount.cmp_i64(i64::MAX) == Ordering::Greater {
                amount = Self::from_i64(i64::MAX, format);
            }
            if !amount.is_zero() && amount.cmp_i64(1) == Ordering::Less {
                format = Format::DecimalSi;
            }
        }
        amount.format = format;
        if !parts.positive {
            amount.mantissa = -amount.mantissa;
        }
        amount.text = keeps.then(|| text.into());
        Ok(amount)
    }
}

/// Whether Go takes the text for canonical and keeps it.
fn keeps_text(parts: &Parts<'_>, base: &Base, digits: &str, fraction: i32) -> bool {
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    match base {
        Base::Ten(exponent) => {
            let scale = exponent - fraction;
            MAX_FAST_DIGITS >= length
                && scale >= NANO
                && scale % 3 == 0
                && !digits.ends_with("000")
                && !digits.starts_with('0')
        }
        Base::Two(exponent) => {
            let precision =
                15 - i64::try_from(parts.whole.len()).unwrap_or(i64::MAX) - i64::from(exponent * 3 / 10) - 1;
            let odd = parts.whole.parse::<i64>().is_ok_and(|value| value & 7 != 0);
            parts.fraction.is_empty() && precision >= 0 && odd
        }
    }
}

/// Digits as a number, and how many powers of ten are left over (beyond 38 digits it is rounded up).
fn number(digits: &str) -> (i128, i32) {
    let digits = digits.trim_start_matches('0');
    let used = digits.len().min(MAX_DIGITS);
    let (head, tail) = digits.split_at(used);
    let mut value = head.bytes().fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    if tail.bytes().any(|digit| digit != b'0') {
        value += 1;
    }
    (value, i32::try_from(tail.len()).unwrap_or(i32::MAX / 2))
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => f.write_str(&self.canonical()),
        }
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.sign().cmp(&other.sign());
        if signs != Ordering::Equal || self.is_zero() {
            return signs;
        }
        let scale = self.scale.min(other.scale);
        let left = shifted(self.mantissa, self.scale.abs_diff(scale));
        let right = shifted(other.mantissa, other.scale.abs_diff(scale));
        match (left, right) {
            (Some(left), Some(right)) => left.cmp(&right),
            // What does not fit is larger than anything that does; only one of the two was shifted.
            (None, _) => self.sign().cmp(&0),
            (_, None) => 0.cmp(&self.sign()),
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (mut mantissa, mut scale) = (self.mantissa, self.scale);
        while mantissa != 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale += 1;
        }
        mantissa.hash(state);
        if mantissa != 0 {
            scale.hash(state);
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn q(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn canonical_forms_are_those_of_go() {
        let cases = [
            ("0", "0"),
            ("0Ki", "0"),
            ("1024Mi", "1Gi"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("100", "100"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("1000e0", "1e3"),
            ("1.50", "1500m"),
            ("0.0000000001", "1n"),
            ("512Mi", "512Mi"),
            ("1023", "1023"),
            ("1025", "1025"),
            ("1048576Ki", "1Gi"),
            ("-1024Mi", "-1Gi"),
            ("16Ei", "9223372036854775807"),
            ("0.1Ki", "102400m"),
            (".5", "500m"),
            ("5.", "5"),
            ("3M", "3M"),
            ("12E", "12E"),
        ];
        for (text, canonical) in cases {
            assert_eq!(q(text).canonical(), canonical, "of {text}");
        }
    }

    #[test]
    fn a_text_that_go_takes_for_canonical_is_kept() {
        for text in ["+1", "1.500", "1e3", "1001Ki", "100m"] {
            assert_eq!(q(text).to_string(), text);
        }
        for (text, written) in [("1024Ki", "1Mi"), ("1.5", "1500m"), ("1000m", "1")] {
            assert_eq!(q(text).to_string(), written);
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_in_gos_words() {
        for text in ["", "lots", "1 Gi", "1Gi ", "1.2.3", "true"] {
            assert_eq!(text.parse::<Quantity>().expect_err(text), ParseError::Format, "{text}");
        }
        assert_eq!("1GiB".parse::<Quantity>().expect_err("no unit"), ParseError::Format);
        assert_eq!("1mm".parse::<Quantity>().expect_err("no unit"), ParseError::Suffix);
    }

    #[test]
    fn numbers_of_json_are_quantities() {
        assert_eq!(Quantity::from_json(&serde_json::json!(2)).expect("a number").to_string(), "2");
        assert_eq!(Quantity::from_json(&Value::Null).expect("nothing").to_string(), "0");
        assert_eq!(Quantity::from_json(&serde_json::json!(1.5)).expect("a number").to_string(), "1500m");
    }

    #[test]
    fn values_round_away_from_zero() {
        assert_eq!(q("1100m").value(), 2);
        assert_eq!(q("-1100m").value(), -2);
        assert_eq!(q("1.0005").milli_value(), 1001);
        assert_eq!(q("1e30").value(), i64::MAX);
    }

    #[test]
    fn a_sum_is_written_in_the_format_of_its_first_part() {
        let mut sum = q("1Gi");
        sum.add(&q("1M"));
        assert_eq!(sum.to_string(), "1074741824");
        let mut sum = Quantity::zero();
        sum.add(&q("1Gi"));
        sum.add(&q("1Gi"));
        assert_eq!(sum.to_string(), "2Gi");
        let mut rest = q("1");
        rest.sub(&q("1500m"));
        assert_eq!(rest.to_string(), "-500m");
    }

    #[test]
    fn very_different_amounts_compare() {
        assert!(q("1e100") > q("1n"));
        assert!(q("-1e100") < q("1n"));
        assert_eq!(q("1Gi"), q("1073741824"));
        assert!(q("1") < q("1.000000001"));
    }

    proptest! {
        #[test]
        fn the_canonical_form_reads_back_as_the_same_amount(value in any::<i64>(), suffix in "(n|u|m||k|M|G|Ki|Mi)") {
            let amount = q(&format!("{value}{suffix}"));
            let again = q(&amount.canonical());
            prop_assert_eq!(&again, &amount);
            prop_assert_eq!(again.canonical(), amount.canonical());
        }

        #[test]
        fn adding_and_taking_away_is_nothing(left in -1_000_000_000_000i64..1_000_000_000_000, right in -1_000_000_000i64..1_000_000_000, unit in "(m||Ki|Gi)") {
            let (left, right) = (q(&left.to_string()), q(&format!("{right}{unit}")));
            let mut sum = left.clone();
            sum.add(&right);
            sum.sub(&right);
            prop_assert_eq!(sum, left);
        }

        #[test]
        fn order_is_that_of_numbers(left in any::<i32>(), right in any::<i32>()) {
            let (a, b) = (q(&format!("{left}m")), q(&format!("{right}m")));
            prop_assert_eq!(a.cmp(&b), left.cmp(&right));
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9.]{0,60}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,12}") {
            if let Ok(amount) = text.parse::<Quantity>() {
                let _ = (amount.canonical(), amount.value(), amount.milli_value(), amount.cmp(&Quantity::from_i64(1, Format::DecimalSi)));
            }
        }
    }
}
