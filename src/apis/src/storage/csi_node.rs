//! CSINodes: which drivers run on a node.

use std::collections::HashSet;

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    names,
};
use serde_json::Value;

use super::check_driver_name;
use crate::{
    checks,
    golang::{Shape, Struct},
    json::{field, int, list, text},
    kind::Kind,
    metadata,
};

const ID_MAX: usize = 192;

static ALLOCATABLE: Struct = Struct(&[("Count", "count", Shape::Any)]);
static DRIVER: Struct = Struct(&[
    ("Name", "name", Shape::Text),
    ("NodeID", "nodeID", Shape::Text),
    ("TopologyKeys", "topologyKeys", Shape::Any),
    ("Allocatable", "allocatable", Shape::Pointer(&ALLOCATABLE)),
]);

pub(crate) struct CsiNode;

impl Kind for CsiNode {
    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
        validate(new, errors);
        // A driver may come and go; one that stays is the same, but for how many volumes it takes.
        let fixed = |driver: &Value| [text(driver, "nodeID").to_owned(), field(driver, "topologyKeys").to_string()];
        let drivers = |object| list(field(object, "spec"), "drivers");
        for driver in drivers(new) {
            let before = drivers(old).iter().find(|before| text(before, "name") == text(driver, "name"));
            if before.is_some_and(|before| fixed(before) != fixed(driver)) {
                let path = Path::new("CSINodeDriver");
                errors.push(checks::shown(ErrorKind::Invalid, &path, &DRIVER.show(driver), checks::IMMUTABLE));
            }
        }
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("drivers");
    let mut seen = HashSet::new();
    for (index, driver) in list(field(object, "spec"), "drivers").iter().enumerate() {
        let path = path.index(index);
        let (name, id) = (text(driver, "name"), text(driver, "nodeID"));
        check_driver_name(errors, &path.child("name"), name);
        if checks::required(errors, &path.child("nodeID"), id) && id.len() > ID_MAX {
            errors.push(FieldError::invalid(&path.child("nodeID"), id, format!("must be {ID_MAX} characters or less")));
        }
        let count = int(field(driver, "allocatable"), "count");
        checks::non_negative(errors, &path.child("allocatable").child("count"), count);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let mut keys = HashSet::new();
        for key in list(driver, "topologyKeys").iter().map(|key| key.as_str().unwrap_or_default()) {
            checks::required(errors, &path, key);
            if !keys.insert(key) {
                errors.push(FieldError::duplicate(&path, key));
            }
            checks::invalid(errors, &path, key, names::is_qualified_name(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_driver_that_stays_is_the_same() {
        let node = |id: &str, count: i64| {
            let driver = json!({"name": "a", "nodeID": id, "allocatable": {"count": count}});
            json!({"metadata": {"name": "n", "resourceVersion": "1"}, "spec": {"drivers": [driver]}})
        };
        let check =
            |new: &Value| crate::validate_update("storage.k8s.io", "CSINode", None, new, &node("i", 1)).to_string();
        assert_eq!(check(&node("i", 2)), "");
        assert!(check(&node("j", 1)).ends_with("field is immutable"));
        assert!(check(&node("i", -1)).contains("greater than or equal to 0"));
    }
}
