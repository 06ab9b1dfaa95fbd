//! Sets of indexes of a Job as texts: `1,3-5`.

/// How many indexes a text names, of those below `completions`.
///
/// # Errors
/// Why it names none.
pub(crate) fn count(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut last, mut total) = (None, 0);
    for interval in text.split(',') {
        let (first, end) = read(interval, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn read(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| -> Result<i64, String> {
        let quoted = apimachinery::gotext::quote(text);
        let number: i64 = text.parse().map_err(|_| format!("cannot convert string to integer for index: {quoted}"))?;
        if number >= completions { Err(format!("too large index: {quoted}")) } else { Ok(number) }
    };
    let parts: Vec<_> = interval.split('-').collect();
    match parts[..] {
        [one] => number(one).map(|one| (one, one)),
        [first, end] => {
            let (first, end) = (number(first)?, number(end)?);
            if first >= end {
                return Err(format!("non-increasing order, previous: {first}, current: {end}"));
            }
            Ok((first, end))
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            apimachinery::gotext::quote(interval)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted_and_bad_ones_named() {
        assert_eq!(count("", 1), Ok(0));
        assert_eq!(count("0,2-4", 5), Ok(4));
        for (text, why) in [
            ("x", "cannot convert string to integer for index: \"x\""),
            ("5", "too large index: \"5\""),
            ("2-2", "non-increasing order, previous: 2, current: 2"),
            ("2,1", "non-increasing order, previous: 2, current: 1"),
        ] {
            assert_eq!(count(text, 5), Err(why.to_owned()));
        }
        assert!(count("1-2-3", 5).is_err());
    }
}
