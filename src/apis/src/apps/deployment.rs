//! Deployments.

use serde_json::Value;

use crate::{
    core::pod_template::workload_defaults,
    json::{default, object_at, text, with},
    kind::Kind,
};

pub(crate) struct Deployment;

impl Kind for Deployment {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            default(spec, "replicas", 1);
            if let Some(strategy) = object_at(spec, "strategy") {
                default(strategy, "type", "RollingUpdate");
                if text(strategy, "type") == "RollingUpdate"
                    && let Some(rolling) = object_at(strategy, "rollingUpdate")
                {
                    default(rolling, "maxUnavailable", "25%");
                    default(rolling, "maxSurge", "25%");
                }
            }
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "progressDeadlineSeconds", 600);
            workload_defaults(spec);
        });
    }
}
