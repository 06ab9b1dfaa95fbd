//! How Go shows the structures that kube-apiserver holds objects in: error messages quote them.
//!
//! Inside of kube-apiserver a structure has other names and another order than on the wire, and nothing is left out. A [`Struct`]
//! says for one structure which field of the JSON object stands where.

use std::fmt::Write as _;

use apimachinery::{gotext, quantity::Quantity};
use serde_json::Value;

use crate::json;

/// The fields of a structure in Go's order: Go's name, the name on the wire, and what is there.
pub(crate) struct Struct(pub(crate) &'static [(&'static str, &'static str, Shape)]);

/// What a field holds.
pub(crate) enum Shape {
    /// A text, `""` when there is none.
    Text,
    /// A number, `0` when there is none.
    Int,
    /// A truth value, `false` when there is none.
    Bool,
    /// Anything that looks as on the wire: pointers to numbers and texts, lists and maps of texts. `null` when there is none.
    Any,
    /// An amount; `"0"` when there is none.
    Quantity,
    /// A pointer to an amount, or `null`.
    QuantityPointer,
    /// A map of amounts, or `null`.
    Quantities,
    /// A structure.
    Struct(&'static Struct),
    /// A pointer to a structure, or `null`.
    Pointer(&'static Struct),
    /// A list of structures, or `null`.
    List(&'static Struct),
    /// The same as another field without its name: left out when there is nothing.
    Omit(&'static Shape),
    /// A structure whose fields stand in the same object.
    Inline(&'static Struct),
    /// Nothing that the wire has.
    Fixed(&'static str),
}

impl Struct {
    /// The structure as Go's `json.Marshal` shows it.
    pub(crate) fn show(&self, value: &Value) -> String {
        let mut out = String::new();
        self.write(&mut out, value);
        out
    }

    /// A pointer to the structure: `null` when there is none.
    pub(crate) fn show_pointer(&self, value: &Value) -> String {
        if value.is_null() { "null".into() } else { self.show(value) }
    }

    fn write(&self, out: &mut String, value: &Value) {
        out.push('{');
        self.write_fields(out, value, &mut true);
        out.push('}');
    }

    fn write_fields(&self, out: &mut String, value: &Value, first: &mut bool) {
        for (name, wire, shape) in self.0 {
            let (field, shape) = match shape {
                Shape::Inline(inner) => {
                    inner.write_fields(out, value, first);
                    continue;
                }
                Shape::Omit(inner) => match json::some(value, wire) {
                    Some(field) if !is_empty(field) => (field, *inner),
                    _ => continue,
                },
                shape => (json::field(value, wire), shape),
            };
            if !std::mem::take(first) {
                out.push(',');
            }
            let _ = write!(out, "\"{name}\":");
            shape.write(out, field);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn quantity(value: &Value) -> String {
    let text = Quantity::from_json(value).map_or_else(|_| gotext::plain(value), |amount| amount.to_string());
    gotext::quote(&text)
}

impl Shape {
    fn write(&self, out: &mut String, value: &Value) {
        match self {
            Self::Text => out.push_str(&gotext::json(&Value::from(value.as_str().unwrap_or_default()))),
            Self::Int => {
                let _ = write!(out, "{}", value.as_i64().unwrap_or_default());
            }
            Self::Bool => {
                let _ = write!(out, "{}", value.as_bool().unwrap_or_default());
            }
            Self::Any => out.push_str(&gotext::json(value)),
            Self::Quantity => out.push_str(&quantity(value)),
            Self::QuantityPointer if value.is_null() => out.push_str("null"),
            Self::QuantityPointer => out.push_str(&quantity(value)),
            Self::Quantities => write_map(out, value, |out, value| out.push_str(&quantity(value))),
            Self::Struct(inner) | Self::Inline(inner) => inner.write(out, value),
            Self::Pointer(inner) => out.push_str(&inner.show_pointer(value)),
            Self::List(inner) => match value.as_array() {
                None => out.push_str("null"),
                Some(items) => {
                    out.push('[');
                    for (index, item) in items.iter().enumerate() {
                        if index > 0 {
                            out.push(',');
                        }
                        inner.write(out, item);
                    }
                    out.push(']');
                }
            },
            Self::Omit(inner) => inner.write(out, value),
            Self::Fixed(text) => out.push_str(text),
        }
    }
}

fn write_map(out: &mut String, value: &Value, write: impl Fn(&mut String, &Value)) {
    let Some(fields) = value.as_object() else {
        out.push_str("null");
        return;
    };
    out.push('{');
    for (index, (key, value)) in fields.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(out, "{comma}{}:", gotext::json(&Value::from(key.as_str())));
        write(out, value);
    }
    out.push('}');
}

/// `metav1.LabelSelector`, which looks the same inside, but for the order of fields.
pub(crate) static LABEL_SELECTOR: Struct = Struct(&[
    ("matchLabels", "matchLabels", Shape::Omit(&Shape::Any)),
    ("matchExpressions", "matchExpressions", Shape::Omit(&Shape::List(&LABEL_SELECTOR_REQUIREMENT))),
]);

static LABEL_SELECTOR_REQUIREMENT: Struct = Struct(&[
    ("key", "key", Shape::Text),
    ("operator", "operator", Shape::Text),
    ("values", "values", Shape::Omit(&Shape::Any)),
]);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_structure_has_gos_names_in_gos_order_and_nothing_is_left_out() {
        static INNER: Struct = Struct(&[("B", "b", Shape::Int), ("A", "a", Shape::Text)]);
        static OUTER: Struct = Struct(&[
            ("Z", "z", Shape::List(&INNER)),
            ("Y", "y", Shape::Pointer(&INNER)),
            ("X", "x", Shape::Struct(&INNER)),
            ("Q", "q", Shape::Quantity),
            ("W", "w", Shape::Bool),
            ("V", "v", Shape::Any),
        ]);
        assert_eq!(
            OUTER.show(&json!({"z": [{"a": "<"}], "v": ["t"], "q": "1.0Gi"})),
            r#"{"Z":[{"B":0,"A":"\u003c"}],"Y":null,"X":{"B":0,"A":""},"Q":"1Gi","W":false,"V":["t"]}"#
        );
        assert_eq!(OUTER.show_pointer(&Value::Null), "null");
    }
}
