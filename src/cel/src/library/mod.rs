//! The functions that expressions have: CEL's own, its extensions, and Kubernetes'. One file a library, named as its owner names it.

pub(crate) mod authorizer;
pub(crate) mod conversions;
pub(crate) mod format;
mod formatting;
pub(crate) mod ip;
mod lists;
pub(crate) mod operators;
mod optional;
mod quantity;
mod regex;
mod semver;
mod strings;
mod time;
pub(crate) mod url;

use crate::{error::EvalError, functions::Declaration, value::Value};

pub(crate) use operators::insert;

type Outcome = Result<Value, EvalError>;

/// All functions.
pub(crate) fn declarations() -> impl Iterator<Item = &'static Declaration> {
    [
        operators::FUNCTIONS,
        conversions::FUNCTIONS,
        time::FUNCTIONS,
        strings::FUNCTIONS,
        formatting::FUNCTIONS,
        lists::FUNCTIONS,
        optional::FUNCTIONS,
        regex::FUNCTIONS,
        url::FUNCTIONS,
        quantity::FUNCTIONS,
        ip::FUNCTIONS,
        semver::FUNCTIONS,
        format::FUNCTIONS,
        authorizer::FUNCTIONS,
    ]
    .into_iter()
    .flatten()
}

fn no_overload() -> Outcome {
    Err(EvalError::NoSuchOverload)
}

fn fail(why: impl Into<String>) -> Outcome {
    Err(EvalError::other(why))
}
