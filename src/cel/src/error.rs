//! What goes wrong with expressions: before they run, and while they do.

use std::fmt::Write as _;

use thiserror::Error;

/// Something wrong in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where, in bytes; nowhere when it is about the whole.
    pub(crate) at: Option<usize>,
    pub(crate) why: String,
}

impl Problem {
    pub(crate) fn new(at: usize, why: String) -> Self {
        Self { at: Some(at), why }
    }

    pub(crate) fn nowhere(why: String) -> Self {
        Self { at: None, why }
    }
}

/// All problems as kube-apiserver shows them: each with its line, and a mark below the place.
pub(crate) fn show(text: &str, problems: &[Problem]) -> String {
    let mut said = String::new();
    for (index, problem) in problems.iter().enumerate() {
        if index > 0 {
            said.push('\n');
        }
        place(&mut said, text, problem);
    }
    said
}

fn place(said: &mut String, text: &str, problem: &Problem) {
    let Some(at) = problem.at.map(|at| at.min(text.len())) else {
        let _ = write!(said, "ERROR: <input>:-1:0: {}", problem.why);
        return;
    };
    if text.is_empty() {
        let _ = write!(said, "ERROR: <input>:1:0: {}", problem.why);
        return;
    }
    let before = text.get(..at).unwrap_or(text);
    let (line, start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |end| end + 1));
    let prefix = text.get(start..at).unwrap_or_default();
    let column = prefix.chars().count();
    let shown = text[start..].split('\n').next().unwrap_or_default().replace('\t', " ");
    let _ = write!(said, "ERROR: <input>:{line}:{}: {}\n | {shown}\n | ", column + 1, problem.why);
    // Wide characters are marked with wide dots, so that the mark stands below its place.
    said.extend(prefix.chars().map(|c| if c.len_utf8() > 1 { '\u{ff0e}' } else { '.' }));
    said.push(if text[at..].chars().next().is_some_and(|c| c.len_utf8() > 1) { '\u{ff3e}' } else { '^' });
}

/// Why an expression came to nothing when it ran, as kube-apiserver words it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvalError {
    /// It costs more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostExceeded,
    /// No function takes these operands.
    #[error("no such overload")]
    NoSuchOverload,
    /// There is nothing of this name.
    #[error("no such attribute(s): {0}")]
    NoSuchAttribute(String),
    /// A map has no such key.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl EvalError {
    pub(crate) fn other(why: impl Into<String>) -> Self {
        Self::Other(why.into())
    }
}
