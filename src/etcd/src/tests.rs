//! The whole crate over a real store.
