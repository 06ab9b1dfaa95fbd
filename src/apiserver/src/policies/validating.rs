//! ValidatingAdmissionPolicies.

use apimachinery::status::{GroupResource, Status, StatusCause};
use serde_json::Value;

use super::{Applies, Scene, applies, bound, compiled::Compiled, matches, namespace, params};
use crate::{endpoints::Failure, webhooks::Asked};

/// The longest message that an expression may make.
const MESSAGE_MAX: usize = 5 * 1024;

/// Something that a policy has against a request.
struct Complaint {
    message: String,
    reason: String,
}

impl Complaint {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), reason: "Invalid".into() }
    }
}

/// Holds a request against all policies that are bound to it.
///
/// # Errors
/// When one denies it.
pub fn validate(asked: &Asked<'_>, object: Option<&Value>, old: Option<&Value>) -> Result<(), Failure> {
    let bound = bound(asked, "validatingadmissionpolicies", "validatingadmissionpolicybindings");
    if bound.is_empty() {
        return Ok(());
    }
    let of_namespace = namespace(asked, object, old);
    let mut denied: Vec<Complaint> = Vec::new();
    for (policy, binding) in bound {
        let policy = policy.object();
        let covered = matches(asked, policy["spec"].get("matchConstraints"), object, old)
            && matches(asked, binding["spec"].get("matchResources"), object, old);
        if !covered {
            continue;
        }
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let (policy_name, binding_name) = (name(&policy), name(&binding));
        let is_strict = policy["spec"]["failurePolicy"] != "Ignore";
        let complaints = match params(asked, &policy, &binding) {
            Err(why) if is_strict => vec![Complaint::new(format!("failed to configure binding: {why}"))],
            Err(_) => continue,
            Ok(params) => {
                let compiled = asked.core.policies.policy(&policy);
                let mut scene = Scene::new(asked, object, old, of_namespace.as_deref(), &compiled);
                let mut complaints = Vec::new();
                for params in params {
                    scene.set_params(params.as_deref());
                    judge(&scene, &compiled, &policy, is_strict, &mut complaints);
                }
                complaints
            }
        };
        let actions: Vec<&str> =
            binding["spec"]["validationActions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for complaint in complaints {
            if actions.contains(&"Warn") {
                asked.context.warnings.add(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy_name}' with binding '{binding_name}': {}",
                    complaint.message
                ));
            }
            // What failed to be judged at all is denied whatever the binding does with judgements.
            if actions.contains(&"Deny") || actions.is_empty() {
                let said = format!(
                    "ValidatingAdmissionPolicy '{policy_name}' with binding '{binding_name}' denied request: {}",
                    complaint.message
                );
                denied.push(Complaint { message: said, reason: complaint.reason });
            }
        }
    }
    let Some(first) = denied.first() else { return Ok(()) };
    let resource = GroupResource::new(&asked.resource.group, &asked.resource.name);
    let mut status = Status::forbidden(&resource, asked.name, &first.message);
    status.reason.clone_from(&first.reason);
    status.code = match first.reason.as_str() {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    if let Some(details) = &mut status.details {
        let cause =
            |complaint: &Complaint| StatusCause { message: complaint.message.clone(), ..StatusCause::default() };
        details.causes = denied.iter().map(cause).collect();
    }
    Err(Box::new(status))
}

/// What one policy has against the request.
fn judge(scene: &Scene<'_>, compiled: &Compiled, policy: &Value, is_strict: bool, complaints: &mut Vec<Complaint>) {
    match applies(scene) {
        Applies::Yes => {}
        Applies::No => return,
        Applies::Unknown(why) => {
            if is_strict {
                complaints.push(Complaint::new(why));
            }
            return;
        }
    }
    let given = policy["spec"]["validations"].as_array().map_or(&[][..], Vec::as_slice);
    for (validation, demanded) in compiled.validations.iter().zip(given) {
        let text = |field: &str| demanded[field].as_str().unwrap_or_default().trim();
        match scene.run(&validation.expression) {
            Ok(value) if value.is_true() => {}
            Ok(_) => {
                let made = validation.message.as_ref().and_then(|message| scene.run(&Ok(message.clone())).ok());
                let made = made.as_ref().and_then(|value| value.as_str()).map(str::trim);
                let made = made.filter(|made| !made.is_empty() && made.len() <= MESSAGE_MAX && !made.contains('\n'));
                let message = match (made, text("message")) {
                    (Some(made), _) => made.to_owned(),
                    (None, "") => format!("failed expression: {}", text("expression")),
                    (None, message) => message.to_owned(),
                };
                let reason = match text("reason") {
                    "" => "Invalid",
                    reason => reason,
                };
                complaints.push(Complaint { message, reason: reason.to_owned() });
            }
            Err(why) if is_strict => {
                let message = format!("expression '{}' resulted in error: {why}", text("expression"));
                complaints.push(Complaint::new(message));
            }
            Err(_) => {}
        }
    }
}
