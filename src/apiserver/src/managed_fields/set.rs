//! Sets of field paths, as `managedFields` writes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of a map: `f:name`.
    Field(String),
    /// An item of a list by its keys: `k:{"name":"x"}`, the keys as canonical JSON.
    Key(String),
    /// An item of a set by its value: `v:"x"`, the value as JSON.
    Value(String),
    /// An item of a list by its place: `i:0`.
    Index(usize),
}

impl Step {
    fn read(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => Some(Self::Key(canonical(rest)?)),
            "v" => Some(Self::Value(canonical(rest)?)),
            "i" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => format!("k:{keys}"),
            Self::Value(value) => format!("v:{value}"),
            Self::Index(index) => format!("i:{index}"),
        }
    }
}

fn canonical(json: &str) -> Option<String> {
    serde_json::from_str::<Value>(json).ok().map(|value| value.to_string())
}

/// A set of paths: a tree whose nodes say whether the path to them is in the set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    member: bool,
    children: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    /// The set of the one empty path, which is what stands for a whole.
    fn leaf() -> Self {
        Self { member: true, children: BTreeMap::new() }
    }

    /// A set of paths of fields.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let steps: Vec<Step> = path.iter().map(|name| Step::Field((*name).to_owned())).collect();
            set.insert(&steps);
        }
        set
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[Step]) {
        let mut node = self;
        for step in path {
            node = node.children.entry(step.clone()).or_default();
        }
        node.member = true;
    }

    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    /// What is in one of the two.
    pub fn union(mut self, other: &Self) -> Self {
        self.merge(other);
        self
    }

    fn merge(&mut self, other: &Self) {
        self.member |= other.member;
        for (step, child) in &other.children {
            self.children.entry(step.clone()).or_default().merge(child);
        }
    }

    /// What is in this and not, by exactly the same path, in the other.
    pub fn difference(mut self, other: &Self) -> Self {
        self.subtract(other);
        self
    }

    fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        for (step, child) in &other.children {
            if let Some(own) = self.children.get_mut(step) {
                own.subtract(child);
                if own.is_empty() {
                    self.children.remove(step);
                }
            }
        }
    }

    /// What is in this and neither in the other nor below what is in the other.
    pub fn without_below(mut self, other: &Self) -> Self {
        self.prune(other);
        self
    }

    fn prune(&mut self, other: &Self) {
        for (step, child) in &other.children {
            if child.member {
                self.children.remove(step);
            } else if let Some(own) = self.children.get_mut(step) {
                own.prune(child);
                if own.is_empty() {
                    self.children.remove(step);
                }
            }
        }
    }

    /// Reads `fieldsV1`; what is not understood is left out.
    pub fn read(fields: &Value) -> Self {
        let mut set = Self::default();
        for (name, below) in fields.as_object().into_iter().flatten() {
            if name == "." {
                set.member = true;
                continue;
            }
            let Some(step) = Step::read(name) else { continue };
            let mut child = Self::read(below);
            if below.as_object().is_none_or(Map::is_empty) {
                child = Self::leaf();
            }
            set.children.insert(step, child);
        }
        set
    }

    /// Writes `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.children.is_empty() {
            fields.insert(".".into(), Value::Object(Map::new()));
        }
        for (step, child) in self.children.iter().filter(|(_, child)| !child.is_empty()) {
            fields.insert(step.write(), child.write());
        }
        Value::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields() -> Value {
        json!({"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}}}}})
    }

    #[test]
    fn a_set_is_written_as_it_was_read() {
        assert_eq!(FieldSet::read(&fields()).write(), fields());
        assert!(FieldSet::read(&json!({})).is_empty());
    }

    #[test]
    fn differences_are_exact_and_pruning_takes_all_below() {
        let set = FieldSet::read(&fields());
        let labels = FieldSet::of_fields(&[&["metadata", "labels"]]);
        assert_eq!(set.clone().difference(&labels).write()["f:metadata"], json!({"f:labels":{"f:a":{}}}));
        assert!(set.clone().without_below(&labels).write().get("f:metadata").is_none());
        assert!(set.clone().difference(&set).is_empty());
        assert_eq!(set.clone().difference(&labels).union(&labels), set);
    }
}
