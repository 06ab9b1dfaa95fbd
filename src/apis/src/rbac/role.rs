//! Roles and ClusterRoles.

use apimachinery::names;
use serde_json::Value;

use crate::{json::default, kind::Kind};

pub(crate) struct Role;

impl Kind for Role {
    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_path_segment_name(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "rules", Value::Null);
    }
}
