//! CSIStorageCapacities: how much room there is for volumes of a class.

use apimachinery::{
    field::{ErrorKind, ErrorList, FieldError, Path},
    quantity::Quantity,
};
use serde_json::Value;

use crate::{
    checks,
    golang::LABEL_SELECTOR,
    json::{field, has, text},
    kind::Kind,
    labels, metadata,
};

pub(crate) struct CsiStorageCapacity;

impl Kind for CsiStorageCapacity {
    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate(&|name| self.check_name(name), new, errors);
        validate(new, errors);
        let (now, before) = (field(new, "nodeTopology"), field(old, "nodeTopology"));
        if now != before {
            let shown = LABEL_SELECTOR.show_pointer(now);
            let path = Path::new("nodeTopology");
            errors.push(checks::shown(ErrorKind::Invalid, &path, &shown, checks::IMMUTABLE));
        }
        checks::immutable_text(errors, &Path::new("storageClassName"), new, old, "storageClassName");
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    labels::check_selector(errors, &Path::new("nodeTopology"), field(object, "nodeTopology"));
    checks::dns_subdomain(errors, &Path::new("storageClassName"), text(object, "storageClassName"));
    for name in ["capacity", "maximumVolumeSize"] {
        if has(object, name)
            && let Ok(amount) = Quantity::from_json(field(object, name))
            && amount.sign() < 0
        {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(&Path::new(name), amount.to_string(), detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn room_is_told_of_a_class_and_a_part_of_the_cluster() {
        let old = json!({"metadata": {"name": "c", "resourceVersion": "1"}, "storageClassName": "s", "nodeTopology": {}, "capacity": "1Gi"});
        assert!(crate::validate_create("storage.k8s.io", "CSIStorageCapacity", &old).is_empty());
        let mut new = old.clone();
        new["capacity"] = "-1".into();
        new["storageClassName"] = "t".into();
        new["nodeTopology"] = json!({"matchLabels": {"a": "b"}});
        assert_eq!(crate::validate_update("storage.k8s.io", "CSIStorageCapacity", None, &new, &old).len(), 3);
    }
}
