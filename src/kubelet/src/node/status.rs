//! The node's status. Pure.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::{Map, Value, json};

use super::capacity::Capacity;

/// What a status is made from.
pub(super) struct Facts<'a> {
    pub capacity: &'a Capacity,
    pub info: &'a NodeSystemInfo,
    pub address: String,
    pub hostname: &'a str,
    pub port: u16,
    /// Why no pod can be started; `None` when all is well.
    pub not_ready: Option<String>,
    pub now: Timestamp,
}

/// The status of the node, with the conditions of `old` carried on.
pub(super) fn generate(old: Option<&Node>, facts: &Facts<'_>) -> NodeStatus {
    let old = old.and_then(|node| node.status.as_ref());
    let address = |kind: &str, address: &str| NodeAddress { type_: kind.to_owned(), address: address.to_owned() };
    let ready = match &facts.not_ready {
        None => condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        Some(why) => condition("Ready", false, "KubeletNotReady", why),
    };
    let conditions = [
        condition("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ready,
    ];
    let dated = conditions.map(|mut condition| {
        let known = old.and_then(|old| old.conditions.as_ref()?.iter().find(|known| known.type_ == condition.type_));
        let kept =
            known.filter(|known| known.status == condition.status).and_then(|known| known.last_transition_time.clone());
        condition.last_transition_time = kept.or(Some(Time(facts.now)));
        condition.last_heartbeat_time = Some(Time(facts.now));
        condition
    });
    NodeStatus {
        addresses: Some(vec![address("InternalIP", &facts.address), address("Hostname", facts.hostname)]),
        capacity: Some(facts.capacity.capacity()),
        allocatable: Some(facts.capacity.allocatable()),
        conditions: Some(dated.into()),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(facts.port) }),
        }),
        node_info: Some(facts.info.clone()),
        ..Default::default()
    }
}

fn condition(name: &str, status: bool, reason: &str, message: &str) -> NodeCondition {
    NodeCondition {
        type_: name.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..Default::default()
    }
}

/// The strategic merge patch that brings `wanted` about; `None` when only heartbeats differ and `heartbeat` is false.
pub(super) fn patch(old: &Node, wanted: &NodeStatus, heartbeat: bool) -> Option<Value> {
    let encode = |status: &NodeStatus| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let before = encode(&old.status.clone().unwrap_or_default());
    let mut fields = Map::new();
    for (name, value) in encode(wanted) {
        let known = before.get(&name);
        if name == "conditions" {
            let still = |value: &Value| {
                let mut value = value.clone();
                if let Some(fields) = value.as_object_mut() {
                    fields.remove("lastHeartbeatTime");
                }
                value
            };
            let known: Vec<Value> = known.and_then(Value::as_array).into_iter().flatten().map(still).collect();
            let all_known = value.as_array().into_iter().flatten().all(|condition| known.contains(&still(condition)));
            if heartbeat || !all_known {
                fields.insert(name, value);
            }
        } else if known != Some(&value) {
            fields.insert(name, value);
        }
    }
    if let Some(Value::Array(addresses)) = fields.get_mut("addresses")
        && before.contains_key("addresses")
    {
        addresses.insert(0, json!({"$patch": "replace"}));
    }
    (!fields.is_empty()).then(|| json!({"status": fields}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_alone_is_not_worth_a_write() {
        let capacity = Capacity { cpus: 2, memory: 1 << 30, storage: 1 << 30, pods: 10 };
        let info = NodeSystemInfo::default();
        let at = |second: i64, not_ready: Option<&str>| Facts {
            capacity: &capacity,
            info: &info,
            address: "127.0.0.1".to_owned(),
            hostname: "node-1",
            port: 10250,
            not_ready: not_ready.map(str::to_owned),
            now: Timestamp::from_second(second).expect("a small number of seconds"),
        };
        let node = Node { status: Some(generate(None, &at(1, None))), ..Default::default() };
        let later = generate(Some(&node), &at(60, None));
        assert_eq!(patch(&node, &later, false), None);
        assert!(patch(&node, &later, true).is_some());
        let broken = generate(Some(&node), &at(60, Some("container runtime is down")));
        let patched = patch(&node, &broken, false).expect("it matters");
        assert_eq!(patched["status"]["conditions"][3]["lastTransitionTime"], "1970-01-01T00:01:00Z");
        assert_eq!(patched["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:01Z");
        assert_eq!(patched["status"].as_object().map(Map::len), Some(1));
    }
}
