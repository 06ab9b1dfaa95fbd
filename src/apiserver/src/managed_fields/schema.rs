//! The places of built-in kinds, as the comparison asks about them.

use serde_json::{Value, json};

use super::{Node, Shape};
use crate::facts::{self, List};

/// A place in a kind's objects: the field that leads to it, and the field above.
#[derive(Debug, Clone)]
pub struct Place {
    kind: String,
    parent: String,
    field: String,
    item: bool,
}

/// The objects of a kind.
pub fn of(_group: &str, _version: &str, kind: &str) -> Option<Place> {
    Some(Place { kind: kind.to_owned(), parent: String::new(), field: String::new(), item: false })
}

impl Node for Place {
    fn shape(&self) -> Shape<Self> {
        if self.item {
            return if facts::is_atomic_item(&self.field) { Shape::Leaf } else { Shape::Fields };
        }
        if facts::is_atomic_map(&self.kind, &self.field) {
            return Shape::Leaf;
        }
        match facts::list(&self.kind, &self.parent, &self.field) {
            // Whether the value is a map or not is seen where it is compared.
            List::Atomic => Shape::Fields,
            List::Set => Shape::Values,
            List::Keyed(_, keys) => {
                let item = Self { item: true, ..self.clone() };
                Shape::Keyed(keys.iter().map(|key| (*key).to_owned()).collect(), item)
            }
        }
    }

    fn field(&self, name: &str) -> Option<Self> {
        Some(Self { kind: self.kind.clone(), parent: self.field.clone(), field: name.to_owned(), item: false })
    }

    fn key_default(&self, key: &str) -> Option<Value> {
        (key == "protocol").then(|| json!("TCP"))
    }
}
