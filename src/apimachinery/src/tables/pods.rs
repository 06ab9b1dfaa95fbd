//! Pods: their status is what keeps them from running.

use serde_json::{Value, json};

use super::cell::Cells;

pub(super) fn cells(resource: &str, at: &Cells<'_>) -> Option<Vec<Value>> {
    (resource == "pods").then(|| {
        let state = State::of(at);
        let gates = at.items("/spec/readinessGates");
        let gates = if gates.is_empty() {
            "<none>".to_owned()
        } else {
            let met =
                gates.iter().filter(|gate| at.condition(gate["conditionType"].as_str().unwrap_or_default()) == "True");
            format!("{}/{}", met.count(), gates.len())
        };
        let restarts = match &state.last_restart {
            Some(last) if state.restarts != 0 => {
                format!("{} ({} ago)", state.restarts, crate::duration::since(Some(last), at.now))
            }
            _ => state.restarts.to_string(),
        };
        let address = match at.text("/status/podIPs/0/ip") {
            "" => at.text_or("/status/podIP", "<none>"),
            address => address.into(),
        };
        vec![
            at.name(),
            format!("{}/{}", state.ready, state.total).into(),
            state.reason.into(),
            restarts.into(),
            at.age(),
            address,
            at.text_or("/spec/nodeName", "<none>"),
            at.text_or("/status/nominatedNodeName", "<none>"),
            gates.into(),
        ]
    })
}

/// What a row says of a pod that has ended.
pub(super) fn condition(at: &Cells<'_>) -> Option<Value> {
    let (reason, message) = match at.text("/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

struct State<'a> {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<&'a Value>,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The later of two restarts.
fn later<'a>(one: Option<&'a Value>, status: &'a Value) -> Option<&'a Value> {
    let other = status.pointer("/lastState/terminated/finishedAt").filter(|at| at.is_string());
    match (one, other) {
        (Some(one), Some(other)) if one.as_str() < other.as_str() => Some(other),
        (None, other) => other,
        (one, _) => one,
    }
}

/// How a container ended when it does not say why.
fn ended(terminated: &Value) -> String {
    match terminated["signal"].as_i64() {
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or_default()),
    }
}

impl<'a> State<'a> {
    fn of(at: &Cells<'a>) -> Self {
        let phase = at.text("/status/phase");
        let mut state = Self {
            reason: phase.to_owned(),
            ready: 0,
            total: at.items("/spec/containers").len(),
            restarts: 0,
            last_restart: None,
        };
        if !at.text("/status/reason").is_empty() {
            state.reason = at.text("/status/reason").to_owned();
        }
        let gated = |condition: &Value| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated";
        if at.items("/status/conditions").iter().any(gated) {
            state.reason = "SchedulingGated".into();
        }
        let initializing = state.initialize(at);
        if !initializing || at.condition("Initialized") == "True" {
            state.run(at);
        }
        if at.is_deleting() && at.text("/status/reason") == "NodeLost" {
            state.reason = "Unknown".into();
        } else if at.is_deleting() && !matches!(phase, "Succeeded" | "Failed") {
            state.reason = "Terminating".into();
        }
        state
    }

    /// Looks at the init containers; leaves behind the restarts of those that go on beside the others.
    fn initialize(&mut self, at: &Cells<'a>) -> bool {
        let declared = at.items("/spec/initContainers");
        let goes_on =
            |name: &Value| declared.iter().any(|init| init["name"] == *name && init["restartPolicy"] == "Always");
        self.total += declared.iter().filter(|init| init["restartPolicy"] == "Always").count();
        let (mut all, mut sidecars) = ((0, None), (0, None));
        let mut initializing = false;
        for (index, status) in at.items("/status/initContainerStatuses").iter().enumerate() {
            let restarts = status["restartCount"].as_i64().unwrap_or_default();
            let is_sidecar = goes_on(&status["name"]);
            all = (all.0 + restarts, later(all.1, status));
            if is_sidecar {
                sidecars = (sidecars.0 + restarts, later(sidecars.1, status));
            }
            let terminated = status.pointer("/state/terminated").filter(|state| state.is_object());
            let waiting = text(status, "/state/waiting/reason");
            match terminated {
                Some(terminated) if terminated["exitCode"].as_i64().unwrap_or_default() == 0 => continue,
                _ if is_sidecar && status["started"] == true => {
                    self.ready += usize::from(status["ready"] == true);
                    continue;
                }
                Some(terminated) => {
                    let why = terminated["reason"].as_str().filter(|reason| !reason.is_empty());
                    self.reason = format!("Init:{}", why.map_or_else(|| ended(terminated), str::to_owned));
                }
                None if !waiting.is_empty() && waiting != "PodInitializing" => self.reason = format!("Init:{waiting}"),
                None => self.reason = format!("Init:{index}/{}", declared.len()),
            }
            initializing = true;
            break;
        }
        let begins = initializing && at.condition("Initialized") != "True";
        (self.restarts, self.last_restart) = if begins { all } else { sidecars };
        initializing
    }

    fn run(&mut self, at: &Cells<'a>) {
        let mut runs = false;
        for status in at.items("/status/containerStatuses").iter().rev() {
            self.restarts += status["restartCount"].as_i64().unwrap_or_default();
            self.last_restart = later(self.last_restart, status);
            let (waiting, terminated) = (text(status, "/state/waiting/reason"), status.pointer("/state/terminated"));
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(terminated) = terminated.filter(|state| state.is_object()) {
                let why = terminated["reason"].as_str().filter(|reason| !reason.is_empty());
                self.reason = why.map_or_else(|| ended(terminated), str::to_owned);
            } else if status["ready"] == true && status.pointer("/state/running").is_some_and(Value::is_object) {
                runs = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && runs {
            self.reason = if at.condition("Ready") == "True" { "Running" } else { "NotReady" }.into();
        }
    }
}
