//! `IntOrString`: a number, or a name or percentage.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A number or a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A text.
    String(String),
}

impl IntOrString {
    /// Reads a JSON value; `None` when it is neither.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::String(text.clone())),
            Value::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()).map(Self::Int),
            _ => None,
        }
    }

    /// The number it is or, when it is a percentage, that share of `total`, rounded up or down; `None` for another text.
    pub fn scaled(&self, total: i64, round_up: bool) -> Option<i64> {
        match self {
            Self::Int(number) => Some(i64::from(*number)),
            Self::String(_) => {
                let product = self.percent()?.saturating_mul(total);
                let up = i64::from(round_up && product % 100 != 0);
                Some(product.div_euclid(100) + up)
            }
        }
    }

    /// The percentage it is; `None` when it is something else.
    pub fn percent(&self) -> Option<i64> {
        match self {
            Self::Int(_) => None,
            Self::String(text) => text.strip_suffix('%')?.parse().ok(),
        }
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::String(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let quarter = IntOrString::from_json(&json!("25%")).expect("a text");
        assert_eq!(quarter.scaled(10, true), Some(3));
        assert_eq!(quarter.scaled(10, false), Some(2));
        assert_eq!(IntOrString::Int(7).scaled(10, true), Some(7));
        assert_eq!(IntOrString::String("http".into()).scaled(10, true), None);
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        for value in [json!(80), json!("http")] {
            let read = IntOrString::from_json(&value).expect("either");
            assert_eq!(serde_json::to_value(read).expect("JSON"), value);
        }
        assert_eq!(IntOrString::from_json(&json!(true)), None);
    }
}
