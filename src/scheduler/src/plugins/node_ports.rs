//! Ports of the node are had once.

use super::Refusal;
use crate::{cache::NodeInfo, framework::Cycle};

/// Refuses nodes where a port that the pod wants is taken.
pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let wanted = &cycle.pod.host_ports;
    if !wanted.is_empty() && node.host_ports().any(|taken| wanted.iter().any(|port| port.conflicts(taken))) {
        return Err(Refusal::resolvable("node(s) didn't have free ports for the requested pod ports"));
    }
    Ok(())
}
