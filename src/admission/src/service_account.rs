//! `ServiceAccount`: every pod has a service account, and its token where it does not refuse it.

use apimachinery::status::Status;
use auth::ObjectReader;
use component_base::SharedEntropy;
use serde_json::{Value, json};

use crate::{Request, text};

/// Where the token, the authority and the namespace are mounted.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a mounted token is good for, in seconds; the kubelet renews it.
const TOKEN_SECONDS: i64 = 3607;

/// Gives a new pod its account and its token.
pub fn admit(request: &mut Request<'_>, reader: &dyn ObjectReader, entropy: &SharedEntropy) -> Result<(), Status> {
    if !request.creates("pods") {
        return Ok(());
    }
    let namespace = request.namespace;
    let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
    if !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() || !pod["spec"].is_object() {
        return Ok(());
    }
    let given = text(pod, "/spec/serviceAccountName").to_owned();
    let name = if given.is_empty() { "default".to_owned() } else { given };
    let Some(account) = reader.get("", "serviceaccounts", namespace, &name) else {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(request.forbidden(&why));
    };
    pod["spec"]["serviceAccountName"] = name.clone().into();
    pod["spec"]["serviceAccount"] = name.into();
    let mounts = pod["spec"]["automountServiceAccountToken"].as_bool();
    if mounts.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true) {
        mount_token(pod, entropy);
    }
    let has_pull_secrets = pod["spec"]["imagePullSecrets"].as_array().is_some_and(|secrets| !secrets.is_empty());
    let own = account["imagePullSecrets"].as_array().filter(|secrets| !secrets.is_empty());
    if let Some(secrets) = own.filter(|_| !has_pull_secrets) {
        pod["spec"]["imagePullSecrets"] = secrets.clone().into();
    }
    Ok(())
}

fn mount_token(pod: &mut Value, entropy: &SharedEntropy) {
    let volumes = pod["spec"]["volumes"].as_array();
    let existing = volumes.into_iter().flatten().find(|volume| text(volume, "/name").starts_with("kube-api-access-"));
    let known = existing.map(|volume| text(volume, "/name").to_owned());
    let volume = known.clone().unwrap_or_else(|| format!("kube-api-access-{}", entropy.suffix(5)));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|container| container.is_object()) {
            if container["volumeMounts"].is_null() {
                container["volumeMounts"] = json!([]);
            }
            let Some(mounts) = container["volumeMounts"].as_array_mut() else { continue };
            if mounts.iter().all(|mount| text(mount, "/mountPath") != MOUNT) {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT}));
                mounted = true;
            }
        }
    }
    if !mounted || known.is_some() {
        return;
    }
    let source = json!({"name": volume, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    if pod["spec"]["volumes"].is_null() {
        pod["spec"]["volumes"] = json!([]);
    }
    if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
        volumes.push(source);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use component_base::entropy::SeededEntropy;

    use super::*;

    #[test]
    fn a_token_is_mounted_once_in_every_container() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": []}]}});
        let entropy: SharedEntropy = Arc::new(SeededEntropy::new(1));
        mount_token(&mut pod, &entropy);
        let once = pod.clone();
        mount_token(&mut pod, &entropy);
        assert_eq!(pod, once);
        let volume = text(&pod, "/spec/volumes/0/name").to_owned();
        assert!(volume.starts_with("kube-api-access-"));
        for container in pod["spec"]["containers"].as_array().expect("a list") {
            assert_eq!(container["volumeMounts"], json!([{"name": volume, "readOnly": true, "mountPath": MOUNT}]));
        }
    }
}
