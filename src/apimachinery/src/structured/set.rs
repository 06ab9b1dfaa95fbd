//! Sets of field paths, as `managedFields` writes them.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

use crate::schema::{Kind, Schema};

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

impl fmt::Display for Step {
    /// As messages write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
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

    /// Whether the path to this node is in the set.
    pub fn is_member(&self) -> bool {
        self.member
    }

    /// What lies below a step.
    pub fn child(&self, step: &Step) -> Option<&Self> {
        self.children.get(step)
    }

    /// Whether the path of one step is in it.
    pub fn has(&self, step: &Step) -> bool {
        self.children.get(step).is_some_and(|child| child.member)
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(step, child)| {
            let both = child.intersection(other.children.get(step)?);
            (!both.is_empty()).then(|| (step.clone(), both))
        });
        Self { member: self.member && other.member, children: children.collect() }
    }

    /// The same set, with the path to every field that the schema names in it wherever something below is.
    ///
    /// A field of a structure has no life of its own: who owns something in it has set it.
    pub fn with_named_fields(&self, schema: Option<&Schema>) -> Self {
        let children = self.children.iter().map(|(step, child)| {
            let (below, is_named) = match step {
                Step::Field(name) => {
                    let is_named = schema.is_some_and(|schema| match &schema.kind {
                        Kind::Struct(structure) => structure.field(name).is_some(),
                        _ => false,
                    });
                    (schema.and_then(|schema| schema.field(name)), is_named)
                }
                _ => (schema.and_then(Schema::items), false),
            };
            let mut child = child.with_named_fields(below);
            child.member |= is_named && !child.children.is_empty();
            (step.clone(), child)
        });
        Self { member: self.member, children: children.collect() }
    }

    /// All its paths, as messages write them: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: &mut String, paths: &mut Vec<String>) {
        // Members come before what is below any of them.
        for (step, child) in &self.children {
            if child.member {
                paths.push(format!("{path}{step}"));
            }
        }
        for (step, child) in &self.children {
            let length = path.len();
            path.push_str(&step.to_string());
            child.collect(path, paths);
            path.truncate(length);
        }
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
