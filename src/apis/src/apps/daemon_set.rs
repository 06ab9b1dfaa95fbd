//! DaemonSets.

use serde_json::{Value, json};

use crate::{
    core::pod_template::workload_defaults,
    json::{default, object_at, text, with},
    kind::Kind,
};

pub(crate) struct DaemonSet;

impl Kind for DaemonSet {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        })
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            if let Some(strategy) = object_at(spec, "updateStrategy") {
                default(strategy, "type", "RollingUpdate");
                if text(strategy, "type") == "RollingUpdate"
                    && let Some(rolling) = object_at(strategy, "rollingUpdate")
                {
                    default(rolling, "maxUnavailable", 1);
                    default(rolling, "maxSurge", 0);
                }
            }
            default(spec, "revisionHistoryLimit", 10);
            workload_defaults(spec);
        });
    }
}
