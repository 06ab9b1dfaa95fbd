//! APIServices.

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    meta, names,
};
use serde_json::Value;

use crate::{
    checks,
    core::config_map::decoded_len,
    json::{default, field, flag, has, int, list, text, with},
    kind::Kind,
    metadata,
};

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1_000;

pub(crate) struct ApiService;

impl Kind for ApiService {
    fn has_status(&self) -> bool {
        true
    }

    fn check_name(&self, name: &str) -> Vec<String> {
        names::is_path_segment_name(name)
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| with(spec, "service", |service| default(service, "port", 443)));
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        validate(object, errors);
    }

    fn validate_metadata_update(&self, _subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        metadata::validate_change(new, old, errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, _old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            let path = Path::new("status").child("conditions");
            for (index, condition) in list(field(new, "status"), "conditions").iter().enumerate() {
                let path = path.index(index).child("status");
                checks::one_of(errors, &path, text(condition, "status"), &["True", "False", "Unknown"]);
            }
        } else {
            metadata::validate(&|name| self.check_name(name), new, errors);
            validate(new, errors);
        }
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    let (group, version, name) = (text(spec, "group"), text(spec, "version"), meta::name(object));
    let wanted = format!("{version}.{group}");
    if name != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(FieldError::invalid(&Path::new("metadata").child("name"), name, detail));
    }
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        errors.push(FieldError::required(&path.child("group"), detail));
    }
    if !group.is_empty() {
        checks::dns_subdomain(errors, &path.child("group"), group);
    }
    checks::invalid(errors, &path.child("version"), version, names::is_dns1035_label(version));
    for (name, max) in [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)] {
        let priority = int(spec, name).unwrap_or_default();
        if !(1..=max).contains(&priority) {
            let detail = format!("must be positive and less than {max}");
            errors.push(FieldError::invalid(&path.child(name), priority, detail));
        }
    }
    let authority = decoded_len(field(spec, "caBundle"));
    let insecure = flag(spec, "insecureSkipTLSVerify");
    let at = path.child("insecureSkipTLSVerify");
    if !has(spec, "service") {
        if authority > 0 {
            let detail = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(&path.child("caBundle"), format!("{authority} bytes"), detail));
        }
        if insecure {
            errors.push(FieldError::invalid(&at, true, "local APIServices may not have insecureSkipTLSVerify"));
        }
        return;
    }
    let (path, service) = (path.child("service"), field(spec, "service"));
    for name in ["namespace", "name"] {
        checks::required(errors, &path.child(name), text(service, name));
    }
    let port = int(service, "port").unwrap_or_default();
    let problems = names::is_valid_port_number(port);
    if !problems.is_empty() {
        let detail = format!("port is not valid: {}", problems.join(", "));
        errors.push(FieldError::invalid(&path.child("port"), port, detail));
    }
    if insecure && authority > 0 {
        errors.push(FieldError::invalid(&at, true, "may not be true if caBundle is present"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn it_is_named_by_version_and_group() {
        let count = |name: &str, service: serde_json::Value| {
            let spec = json!({"group": "a.example", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1, "service": service});
            let mut object = json!({"metadata": {"name": name}, "spec": spec});
            crate::set_defaults("apiregistration.k8s.io", "v1", "APIService", &mut object);
            crate::validate_create("apiregistration.k8s.io", "APIService", &object).len()
        };
        assert_eq!(count("v1.a.example", json!({"name": "s", "namespace": "n"})), 0);
        assert_eq!(count("v1.b.example", json!({"name": "s", "namespace": "n"})), 1);
        assert_eq!(count("v1.a.example", json!({"port": 70000})), 3);
    }
}
