//! What a client may leave out of a pod.

use serde_json::{Value, json};

use crate::json::{default, each, field, flag, has, map, object_at, with};

/// Fills in a pod's own spec, or that of a template.
pub(crate) fn spec_defaults(spec: &mut Value) {
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "securityContext", json!({}));
    default(spec, "schedulerName", "default-scheduler");
    let host = flag(spec, "hostNetwork");
    for name in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, name, |container| container_defaults(container, host));
    }
    each(spec, "volumes", volume_defaults);
}

fn container_defaults(container: &mut Value, host: bool) {
    let image = crate::json::text(container, "image");
    let latest = image.ends_with(":latest") || !image.rsplit('/').next().unwrap_or_default().contains([':', '@']);
    default(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    default(container, "resources", json!({}));
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    each(container, "ports", |port| {
        default(port, "protocol", "TCP");
        if host {
            let number = field(port, "containerPort").clone();
            default(port, "hostPort", number);
        }
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        with(container, name, probe_defaults);
    }
    if let Some(limits) = container.get("resources").and_then(|resources| map(resources, "limits")).cloned()
        && let Some(requests) = container.get_mut("resources").and_then(|resources| object_at(resources, "requests"))
    {
        for (name, value) in limits {
            default(requests, &name, value);
        }
    }
}

fn probe_defaults(probe: &mut Value) {
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        default(probe, field, value);
    }
    with(probe, "httpGet", |get| {
        default(get, "path", "/");
        default(get, "scheme", "HTTP");
    });
}

fn volume_defaults(volume: &mut Value) {
    for source in ["configMap", "secret", "projected", "downwardAPI"] {
        with(volume, source, |source| default(source, "defaultMode", 420));
    }
    with(volume, "hostPath", |path| default(path, "type", ""));
    if volume.as_object().is_some_and(|fields| fields.len() == 1) && has(volume, "name") {
        default(volume, "emptyDir", json!({}));
    }
}
