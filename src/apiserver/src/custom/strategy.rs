//! What a definition changes in the way of an object to the store: generations, and `status` as a side of its own.

use apimachinery::{field::ErrorList, schema};
use serde_json::{Value, json};

use super::Custom;
use crate::registry::meta;

impl Custom {
    /// What is wrong with an object, or with its change, by its schema and its rules; and what is only warned of.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> (ErrorList, Vec<String>) {
        let mut errors = schema::custom::validate(&self.compiled.0, new);
        // Rules are about objects that are what the schema says.
        match &self.rules.0 {
            Some(rules) if errors.is_empty() => {
                let (wrong, warnings) = rules.validate(new, old);
                errors.extend(wrong);
                (errors, warnings)
            }
            _ => (errors, Vec::new()),
        }
    }

    /// Makes a decoded object one that can be created.
    pub fn prepare_for_create(&self, object: &mut Value) {
        meta::set(object, "generation", 1);
        if self.has_status
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
    }

    /// Keeps from `old` what a request about this side of an object cannot change, and counts generations.
    pub fn prepare_for_update(&self, side: Option<&str>, new: &mut Value, old: &Value) {
        if side == Some("status") {
            let (status, metadata) = (new.get("status").cloned(), new["metadata"].take());
            *new = old.clone();
            let fields = new.as_object_mut();
            match (status, fields) {
                (Some(status), Some(fields)) => {
                    fields.insert("status".into(), status);
                }
                (None, Some(fields)) => {
                    fields.remove("status");
                }
                _ => {}
            }
            // Of the metadata only who owns which fields.
            if let Some(managed) = metadata.get("managedFields") {
                meta::set(new, "managedFields", managed.clone());
            }
            return;
        }
        if self.has_status {
            match old.get("status") {
                Some(status) => new["status"] = status.clone(),
                None => {
                    new.as_object_mut().map(|fields| fields.remove("status"));
                }
            }
        }
        let part = |object: &Value| {
            let mut object = object.clone();
            if let Some(fields) = object.as_object_mut() {
                fields.remove("metadata");
                fields.remove("apiVersion");
                if self.has_status {
                    fields.remove("status");
                }
            }
            object
        };
        let generation = meta::number(old, "generation").unwrap_or(0);
        let changed = part(new) != part(old);
        meta::set(new, "generation", if changed { generation + 1 } else { generation });
    }

    /// The scale of an object, where its definition says where the numbers lie.
    pub fn scale_of(&self, object: &Value) -> Option<Value> {
        let scale = self.scale.as_ref()?;
        let mut metadata = json!({});
        for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = object.pointer(&format!("/metadata/{field}")) {
                metadata[field] = value.clone();
            }
        }
        let mut spec = json!({});
        if let Some(replicas) = scale.spec.first(object).filter(|replicas| replicas.as_i64() != Some(0)) {
            spec["replicas"] = replicas.clone();
        }
        let mut status = json!({"replicas": scale.status.first(object).cloned().unwrap_or_else(|| json!(0))});
        let selector = scale.selector.as_ref().and_then(|path| path.first(object)).and_then(Value::as_str);
        if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
            status["selector"] = selector.into();
        }
        Some(json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_a_side_of_its_own_and_generations_count_the_rest() {
        let definition = json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}}]}});
        let resources = super::super::resources(&definition);
        let custom = resources[0].custom.as_ref().unwrap();
        let old = json!({"metadata": {"generation": 1}, "spec": {"a": 1}, "status": {"s": 1}});
        let mut new = json!({"metadata": {}, "spec": {"a": 2}, "status": {"s": 2}});
        custom.prepare_for_update(None, &mut new, &old);
        assert_eq!(new, json!({"metadata": {"generation": 2}, "spec": {"a": 2}, "status": {"s": 1}}));
        let mut new = json!({"metadata": {}, "spec": {"a": 2}, "status": {"s": 2}});
        custom.prepare_for_update(Some("status"), &mut new, &old);
        assert_eq!(new, json!({"metadata": {"generation": 1}, "spec": {"a": 1}, "status": {"s": 2}}));
    }
}
