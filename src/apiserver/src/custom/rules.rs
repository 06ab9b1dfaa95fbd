//! `x-kubernetes-validations`: the rules of a definition's schema, compiled once, held against objects.
//!
//! A rule sees the value of its place as `self`; one that also names `oldSelf` is about a change, and only runs where the old value of the
//! same place is known: fields by name, elements of lists by their keys. Where a value did not change, what a rule has against it is only
//! warned of.

use std::collections::BTreeMap;

use apimachinery::field::{ErrorList, FieldError, Path};
use cel::{Decl, EvalError, PER_CALL_LIMIT, PER_OBJECT_LIMIT, Program, Value as CelValue};
use serde_json::Value;

/// The longest message that an expression may make.
const MESSAGE_MAX: usize = 5 * 1024;

/// The rules of a schema.
#[derive(Debug)]
pub struct Rules(Node);

/// A place of a schema that has rules, or has places below it that do.
#[derive(Debug)]
struct Node {
    decl: Option<std::sync::Arc<Decl>>,
    kind: String,
    rules: Vec<Rule>,
    fields: BTreeMap<String, Node>,
    /// Elements of a list, or values of a map.
    element: Option<Box<Node>>,
    /// Whether the old value of what is below can be known.
    correlates: bool,
    keys: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    program: Result<Program, String>,
    text: String,
    message: String,
    message_program: Option<Program>,
    reason: String,
    place: String,
    optional_old: bool,
    uses_old: bool,
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl Rules {
    /// The rules of a schema, if it has any.
    pub fn of_schema(schema: &Value) -> Option<Self> {
        if !mentions_rules(schema) {
            return None;
        }
        let decl = Decl::of_schema(schema, true, "selfType").map(std::sync::Arc::new);
        Node::build(schema, decl).map(Self)
    }

    /// What is wrong with an object, or with its change; and what is only warned of.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> (ErrorList, Vec<String>) {
        let mut run = Run { errors: ErrorList::new(), warnings: Vec::new(), budget: PER_OBJECT_LIMIT, stopped: false };
        run.node(&self.0, &Path::root(), new, old, old.is_some_and(|old| old == new));
        (run.errors, run.warnings)
    }
}

fn mentions_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.contains_key("x-kubernetes-validations") || fields.values().any(mentions_rules),
        Value::Array(items) => items.iter().any(mentions_rules),
        _ => false,
    }
}

impl Node {
    fn build(schema: &Value, decl: Option<std::sync::Arc<Decl>>) -> Option<Self> {
        let given = schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
        let rules: Vec<Rule> = match &decl {
            Some(decl) => given.map(|rule| Rule::compile(rule, decl)).collect(),
            None => Vec::new(),
        };
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let fields: BTreeMap<String, Self> = properties
            .filter_map(|(name, property)| {
                let below = decl.as_ref().and_then(|decl| decl.field(name)).cloned();
                Some((name.clone(), Self::build(property, below)?))
            })
            .collect();
        let element = ["items", "additionalProperties"]
            .iter()
            .find_map(|name| schema.get(name).filter(|below| below.is_object()));
        let element = element.and_then(|below| {
            let decl = decl.as_ref().and_then(|decl| decl.element()).cloned();
            Self::build(below, decl).map(Box::new)
        });
        if rules.is_empty() && fields.is_empty() && element.is_none() {
            return None;
        }
        let list = text(schema, "x-kubernetes-list-type");
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
        let kind = text(schema, "type").to_owned();
        let correlates =
            if kind == "array" { list == "map" } else { text(schema, "x-kubernetes-map-type") != "atomic" };
        let keys = keys.filter_map(|key| key.as_str().map(str::to_owned)).collect();
        Some(Self { decl, kind, rules, fields, element, correlates, keys })
    }

    /// The old element that has the keys of a new one.
    fn old_element<'o>(&self, new: &Value, old: Option<&'o Value>) -> Option<&'o Value> {
        let old = old?.as_array().filter(|_| self.correlates)?;
        old.iter().find(|item| self.keys.iter().all(|key| item.get(key) == new.get(key)))
    }
}

impl Rule {
    fn compile(rule: &Value, decl: &Decl) -> Self {
        let optional_old = rule.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or_default();
        let env = apis::rule_environment(decl, optional_old);
        let program = Program::compile(text(rule, "rule"), &env);
        let uses_old = program.as_ref().is_ok_and(|program| program.refers_to("oldSelf"));
        let expression = text(rule, "messageExpression");
        Self {
            program,
            text: text(rule, "rule").trim().to_owned(),
            message: text(rule, "message").trim().to_owned(),
            message_program: Some(expression)
                .filter(|text| !text.is_empty())
                .and_then(|text| Program::compile(text, &env).ok()),
            reason: text(rule, "reason").to_owned(),
            place: text(rule, "fieldPath").replace("['", ".").replace("']", "").trim_start_matches('.').to_owned(),
            optional_old,
            uses_old,
        }
    }

    /// As errors name the rule.
    fn shown(&self) -> &str {
        if self.message.is_empty() { &self.text } else { &self.message }
    }

    fn error(&self, path: &Path, kind: &str, detail: String) -> FieldError {
        match self.reason.as_str() {
            "FieldValueForbidden" => FieldError::forbidden(path, detail),
            "FieldValueRequired" => FieldError::required(path, detail),
            "FieldValueDuplicate" => FieldError::duplicate(path, kind),
            _ => FieldError::invalid(path, kind, detail),
        }
    }
}

struct Run {
    errors: ErrorList,
    warnings: Vec<String>,
    budget: u64,
    stopped: bool,
}

impl Run {
    fn node(&mut self, node: &Node, path: &Path, new: &Value, old: Option<&Value>, unchanged: bool) {
        if new.is_null() || self.stopped {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        if !node.rules.is_empty()
            && let Some(decl) = &node.decl
        {
            self.rules(node, decl, path, new, old, unchanged);
        }
        match new {
            Value::Array(items) => {
                let Some(element) = &node.element else { return };
                for (index, item) in items.iter().enumerate() {
                    let before = node.old_element(item, old);
                    let same = before.map_or(unchanged, |before| before == item);
                    self.node(element, &path.index(index), item, before, same);
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    let below = node.fields.get(name).map(|below| (below, path.child(name)));
                    let Some((below, at)) = below.or_else(|| Some((node.element.as_deref()?, path.key(name)))) else {
                        continue;
                    };
                    let before = old.filter(|_| node.correlates).and_then(|old| old.get(name));
                    let same = if node.correlates { before.is_some_and(|before| before == value) } else { unchanged };
                    self.node(below, &at, value, before, same);
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, node: &Node, decl: &Decl, path: &Path, new: &Value, old: Option<&Value>, unchanged: bool) {
        let own = CelValue::typed(new, decl);
        let before = old.map(|old| CelValue::typed(old, decl));
        for rule in &node.rules {
            if rule.uses_old && before.is_none() && !rule.optional_old {
                continue;
            }
            let program = match &rule.program {
                Ok(program) => program,
                Err(why) => {
                    self.errors.push(FieldError::invalid(
                        path,
                        node.kind.as_str(),
                        format!("rule compile error: {why}"),
                    ));
                    continue;
                }
            };
            let old_self = match (rule.optional_old, &before) {
                (true, before) => CelValue::optional(before.clone()),
                (false, Some(before)) => before.clone(),
                (false, None) => CelValue::Null,
            };
            let given = [("self", own.clone()), ("oldSelf", old_self)];
            let (outcome, cost) = program.run(&given, PER_CALL_LIMIT);
            if matches!(outcome, Err(EvalError::CostExceeded)) {
                let detail = format!(
                    "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    EvalError::CostExceeded,
                    rule.shown()
                );
                return self.stop(FieldError::invalid(path, node.kind.as_str(), detail));
            }
            if cost > self.budget {
                let detail =
                    "validation failed due to running out of cost budget, no further validation rules will be run";
                return self.stop(FieldError::invalid(path, node.kind.as_str(), detail));
            }
            self.budget -= cost;
            match outcome {
                Ok(value) if value.is_true() => continue,
                Ok(_) => {}
                Err(EvalError::NoSuchOverload) => {
                    let detail = format!(
                        "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: {}",
                        rule.shown()
                    );
                    self.errors.push(FieldError::invalid(path, node.kind.as_str(), detail));
                    continue;
                }
                Err(error) => {
                    let detail = format!("{error} evaluating rule: {}", rule.shown());
                    self.errors.push(FieldError::invalid(path, node.kind.as_str(), detail));
                    continue;
                }
            }
            let at = if rule.place.is_empty() { path.clone() } else { path.child(&rule.place) };
            let detail = self.message(rule, &given).unwrap_or_else(|| {
                if rule.message.is_empty() { format!("failed rule: {}", rule.text) } else { rule.message.clone() }
            });
            let error = rule.error(&at, &node.kind, detail);
            if unchanged && !rule.uses_old {
                self.warnings.push(error.to_string());
            } else {
                self.errors.push(error);
            }
        }
    }

    /// What the rule's own expression says; none when that fails or says nothing usable.
    fn message(&mut self, rule: &Rule, given: &[(&str, CelValue); 2]) -> Option<String> {
        let (outcome, cost) = rule.message_program.as_ref()?.run(given, PER_CALL_LIMIT.min(self.budget));
        self.budget = self.budget.saturating_sub(cost);
        let value = outcome.ok()?;
        let said = value.as_str()?.trim();
        (!said.is_empty() && said.len() <= MESSAGE_MAX && !said.contains('\n')).then(|| said.to_owned())
    }

    fn stop(&mut self, error: FieldError) {
        self.errors.push(error);
        self.stopped = true;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(rules: Value, new: Value, old: Option<Value>) -> (Vec<String>, usize) {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": rules, "properties": {
            "n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 10"}]},
            "s": {"type": "string"},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
                "type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "must not shrink"}]}}}}}});
        let rules = Rules::of_schema(&schema).unwrap();
        let (errors, warnings) = rules.validate(&json!({"spec": new}), old.map(|old| json!({"spec": old})).as_ref());
        (errors.iter().map(ToString::to_string).collect(), warnings.len())
    }

    #[test]
    fn rules_are_held_against_values_and_their_changes() {
        let none = || json!([]);
        let item = |v: i64| json!({"l": [{"k": "a", "v": v}]});
        for (rules, new, old, want, warned) in [
            (none(), json!({"n": 5}), None, vec![], 0),
            (none(), json!({"n": 50}), None, vec!["spec.n: Invalid value: \"integer\": failed rule: self < 10"], 0),
            // What did not change is only warned of.
            (none(), json!({"n": 50, "s": "b"}), Some(json!({"n": 50, "s": "a"})), vec![], 1),
            (
                none(),
                json!({"n": 51}),
                Some(json!({"n": 50})),
                vec!["spec.n: Invalid value: \"integer\": failed rule: self < 10"],
                0,
            ),
            (none(), item(1), None, vec![], 0),
            (none(), item(2), Some(item(1)), vec![], 0),
            (none(), item(1), Some(item(2)), vec!["spec.l[0]: Invalid value: \"object\": must not shrink"], 0),
            (
                json!([{"rule": "has(self.s)", "message": "s is needed", "reason": "FieldValueRequired", "fieldPath": ".s"}]),
                json!({}),
                None,
                vec!["spec.s: Required value: s is needed"],
                0,
            ),
            (
                json!([{"rule": "self.n < 3", "messageExpression": "'n is ' + string(self.n)", "reason": "FieldValueForbidden"}]),
                json!({"n": 4}),
                None,
                vec!["spec: Forbidden: n is 4"],
                0,
            ),
            (
                json!([{"rule": "self.s == 'a'"}]),
                json!({}),
                None,
                vec!["spec: Invalid value: \"object\": no such key: s evaluating rule: self.s == 'a'"],
                0,
            ),
            (
                json!([{"rule": "oldSelf.hasValue() || self.n == 1", "optionalOldSelf": true, "message": "starts at one"}]),
                json!({"n": 2}),
                None,
                vec!["spec: Invalid value: \"object\": starts at one"],
                0,
            ),
        ] {
            let (errors, warnings) = said(rules, new.clone(), old);
            assert_eq!((errors.iter().map(String::as_str).collect::<Vec<_>>(), warnings), (want, warned), "of {new}");
        }
    }
}
