//! Schemas of custom resources, from their definitions.

/// What a definition demands of a value beyond its kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {}
