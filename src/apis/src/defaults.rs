//! The fields that Kubernetes fills in when a client leaves them out.

use serde_json::{Value, json};

/// Sets `field` where it is not there.
fn default(object: &mut Value, field: &str, value: impl Into<Value>) {
    if object.is_null() {
        *object = json!({});
    }
    if let Some(fields) = object.as_object_mut()
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.to_owned(), value.into());
    }
}

/// Places that have to be maps where they are there at all.
const MAPS: &[&str] = &[
    "/metadata",
    "/metadata/labels",
    "/data",
    "/roleRef",
    "/template",
    "/template/spec",
    "/spec",
    "/spec/template",
    "/spec/template/metadata",
    "/spec/template/spec",
    "/spec/jobTemplate",
    "/spec/jobTemplate/spec",
    "/spec/jobTemplate/spec/template",
    "/spec/jobTemplate/spec/template/spec",
];

pub(crate) fn set(group: &str, version: &str, kind: &str, object: &mut Value) {
    let wrong = |place: &&str| object.pointer(place).is_some_and(|value| !value.is_object() && !value.is_null());
    if !object.is_object() || MAPS.iter().any(|place| wrong(place)) {
        // What has the wrong type is refused, not filled in.
        return;
    }
    match (group, kind) {
        ("", "Pod") => {
            pod(&mut object["spec"]);
            default(&mut object["spec"], "enableServiceLinks", true);
        }
        ("", "PodTemplate") => pod(&mut object["template"]["spec"]),
        ("", "Namespace") => {
            let name = object["metadata"]["name"].clone();
            if name.is_string() {
                default(&mut object["metadata"], "labels", json!({}));
                default(&mut object["metadata"]["labels"], "kubernetes.io/metadata.name", name);
            }
        }
        ("", "Secret") => secret(object),
        ("", "Service") => service(&mut object["spec"]),
        ("", "Endpoints") => {
            each(&mut object["subsets"], |subset| each(&mut subset["ports"], |port| default(port, "protocol", "TCP")))
        }
        ("", "Event") => {
            for field in ["firstTimestamp", "lastTimestamp", "eventTime"] {
                if object.get(field).is_none() {
                    object[field] = Value::Null;
                }
            }
            default(object, "source", json!({}));
            default(object, "reportingComponent", "");
            default(object, "reportingInstance", "");
        }
        ("", "ReplicationController") => {
            let labels = object["spec"]["template"]["metadata"]["labels"].clone();
            if labels.is_object() {
                default(&mut object["spec"], "selector", labels.clone());
                default(&mut object["metadata"], "labels", labels);
            }
            workload(&mut object["spec"]);
        }
        ("apps", "Deployment") => {
            let spec = &mut object["spec"];
            default(spec, "strategy", json!({}));
            default(&mut spec["strategy"], "type", "RollingUpdate");
            if spec["strategy"]["type"] == "RollingUpdate" {
                default(&mut spec["strategy"], "rollingUpdate", json!({}));
                default(&mut spec["strategy"]["rollingUpdate"], "maxUnavailable", "25%");
                default(&mut spec["strategy"]["rollingUpdate"], "maxSurge", "25%");
            }
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "progressDeadlineSeconds", 600);
            workload(spec);
        }
        ("apps", "ReplicaSet") => workload(&mut object["spec"]),
        ("apps", "StatefulSet") => {
            let spec = &mut object["spec"];
            default(spec, "podManagementPolicy", "OrderedReady");
            default(spec, "updateStrategy", json!({}));
            default(&mut spec["updateStrategy"], "type", "RollingUpdate");
            if spec["updateStrategy"]["type"] == "RollingUpdate" {
                default(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
                default(&mut spec["updateStrategy"]["rollingUpdate"], "partition", 0);
            }
            default(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
            default(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenDeleted", "Retain");
            default(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenScaled", "Retain");
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "serviceName", "");
            workload(spec);
        }
        ("apps", "DaemonSet") => {
            let spec = &mut object["spec"];
            default(spec, "updateStrategy", json!({}));
            default(&mut spec["updateStrategy"], "type", "RollingUpdate");
            if spec["updateStrategy"]["type"] == "RollingUpdate" {
                default(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
                default(&mut spec["updateStrategy"]["rollingUpdate"], "maxUnavailable", 1);
                default(&mut spec["updateStrategy"]["rollingUpdate"], "maxSurge", 0);
            }
            default(spec, "revisionHistoryLimit", 10);
            template(&mut spec["template"]);
        }
        ("batch", "Job") => job(&mut object["spec"]),
        ("batch", "CronJob") => {
            let spec = &mut object["spec"];
            default(spec, "concurrencyPolicy", "Allow");
            default(spec, "suspend", false);
            default(spec, "successfulJobsHistoryLimit", 3);
            default(spec, "failedJobsHistoryLimit", 1);
            template(&mut spec["jobTemplate"]["spec"]["template"]);
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            each(&mut object["ports"], |port| {
                default(port, "name", "");
                default(port, "protocol", "TCP");
            });
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            default(&mut object["roleRef"], "apiGroup", group);
            each(&mut object["subjects"], |subject| {
                if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
                    default(subject, "apiGroup", "rbac.authorization.k8s.io");
                }
            });
        }
        ("rbac.authorization.k8s.io", _) => default(object, "rules", Value::Null),
        ("scheduling.k8s.io", _) => default(object, "preemptionPolicy", "PreemptLowerPriority"),
        ("storage.k8s.io", "StorageClass") => {
            default(object, "reclaimPolicy", "Delete");
            default(object, "volumeBindingMode", "Immediate");
        }
        ("autoscaling", "HorizontalPodAutoscaler") if version == "v2" => default(&mut object["spec"], "minReplicas", 1),
        ("coordination.k8s.io", _) => default(object, "spec", json!({})),
        _ => {}
    }
    prune(object);
}

/// Drops the empty places that looking for a field left behind.
fn prune(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    for field in ["subsets", "ports", "subjects", "template"] {
        if fields.get(field).is_some_and(Value::is_null) && field != "ports" {
            fields.remove(field);
        }
    }
}

fn each(list: &mut Value, mut change: impl FnMut(&mut Value)) {
    for item in list.as_array_mut().into_iter().flatten().filter(|item| item.is_object()) {
        change(item);
    }
}

fn workload(spec: &mut Value) {
    default(spec, "replicas", 1);
    template(&mut spec["template"]);
}

fn template(template: &mut Value) {
    default(template, "metadata", json!({}));
    pod(&mut template["spec"]);
}

fn job(spec: &mut Value) {
    if spec.get("completions").is_none_or(Value::is_null) && spec.get("parallelism").is_none_or(Value::is_null) {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    default(spec, "backoffLimit", 6);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    default(
        spec,
        "podReplacementPolicy",
        if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" },
    );
    template(&mut spec["template"]);
}

fn pod(spec: &mut Value) {
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "securityContext", json!({}));
    default(spec, "schedulerName", "default-scheduler");
    let host = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        if spec.get(list).is_none() {
            continue;
        }
        each(&mut spec[list], |container| {
            let image = container["image"].as_str().unwrap_or_default().to_owned();
            let latest =
                image.ends_with(":latest") || !image.rsplit('/').next().unwrap_or_default().contains([':', '@']);
            default(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
            default(container, "resources", json!({}));
            default(container, "terminationMessagePath", "/dev/termination-log");
            default(container, "terminationMessagePolicy", "File");
            if container.get("ports").is_some() {
                each(&mut container["ports"], |port| {
                    default(port, "protocol", "TCP");
                    if host {
                        let number = port["containerPort"].clone();
                        default(port, "hostPort", number);
                    }
                });
            }
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                if container.get(probe).is_some_and(Value::is_object) {
                    let probe = &mut container[probe];
                    for (field, value) in
                        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
                    {
                        default(probe, field, value);
                    }
                    if probe.get("httpGet").is_some() {
                        default(&mut probe["httpGet"], "path", "/");
                        default(&mut probe["httpGet"], "scheme", "HTTP");
                    }
                }
            }
            if let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object).cloned() {
                default(&mut container["resources"], "requests", json!({}));
                for (name, value) in limits {
                    default(&mut container["resources"]["requests"], &name, value);
                }
            }
        });
    }
    if spec.get("volumes").is_some() {
        each(&mut spec["volumes"], |volume| {
            for source in ["configMap", "secret", "projected", "downwardAPI"] {
                if volume.get(source).is_some_and(Value::is_object) {
                    default(&mut volume[source], "defaultMode", 420);
                }
            }
            if volume.get("hostPath").is_some_and(Value::is_object) {
                default(&mut volume["hostPath"], "type", "");
            }
            if volume.as_object().is_some_and(|fields| fields.len() == 1) {
                default(volume, "emptyDir", json!({}));
            }
        });
    }
}

fn service(spec: &mut Value) {
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    if spec["type"] != "ExternalName" {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    if spec["sessionAffinity"] == "ClientIP" {
        default(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if spec["type"] == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
    if spec.get("ports").is_some() {
        each(&mut spec["ports"], |port| {
            default(port, "protocol", "TCP");
            let number = port["port"].clone();
            default(port, "targetPort", number);
        });
    }
}

/// Plain texts become base64, as the store keeps them.
fn secret(object: &mut Value) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    default(object, "type", "Opaque");
    let texts = object.as_object_mut().and_then(|fields| fields.remove("stringData"));
    if let Some(Value::Object(texts)) = texts {
        default(object, "data", json!({}));
        for (key, text) in texts {
            object["data"][key.as_str()] = STANDARD.encode(text.as_str().unwrap_or_default()).into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_what_a_client_leaves_out() {
        let mut object = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "a", "ports": [{"containerPort": 80}]}]}});
        set("", "v1", "Pod", &mut object);
        assert_eq!(object["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(object["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(object["spec"]["restartPolicy"], "Always");
        let again = object.clone();
        set("", "v1", "Pod", &mut object);
        assert_eq!(object, again, "defaults do not change what is there");
    }

    #[test]
    fn texts_of_a_secret_are_encoded() {
        let mut object = json!({"metadata": {}, "stringData": {"k": "v"}});
        set("", "v1", "Secret", &mut object);
        assert_eq!(object, json!({"metadata": {}, "type": "Opaque", "data": {"k": "dg=="}}));
    }
}
