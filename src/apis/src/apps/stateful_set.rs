//! StatefulSets.

use serde_json::{Value, json};

use crate::{
    core::pod_template::workload_defaults,
    json::{default, object_at, text, with},
    kind::Kind,
};

pub(crate) struct StatefulSet;

impl Kind for StatefulSet {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"replicas": 0, "availableReplicas": 0})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            default(spec, "replicas", 1);
            default(spec, "podManagementPolicy", "OrderedReady");
            if let Some(strategy) = object_at(spec, "updateStrategy") {
                default(strategy, "type", "RollingUpdate");
                if text(strategy, "type") == "RollingUpdate"
                    && let Some(rolling) = object_at(strategy, "rollingUpdate")
                {
                    default(rolling, "partition", 0);
                }
            }
            if let Some(policy) = object_at(spec, "persistentVolumeClaimRetentionPolicy") {
                default(policy, "whenDeleted", "Retain");
                default(policy, "whenScaled", "Retain");
            }
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "serviceName", "");
            workload_defaults(spec);
        });
    }
}
