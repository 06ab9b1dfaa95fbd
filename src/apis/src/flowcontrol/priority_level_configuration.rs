//! PriorityLevelConfigurations.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

use super::check_status;
use crate::{
    checks,
    json::{default, default_int, field, has, int, text, with},
    kind::Kind,
    metadata,
};

const QUEUES_MAX: i64 = 10_000_000;
/// Bits that dealing a hand may take.
const ENTROPY_MAX: f64 = 60.0;

pub(crate) struct PriorityLevelConfiguration;

impl Kind for PriorityLevelConfiguration {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            if text(spec, "type") == "Exempt" {
                default(spec, "exempt", json!({}));
            }
            with(spec, "exempt", |exempt| {
                default(exempt, "nominalConcurrencyShares", 0);
                default(exempt, "lendablePercent", 0);
            });
            with(spec, "limited", |limited| {
                default(limited, "nominalConcurrencyShares", 30);
                default(limited, "lendablePercent", 0);
                with(limited, "limitResponse", |response| {
                    with(response, "queuing", |queuing| {
                        default_int(queuing, "queues", 64);
                        default_int(queuing, "handSize", 8);
                        default_int(queuing, "queueLengthLimit", 50);
                    });
                });
            });
        });
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_metadata_update(&self, subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        if subresource.is_none() {
            metadata::validate(&|name| self.check_name(name), new, errors);
        }
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            check_status(new, errors);
        } else {
            validate(new, errors);
        }
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    let kind = text(spec, "type");
    match kind {
        "Exempt" => {
            if has(spec, "limited") {
                errors.push(FieldError::forbidden(&path.child("limited"), "must be nil if the type is Exempt"));
            }
            let (path, exempt) = (path.child("exempt"), field(spec, "exempt"));
            if exempt.is_null() {
                errors.push(FieldError::required(&path, "must not be empty when type is Exempt"));
            }
            check_shares(exempt, &path, errors);
            check_lendable(exempt, &path, errors);
        }
        "Limited" => {
            if has(spec, "exempt") {
                errors.push(FieldError::forbidden(&path.child("exempt"), "must be nil if the type is Limited"));
            }
            if has(spec, "limited") {
                check_limited(field(spec, "limited"), &path.child("limited"), errors);
            } else {
                let detail = "must not be empty when type is Limited";
                errors.push(FieldError::required(&path.child("limited"), detail));
            }
        }
        other => checks::one_of(errors, &path.child("type"), other, &["Exempt", "Limited"]),
    }
    check_status(object, errors);
}

fn check_shares(level: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(shares) = int(level, "nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let detail = "must be a non-negative integer";
        errors.push(FieldError::invalid(&path.child("nominalConcurrencyShares"), shares, detail));
    }
}

fn check_lendable(level: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(percent) = int(level, "lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        let detail = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(&path.child("lendablePercent"), percent, detail));
    }
}

fn check_limited(limited: &Value, path: &Path, errors: &mut ErrorList) {
    check_shares(limited, path, errors);
    let (at, response) = (path.child("limitResponse"), field(limited, "limitResponse"));
    let queuing_at = at.child("queuing");
    match text(response, "type") {
        "Reject" if has(response, "queuing") => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(&queuing_at, detail));
        }
        "Reject" => {}
        "Queue" if has(response, "queuing") => check_queuing(field(response, "queuing"), &queuing_at, errors),
        "Queue" => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(&queuing_at, detail));
        }
        other => checks::one_of(errors, &at.child("type"), other, &["Queue", "Reject"]),
    }
    check_lendable(limited, path, errors);
    if let Some(percent) = int(limited, "borrowingLimitPercent").filter(|percent| *percent < 0) {
        let detail = "if specified, must be at least 0";
        errors.push(FieldError::invalid(&path.child("borrowingLimitPercent"), percent, detail));
    }
}

fn check_queuing(queuing: &Value, path: &Path, errors: &mut ErrorList) {
    let number = |name: &str| int(queuing, name).unwrap_or_default();
    let mut refuse = |name: &str, detail: String| {
        errors.push(FieldError::invalid(&path.child(name), number(name), detail));
    };
    if number("queueLengthLimit") <= 0 {
        refuse("queueLengthLimit", "must be positive".into());
    }
    let (queues, hand) = (number("queues"), number("handSize"));
    if queues <= 0 {
        refuse("queues", "must be positive".into());
    } else if queues > QUEUES_MAX {
        refuse("queues", format!("must not be greater than {QUEUES_MAX}"));
    }
    if hand <= 0 {
        refuse("handSize", "must be positive".into());
    } else if hand > queues {
        refuse("handSize", format!("should not be greater than queues ({queues})"));
    } else if entropy(queues, hand) > ENTROPY_MAX {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {ENTROPY_MAX}"
        );
        refuse("handSize", detail);
    }
}

/// Bits that it takes to deal a hand of that many of so many queues.
fn entropy(queues: i64, hand: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are at most ten million queues")]
    let bits = |left: i64| (left as f64).log2();
    // A larger hand needs more than is allowed in any case.
    (0..hand.min(64)).map(|dealt| bits(queues - dealt)).sum::<f64>().ceil()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_limited_or_exempt() {
        let said = |spec: Value| {
            let mut object = json!({"metadata": {"name": "p"}, "spec": spec});
            crate::set_defaults("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", &mut object);
            let errors = crate::validate_create("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", &object);
            errors.iter().map(|error| format!("{}: {}", error.field, error.kind)).collect::<Vec<_>>()
        };
        assert!(said(json!({"type": "Exempt"})).is_empty());
        assert!(
            said(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}})).is_empty()
        );
        assert_eq!(said(json!({"type": "Limited"})), ["spec.limited: Required value"]);
        let queuing = json!({"queues": 2, "handSize": 3});
        assert_eq!(
            said(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}})),
            ["spec.limited.limitResponse.queuing.handSize: Invalid value"]
        );
        assert!(entropy(QUEUES_MAX, 3) > ENTROPY_MAX && entropy(64, 8) < ENTROPY_MAX);
    }
}
