//! CronJobs.

use serde_json::Value;

use crate::{
    core::pod_template::workload_defaults,
    json::{default, with},
    kind::Kind,
};

pub(crate) struct CronJob;

impl Kind for CronJob {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        with(object, "spec", |spec| {
            default(spec, "concurrencyPolicy", "Allow");
            default(spec, "suspend", false);
            default(spec, "successfulJobsHistoryLimit", 3);
            default(spec, "failedJobsHistoryLimit", 1);
            with(spec, "jobTemplate", |template| with(template, "spec", workload_defaults));
        });
    }
}
