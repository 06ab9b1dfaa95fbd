//! Whether a request may be made.

use apimachinery::status::Status;
use auth::{Attributes, Decision, NodeAuthorizer, RbacAuthorizer};

use crate::{core::Core, fail};

/// All that say what clients may do.
pub struct Authorizers {
    /// What nodes may do.
    pub node: NodeAuthorizer,
    /// What roles allow.
    pub rbac: RbacAuthorizer,
}

impl Authorizers {
    /// Asks them in turn; the first that has an opinion decides.
    pub fn decide(&self, attributes: &Attributes) -> Decision {
        if attributes.user.groups.iter().any(|group| group == "system:masters") {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        for authorize in
            [&(|| self.node.authorize(attributes)) as &dyn Fn() -> Decision, &|| self.rbac.authorize(attributes)]
        {
            match authorize() {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join(", "))
    }
}

impl admission::Authorizer for Authorizers {
    fn allows(&self, attributes: &Attributes) -> bool {
        matches!(self.decide(attributes), Decision::Allow(_))
    }
}

/// Lets an allowed request through.
///
/// # Errors
/// 403 in kube-apiserver's words.
pub fn require(core: &Core, attributes: &Attributes) -> Result<(), Box<Status>> {
    match core.authorizers.decide(attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(refusal(attributes, &reason).into()),
    }
}

/// The 403 for a request that is not allowed.
fn refusal(attributes: &Attributes, reason: &str) -> Status {
    let user = &attributes.user.name;
    let suffix = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let verb = &attributes.verb;
    if !attributes.resource_request {
        return fail::forbidden_path(format!(
            "forbidden: User {user:?} cannot {verb} path {:?}{suffix}",
            attributes.path
        ));
    }
    let resource = if attributes.subresource.is_empty() {
        attributes.resource.clone()
    } else {
        format!("{}/{}", attributes.resource, attributes.subresource)
    };
    let place = if attributes.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", attributes.namespace)
    };
    let why = format!(
        "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {place}{suffix}",
        attributes.api_group
    );
    fail::forbidden(&attributes.api_group, &attributes.resource, &attributes.name, &why)
}
