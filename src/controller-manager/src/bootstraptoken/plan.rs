//! When a bootstrap token is over.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

/// The types of Secrets that are tokens with an expiration: Kubernetes' bootstrap tokens, and Coracle's join tokens.
pub const TYPES: [&str; 2] = ["bootstrap.kubernetes.io/token", component_base::join_token::SECRET_TYPE];

/// That moment; `None` when it has none that can be read.
pub fn expiry(secret: &Secret) -> Option<Timestamp> {
    let at = secret.data.as_ref()?.get("expiration")?;
    std::str::from_utf8(&at.0).ok()?.parse().ok()
}

/// What cannot be read of it.
pub fn malformed(secret: &Secret) -> bool {
    let given = secret.data.as_ref().and_then(|data| data.get("expiration"));
    given.is_some_and(|given| !given.0.is_empty()) && expiry(secret).is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_without_a_time_stays_and_one_with_nonsense_is_over() {
        let secret = |at: &str| -> Secret {
            serde_json::from_value(json!({"metadata": {}, "data": {"expiration": at}})).expect("a secret")
        };
        let read = secret("MjAyNi0wMS0wMVQwMDowMDowMFo=");
        assert_eq!(expiry(&read).map(|at| at.to_string()).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert!(!malformed(&read) && !malformed(&secret("")) && malformed(&secret("eA==")));
    }
}
