//! One container: what regular, init and ephemeral containers have in common.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::{env, ports, resources, security, spec::Scope, volume_mount};
use crate::{
    checks,
    json::{field, list, text},
};

/// When images are pulled.
pub(crate) const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];

/// Checks one container of whatever kind.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, container: &Value, scope: &Scope<'_>) {
    let name = text(container, "name");
    if checks::required(errors, &path.child("name"), name) {
        checks::dns_label(errors, &path.child("name"), name);
    }
    checks::required(errors, &path.child("image"), text(container, "image"));
    let policy = text(container, "terminationMessagePolicy");
    checks::required_one_of(
        errors,
        &path.child("terminationMessagePolicy"),
        policy,
        &["File", "FallbackToLogsOnError"],
    );
    ports::check(errors, &path.child("ports"), list(container, "ports"));
    env::check(errors, &path.child("env"), list(container, "env"), &scope.volumes);
    env::check_from(errors, &path.child("envFrom"), list(container, "envFrom"));
    volume_mount::check_mounts(errors, &path.child("volumeMounts"), container, &scope.volumes);
    volume_mount::check_devices(errors, &path.child("volumeDevices"), container, &scope.volumes);
    checks::required_one_of(errors, &path.child("imagePullPolicy"), text(container, "imagePullPolicy"), PULL_POLICIES);
    resources::check_container(errors, &path.child("resources"), field(container, "resources"), scope);
    check_resize_policy(errors, &path.child("resizePolicy"), list(container, "resizePolicy"), scope);
    security::check_container(errors, &path.child("securityContext"), field(container, "securityContext"), scope);
}

fn check_resize_policy(errors: &mut ErrorList, path: &Path, policies: &[Value], scope: &Scope<'_>) {
    let mut seen = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if seen.contains(&resource) {
            errors.push(FieldError::duplicate(&path.index(index), resource));
        }
        seen.push(resource);
        checks::required_one_of(errors, path, resource, &["cpu", "memory"]);
        checks::required_one_of(errors, path, restart, &["NotRequired", "RestartContainer"]);
        if scope.restart_policy == "Never" && restart != "NotRequired" {
            errors.push(FieldError::invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'"));
        }
    }
}
