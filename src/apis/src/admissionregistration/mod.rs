//! Kinds of `admissionregistration.k8s.io`.

mod binding;
pub(crate) mod expressions;
mod policy;
mod rules;
mod webhook;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "ValidatingWebhookConfiguration" => &webhook::VALIDATING,
        "MutatingWebhookConfiguration" => &webhook::MUTATING,
        "ValidatingAdmissionPolicy" => &policy::VALIDATING,
        "MutatingAdmissionPolicy" => &policy::MUTATING,
        "ValidatingAdmissionPolicyBinding" => &binding::VALIDATING,
        "MutatingAdmissionPolicyBinding" => &binding::MUTATING,
        _ => return None,
    })
}
