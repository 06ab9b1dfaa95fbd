//! Jobs.

use serde_json::Value;

use crate::{
    core::pod_template::workload_defaults,
    json::{default, has, with},
    kind::Kind,
};

pub(crate) struct Job;

impl Kind for Job {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            if !has(spec, "completions") && !has(spec, "parallelism") {
                default(spec, "completions", 1);
            }
            default(spec, "parallelism", 1);
            default(spec, "backoffLimit", 6);
            default(spec, "completionMode", "NonIndexed");
            default(spec, "suspend", false);
            default(spec, "manualSelector", false);
            let failed = has(spec, "podFailurePolicy");
            default(spec, "podReplacementPolicy", if failed { "Failed" } else { "TerminatingOrFailed" });
            workload_defaults(spec);
        });
    }
}
