//! Cordoned nodes take only pods that tolerate it.

use k8s_openapi::api::core::v1::Taint;

use super::{Refusal, taint_toleration::tolerates};
use crate::{cache::NodeInfo, framework::Cycle};

/// Refuses cordoned nodes.
pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if node.unschedulable && !cycle.pod.tolerations().iter().any(|toleration| tolerates(toleration, &taint)) {
        return Err(Refusal::unresolvable("node(s) were unschedulable"));
    }
    Ok(())
}
