//! Defaults and validation of the built-in kinds, one file a kind.
