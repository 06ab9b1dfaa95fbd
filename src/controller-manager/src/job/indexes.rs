//! Sets of completion indexes, as a Job's status writes them: `1,3-5,7`.

use std::fmt;

/// Indexes in order, as closed intervals that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads a text; what is none, or not below `completions`, is left out.
    pub fn parse(text: &str, completions: i32) -> Self {
        let interval = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (i32, i32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            let last = last.min(completions - 1);
            (first >= 0 && first <= last).then_some((first, last))
        };
        Self::joined(text.split(',').filter_map(interval).collect())
    }

    fn joined(mut intervals: Vec<(i32, i32)>) -> Self {
        intervals.sort_unstable();
        let mut joined: Vec<(i32, i32)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// Those of either.
    pub fn with(&self, other: &Self) -> Self {
        Self::joined(self.0.iter().chain(&other.0).copied().collect())
    }

    /// Whether it is one of them.
    pub fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many there are.
    pub fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many are in both.
    pub fn in_common(&self, other: &Self) -> i32 {
        self.total() + other.total() - self.with(other).total()
    }

    /// The smallest that are not among them, below `completions`.
    pub fn missing(&self, completions: i32) -> impl Iterator<Item = i32> + '_ {
        (0..completions).filter(|index| !self.has(*index))
    }
}

impl FromIterator<i32> for Indexes {
    fn from_iter<I: IntoIterator<Item = i32>>(indexes: I) -> Self {
        Self::joined(indexes.into_iter().map(|index| (index, index)).collect())
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                // Two are no interval.
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_those_of_kubernetes() {
        for (text, completions, expected) in
            [("", 5, ""), ("0-2", 5, "0-2"), ("0,1", 5, "0,1"), ("1,3-5,7", 6, "1,3-5"), ("x,-1,4-2,3", 9, "3")]
        {
            assert_eq!(Indexes::parse(text, completions).to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn they_are_a_set(one in prop::collection::btree_set(0_i32..40, 0..30), other in prop::collection::btree_set(0_i32..40, 0..30)) {
            let indexes = |set: &BTreeSet<i32>| set.iter().copied().collect::<Indexes>();
            let both = indexes(&one).with(&indexes(&other));
            let union: BTreeSet<i32> = one.union(&other).copied().collect();
            prop_assert_eq!(&both, &indexes(&union));
            prop_assert!((0..40).all(|index| both.has(index) == union.contains(&index)));
            prop_assert_eq!(usize::try_from(both.total()).expect("few"), union.len());
            prop_assert_eq!(usize::try_from(indexes(&one).in_common(&indexes(&other))).expect("few"), one.intersection(&other).count());
            prop_assert_eq!(Indexes::parse(&both.to_string(), 40), both);
        }
    }
}
