//! What an empty object of a kind looks like in Kubernetes: Go writes fields that are no pointers even when they are empty.
//!
//! A creation is compared with this, so that such fields belong to nobody until somebody sets them.

use serde_json::{Value, json};

fn pod_template() -> Value {
    json!({"metadata": {}, "spec": {"containers": null}})
}

/// The empty object of a kind.
pub fn zero(group: &str, version: &str, kind: &str) -> Value {
    let mut object = match (group, kind) {
        ("", "Pod") => json!({"spec": {"containers": null}, "status": {}}),
        ("", "PodTemplate") => json!({"template": pod_template()}),
        ("", "ReplicationController") => json!({"spec": {}, "status": {"replicas": 0}}),
        ("", "Service") => json!({"spec": {}, "status": {"loadBalancer": {}}}),
        ("", "PersistentVolumeClaim") => json!({"spec": {"resources": {}}, "status": {}}),
        ("", "LimitRange") => json!({"spec": {"limits": null}}),
        ("", "Event") => json!({
            "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null, "eventTime": null,
            "reportingComponent": "", "reportingInstance": "",
        }),
        ("", "Node") => json!({
            "spec": {},
            "status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}, "nodeInfo": {
                "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "",
                "containerRuntimeVersion": "", "kubeletVersion": "", "kubeProxyVersion": "", "operatingSystem": "",
                "architecture": "",
            }},
        }),
        ("", "ConfigMap" | "Secret" | "ServiceAccount" | "Endpoints") => json!({}),
        ("events.k8s.io", "Event") => json!({
            "eventTime": null, "regarding": {}, "deprecatedSource": {}, "deprecatedFirstTimestamp": null,
            "deprecatedLastTimestamp": null,
        }),
        ("apps", "Deployment") => {
            json!({"spec": {"selector": null, "template": pod_template(), "strategy": {}}, "status": {}})
        }
        ("apps", "ReplicaSet") => {
            json!({"spec": {"selector": null, "template": pod_template()}, "status": {"replicas": 0}})
        }
        ("apps", "StatefulSet") => json!({
            "spec": {"selector": null, "template": pod_template(), "serviceName": "", "updateStrategy": {}},
            "status": {"replicas": 0, "availableReplicas": 0},
        }),
        ("apps", "DaemonSet") => json!({
            "spec": {"selector": null, "template": pod_template(), "updateStrategy": {}},
            "status": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0},
        }),
        ("apps", "ControllerRevision") => json!({"data": null, "revision": 0}),
        ("batch", "Job") => json!({"spec": {"template": pod_template()}, "status": {}}),
        ("batch", "CronJob") => json!({
            "spec": {"schedule": "", "jobTemplate": {"metadata": {}, "spec": {"template": pod_template()}}}, "status": {},
        }),
        ("autoscaling", "HorizontalPodAutoscaler") => {
            let mut status = json!({"desiredReplicas": 0, "currentMetrics": null});
            if version == "v1" {
                status = json!({"currentReplicas": 0, "desiredReplicas": 0});
            }
            json!({"spec": {"scaleTargetRef": {"kind": "", "name": ""}, "maxReplicas": 0}, "status": status})
        }
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => json!({"rules": null}),
        ("rbac.authorization.k8s.io", _) => json!({"roleRef": {"apiGroup": "", "kind": "", "name": ""}}),
        ("discovery.k8s.io", "EndpointSlice") => json!({"addressType": "", "endpoints": null, "ports": null}),
        ("coordination.k8s.io", "Lease") => json!({"spec": {}}),
        ("scheduling.k8s.io", "PriorityClass") => json!({"value": 0}),
        ("node.k8s.io", "RuntimeClass") => json!({"handler": ""}),
        ("storage.k8s.io", "StorageClass") => json!({"provisioner": ""}),
        ("storage.k8s.io", "CSIDriver") => json!({"spec": {}}),
        ("storage.k8s.io", "CSINode") => json!({"spec": {"drivers": null}}),
        ("storage.k8s.io", "CSIStorageCapacity") => json!({"storageClassName": ""}),
        ("storage.k8s.io", "VolumeAttachment") => {
            json!({"spec": {"attacher": "", "source": {}, "nodeName": ""}, "status": {"attached": false}})
        }
        ("networking.k8s.io", "Ingress") => json!({"spec": {}, "status": {"loadBalancer": {}}}),
        ("networking.k8s.io", "IngressClass" | "IPAddress") => json!({"spec": {}}),
        ("networking.k8s.io", "NetworkPolicy") => json!({"spec": {"podSelector": {}}}),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
            json!({})
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => json!({"spec": {}, "status": {}}),
        ("admissionregistration.k8s.io", _) => json!({"spec": {}}),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => json!({
            "spec": {"priorityLevelConfiguration": {"name": ""}, "matchingPrecedence": 0}, "status": {"conditions": null},
        }),
        ("flowcontrol.apiserver.k8s.io", _) => json!({"spec": {"type": ""}, "status": {"conditions": null}}),
        ("certificates.k8s.io", _) => json!({"spec": {"request": null, "signerName": ""}, "status": {}}),
        ("policy", "PodDisruptionBudget") => json!({
            "spec": {},
            "status": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
        }),
        ("apiextensions.k8s.io", _) => json!({
            "spec": {"group": "", "names": {"plural": "", "kind": ""}, "scope": "", "versions": null},
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null},
        }),
        ("resource.k8s.io", "ResourceClaim") => json!({"spec": {"devices": {}}, "status": {}}),
        ("resource.k8s.io", "ResourceClaimTemplate") => json!({"spec": {"metadata": {}, "spec": {"devices": {}}}}),
        ("resource.k8s.io", "DeviceClass") => json!({"spec": {}}),
        ("resource.k8s.io", _) => {
            json!({"spec": {"driver": "", "pool": {"name": "", "generation": 0, "resourceSliceCount": 0}}})
        }
        _ => json!({"spec": {}, "status": {}}),
    };
    object["metadata"] = json!({});
    object
}
