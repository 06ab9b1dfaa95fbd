//! Kinds of `apiregistration.k8s.io`.

mod api_service;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "APIService" => &api_service::ApiService,
        _ => return None,
    })
}
