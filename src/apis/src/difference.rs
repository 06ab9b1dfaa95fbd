//! How two structures differ, as kube-apiserver shows it: both as indented JSON, line by line, with three lines around each change.

use std::{collections::HashMap, fmt::Write as _, ops::Range};

/// Lines that are shown around a change.
const CONTEXT: usize = 3;

/// The difference of two texts of JSON (without spaces, in Go's order of fields); empty when there is none.
pub(crate) fn of_json(old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    unified(&indent(old), &indent(new))
}

/// JSON with each field and element on a line of its own, as Go's `json.Indent` with one space writes it.
fn indent(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    let mut chars = compact.chars().peekable();
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            (escaped, quoted) = (c == '\\' && !escaped, c != '"' || escaped);
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                if let Some(end @ ('}' | ']')) = chars.peek().copied() {
                    out.push(end);
                    chars.next();
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    out
}

/// One stretch of both texts.
#[derive(Debug, Clone)]
struct Stretch {
    equal: bool,
    old: Range<usize>,
    new: Range<usize>,
}

/// The changed stretches of two texts with what is around them.
fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut out = String::new();
    for group in groups(stretches(&old, &new)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let place = |range: Range<usize>| match range.len() {
            1 => format!("{}", range.start + 1),
            0 => format!("{},0", range.start),
            length => format!("{},{length}", range.start + 1),
        };
        let (before, after) = (first.old.start..last.old.end, first.new.start..last.new.end);
        let _ = writeln!(out, "@@ -{} +{} @@", place(before), place(after));
        for stretch in &group {
            if stretch.equal {
                for line in &old[stretch.old.clone()] {
                    let _ = writeln!(out, " {line}");
                }
                continue;
            }
            for line in &old[stretch.old.clone()] {
                let _ = writeln!(out, "-{line}");
            }
            for line in &new[stretch.new.clone()] {
                let _ = writeln!(out, "+{line}");
            }
        }
    }
    out
}

/// Both texts as stretches that are equal and stretches that are not, in turn.
fn stretches(old: &[&str], new: &[&str]) -> Vec<Stretch> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(index);
    }
    let mut matches = Vec::new();
    let mut waiting = vec![(0..old.len(), 0..new.len())];
    while let Some((left, right)) = waiting.pop() {
        let (at, other, length) = longest_match(old, &places, left.clone(), right.clone());
        if length > 0 {
            matches.push((at, other, length));
            waiting.push((left.start..at, right.start..other));
            waiting.push((at + length..left.end, other + length..right.end));
        }
    }
    matches.sort_unstable();
    matches.push((old.len(), new.len(), 0));
    let mut list: Vec<Stretch> = Vec::new();
    let (mut at, mut other) = (0, 0);
    for (start, start_other, length) in matches {
        if at < start || other < start_other {
            list.push(Stretch { equal: false, old: at..start, new: other..start_other });
        }
        (at, other) = (start + length, start_other + length);
        match list.last_mut() {
            Some(last) if last.equal && last.old.end == start && last.new.end == start_other => {
                last.old.end = at;
                last.new.end = other;
            }
            _ if length > 0 => list.push(Stretch { equal: true, old: start..at, new: start_other..other }),
            _ => {}
        }
    }
    list
}

/// The longest stretch that both parts have, the earliest of several.
fn longest_match(
    old: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    left: Range<usize>,
    right: Range<usize>,
) -> (usize, usize, usize) {
    let mut best = (left.start, right.start, 0);
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for at in left {
        let mut next = HashMap::new();
        for other in places.get(old[at]).into_iter().flatten().copied().filter(|other| right.contains(other)) {
            let length = other.checked_sub(1).and_then(|before| lengths.get(&before)).copied().unwrap_or_default() + 1;
            next.insert(other, length);
            if length > best.2 {
                best = (at + 1 - length, other + 1 - length, length);
            }
        }
        lengths = next;
    }
    best
}

/// Stretches that are shown together: no more than twice the context apart.
fn groups(mut list: Vec<Stretch>) -> Vec<Vec<Stretch>> {
    if let Some(first) = list.first_mut().filter(|first| first.equal) {
        first.old.start = first.old.start.max(first.old.end.saturating_sub(CONTEXT));
        first.new.start = first.new.start.max(first.new.end.saturating_sub(CONTEXT));
    }
    if let Some(last) = list.last_mut().filter(|last| last.equal) {
        last.old.end = last.old.end.min(last.old.start + CONTEXT);
        last.new.end = last.new.end.min(last.new.start + CONTEXT);
    }
    let mut groups = Vec::new();
    let mut group: Vec<Stretch> = Vec::new();
    for mut stretch in list {
        if stretch.equal && stretch.old.len() > 2 * CONTEXT {
            let mut head = stretch.clone();
            head.old.end = head.old.end.min(head.old.start + CONTEXT);
            head.new.end = head.new.end.min(head.new.start + CONTEXT);
            group.push(head);
            groups.push(std::mem::take(&mut group));
            stretch.old.start = stretch.old.start.max(stretch.old.end.saturating_sub(CONTEXT));
            stretch.new.start = stretch.new.start.max(stretch.new.end.saturating_sub(CONTEXT));
        }
        group.push(stretch);
    }
    if !group.is_empty() && !matches!(group.as_slice(), [only] if only.equal) {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_shown_with_three_lines_around_it() {
        let old = r#"{"A":1,"B":[1,2],"C":{},"D":null,"E":"x,y:{","F":1}"#;
        let new = r#"{"A":1,"B":[1,2],"C":{},"D":5,"E":"x,y:{","F":1}"#;
        let shown = "@@ -5,7 +5,7 @@\n   2\n  ],\n  \"C\": {},\n- \"D\": null,\n+ \"D\": 5,\n  \"E\": \"x,y:{\",\n  \"F\": 1\n }\n";
        assert_eq!(of_json(old, new), shown);
        assert_eq!(of_json(old, old), "");
    }

    proptest! {
        #[test]
        fn a_difference_leads_from_the_old_text_to_the_new(old in "[ab\n]{0,40}", new in "[ab\n]{0,40}") {
            let (old_lines, new_lines): (Vec<_>, Vec<_>) = (old.split('\n').collect(), new.split('\n').collect());
            let list = stretches(&old_lines, &new_lines);
            let mut result = Vec::new();
            for stretch in &list {
                if stretch.equal {
                    prop_assert_eq!(&old_lines[stretch.old.clone()], &new_lines[stretch.new.clone()]);
                }
                result.extend_from_slice(&new_lines[stretch.new.clone()]);
            }
            prop_assert_eq!(result, new_lines);
            prop_assert_eq!(list.iter().map(|stretch| stretch.old.len()).sum::<usize>(), old_lines.len());
        }
    }
}
