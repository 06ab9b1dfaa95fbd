//! Amounts of resources, as the numbers that runtimes and environment variables want.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Thousandths of `quantity`, rounded up; `None` when it does not parse or does not fit.
pub fn milli(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    // `1e3` and `1E3` are exponents, `1E` is exa.
    let scale = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1i128 << 60, 1),
        exponent if exponent.starts_with(['e', 'E']) => {
            let power: i32 = exponent[1..].parse().ok().filter(|power: &i32| power.abs() <= 18)?;
            let factor = 10i128.pow(power.unsigned_abs());
            if power >= 0 { (factor, 1) } else { (1, factor) }
        }
        _ => return None,
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10i128.pow(u32::try_from(fraction.len()).ok()?).checked_mul(scale.1)?;
    let scaled = digits.checked_mul(scale.0)?.checked_mul(1_000)?;
    let rounded = scaled.checked_add(divisor - 1)? / divisor;
    Some(if negative { -rounded } else { rounded })
}

/// `quantity` in whole units, rounded up.
pub fn units(quantity: &Quantity) -> Option<i64> {
    i64::try_from(milli(quantity)?.checked_add(999)?.div_euclid(1_000)).ok()
}

/// How many `divisor`s make `quantity`, rounded up, as `resourceFieldRef` shows it. A divisor of zero counts as one.
pub fn divided(quantity: &Quantity, divisor: Option<&Quantity>) -> Option<String> {
    let divisor = divisor.and_then(milli).filter(|divisor| *divisor > 0).unwrap_or(1_000);
    let value = milli(quantity)?;
    Some(((value + divisor - 1).div_euclid(divisor)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(text: &str) -> Quantity {
        Quantity(text.to_owned())
    }

    #[test]
    fn suffixes_and_fractions_become_numbers() {
        for (text, expected) in [
            ("1", 1_000),
            ("100m", 100),
            ("1.5", 1_500),
            ("64Mi", 64 * 1024 * 1024 * 1_000),
            ("1e3", 1_000_000),
            ("2E-1", 200),
            ("1k", 1_000_000),
            ("1n", 1),
            (".5", 500),
            ("-2", -2_000),
        ] {
            assert_eq!(milli(&q(text)), Some(expected), "{text}");
        }
        for text in ["", "Mi", "1x", "abc", "1e99", "1.2.3"] {
            assert_eq!(milli(&q(text)), None, "{text}");
        }
    }

    #[test]
    fn a_divisor_rounds_up() {
        assert_eq!(divided(&q("1500m"), None).as_deref(), Some("2"));
        assert_eq!(divided(&q("1500m"), Some(&q("1m"))).as_deref(), Some("1500"));
        assert_eq!(divided(&q("100Mi"), Some(&q("1Mi"))).as_deref(), Some("100"));
        assert_eq!(divided(&q("1"), Some(&q("0"))).as_deref(), Some("1"));
    }
}
