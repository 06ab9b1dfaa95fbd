//! Everything else: configuration, nodes, events, roles, admission and flow control.

use serde_json::Value;

use super::cell::Cells;

pub(super) fn core(resource: &str, at: &Cells<'_>) -> Option<Vec<Value>> {
    let count = |pointer: &str| at.map(pointer).map_or(0, serde_json::Map::len);
    Some(match resource {
        "configmaps" => vec![at.name(), (count("/data") + count("/binaryData")).into(), at.age()],
        "secrets" => vec![at.name(), at.text("/type").into(), count("/data").into(), at.age()],
        "serviceaccounts" => vec![at.name(), at.age()],
        "namespaces" => vec![at.name(), at.text("/status/phase").into(), at.age()],
        "resourcequotas" => {
            let [requests, limits] = quota(at);
            vec![at.name(), requests.into(), limits.into(), at.age()]
        }
        "nodes" => node(at),
        "events" => event(at),
        "componentstatuses" => {
            let healthy = at.items("/conditions").iter().find(|condition| condition["type"] == "Healthy");
            let text = |field: &str| healthy.and_then(|condition| condition[field].as_str()).unwrap_or_default();
            let status = if text("status") == "True" { "Healthy" } else { "Unhealthy" };
            vec![at.name(), status.into(), text("message").into(), text("error").into()]
        }
        _ => return None,
    })
}

pub(super) fn cells(group: &str, resource: &str, at: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match (group, resource) {
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            let role = format!("{}/{}", at.text("/roleRef/kind"), at.text("/roleRef/name"));
            let of = |kind: &str| -> Value {
                let subjects = at.items("/subjects").iter().filter(|subject| subject["kind"] == kind);
                let name = |subject: &Value| {
                    let name = subject["name"].as_str().unwrap_or_default();
                    match kind {
                        "ServiceAccount" => format!("{}/{name}", subject["namespace"].as_str().unwrap_or_default()),
                        _ => name.to_owned(),
                    }
                };
                subjects.map(name).collect::<Vec<_>>().join(", ").into()
            };
            vec![at.name(), role.into(), at.age(), of("User"), of("Group"), of("ServiceAccount")]
        }
        ("coordination.k8s.io", "leases") => vec![at.name(), at.text("/spec/holderIdentity").into(), at.age()],
        ("node.k8s.io", "runtimeclasses") => vec![at.name(), at.text("/handler").into(), at.age()],
        ("scheduling.k8s.io", "priorityclasses") => vec![
            at.name(),
            at.number("/value").into(),
            at.flag("/globalDefault").into(),
            at.age(),
            at.text("/preemptionPolicy").into(),
        ],
        ("certificates.k8s.io", _) => signing_request(at),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations" | "mutatingwebhookconfigurations") => {
            vec![at.name(), at.items("/webhooks").len().into(), at.age()]
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies" | "mutatingadmissionpolicies") => {
            let rules = at.items("/spec/validations").len() + at.items("/spec/mutations").len();
            let kind = at.get("/spec/paramKind").map_or_else(
                || "<unset>".to_owned(),
                |_| format!("{}/{}", at.text("/spec/paramKind/apiVersion"), at.text("/spec/paramKind/kind")),
            );
            vec![at.name(), rules.into(), kind.into(), at.age()]
        }
        ("admissionregistration.k8s.io", _) => {
            let reference = at.get("/spec/paramRef").map_or_else(
                || "<unset>".to_owned(),
                |_| match (at.text("/spec/paramRef/namespace"), at.text("/spec/paramRef/name")) {
                    ("", name) if !name.is_empty() => name.to_owned(),
                    (namespace, name) if !name.is_empty() => format!("{namespace}/{name}"),
                    (namespace, _) => {
                        let selector = at.selector("/spec/paramRef/selector");
                        format!(
                            "{}/{}",
                            if namespace.is_empty() { "*" } else { namespace },
                            selector.as_str().unwrap_or_default()
                        )
                    }
                },
            );
            vec![at.name(), at.text("/spec/policyName").into(), reference.into(), at.age()]
        }
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => {
            let dangling = match at.condition("Dangling") {
                "" => "?",
                status => status,
            };
            vec![
                at.name(),
                at.text("/spec/priorityLevelConfiguration/name").into(),
                at.number("/spec/matchingPrecedence").into(),
                at.text_or("/spec/distinguisherMethod/type", "<none>"),
                at.age(),
                dangling.into(),
            ]
        }
        ("flowcontrol.apiserver.k8s.io", _) => {
            let number = |pointer: &str| at.get(pointer).cloned().unwrap_or_else(|| "<none>".into());
            let shares =
                at.get("/spec/limited/nominalConcurrencyShares").or(at.get("/spec/exempt/nominalConcurrencyShares"));
            let queuing = |field: &str| number(&format!("/spec/limited/limitResponse/queuing/{field}"));
            vec![
                at.name(),
                at.text("/spec/type").into(),
                shares.cloned().unwrap_or_else(|| "<none>".into()),
                queuing("queues"),
                queuing("handSize"),
                queuing("queueLengthLimit"),
                at.age(),
            ]
        }
        ("apiregistration.k8s.io", _) => {
            let service = at.get("/spec/service").map_or_else(
                || "Local".to_owned(),
                |_| format!("{}/{}", at.text("/spec/service/namespace"), at.text("/spec/service/name")),
            );
            let condition = at.items("/status/conditions").iter().find(|condition| condition["type"] == "Available");
            let text = |field: &str| condition.and_then(|condition| condition[field].as_str()).unwrap_or_default();
            let available = match text("status") {
                "" => "Unknown".to_owned(),
                "True" => "True".to_owned(),
                status => format!("{status} ({})", text("reason")),
            };
            vec![at.name(), service.into(), available.into(), at.age()]
        }
        _ => return None,
    })
}

/// What is used of what there is: requests and all else, then limits.
fn quota(at: &Cells<'_>) -> [String; 2] {
    let mut shown = [Vec::new(), Vec::new()];
    for (name, hard) in at.map("/status/hard").into_iter().flatten() {
        let used = at.map("/status/used").and_then(|used| used.get(name)).and_then(Value::as_str).unwrap_or("0");
        let text = format!("{name}: {used}/{}", hard.as_str().unwrap_or_default());
        shown[usize::from(name.starts_with("limits"))].push(text);
    }
    shown.map(|texts| texts.join(", "))
}

fn node(at: &Cells<'_>) -> Vec<Value> {
    let mut status = vec![match at.condition("Ready") {
        "" => "Unknown",
        "True" => "Ready",
        _ => "NotReady",
    }];
    if at.flag("/spec/unschedulable") {
        status.push("SchedulingDisabled");
    }
    let labels = at.map("/metadata/labels").into_iter().flatten();
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) if !role.is_empty() => Some(role.to_owned()),
        _ if key == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()).map(str::to_owned),
        _ => None,
    };
    let mut roles: Vec<String> = labels.filter_map(role).collect();
    roles.sort();
    roles.dedup();
    let address = |kind: &str| {
        let found = at.items("/status/addresses").iter().find(|address| address["type"] == kind);
        found.and_then(|address| address["address"].as_str()).unwrap_or("<none>").to_owned()
    };
    vec![
        at.name(),
        status.join(",").into(),
        if roles.is_empty() { "<none>".into() } else { roles.join(",").into() },
        at.age(),
        at.text("/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        at.text_or("/status/nodeInfo/osImage", "<unknown>"),
        at.text_or("/status/nodeInfo/kernelVersion", "<unknown>"),
        at.text_or("/status/nodeInfo/containerRuntimeVersion", "<unknown>"),
    ]
}

/// An event, in the fields of either of its groups.
fn event(at: &Cells<'_>) -> Vec<Value> {
    let either = |one: &str, other: &str| match at.text(one) {
        "" => at.text(other).to_owned(),
        text => text.to_owned(),
    };
    let time =
        |one: &'static str, other: &'static str| [one, other].into_iter().find(|pointer| at.get(pointer).is_some());
    let first = match time("/firstTimestamp", "/deprecatedFirstTimestamp") {
        Some(pointer) => at.since(pointer),
        None => at.since("/eventTime"),
    };
    let last = match time("/lastTimestamp", "/deprecatedLastTimestamp") {
        _ if at.get("/series").is_some() => at.since("/series/lastObservedTime"),
        Some(pointer) => at.since(pointer),
        None => first.clone(),
    };
    let count = match at.number("/count") + at.number("/deprecatedCount") {
        _ if at.get("/series").is_some() => at.number("/series/count"),
        0 => 1,
        count => count,
    };
    let kind = either("/involvedObject/kind", "/regarding/kind").to_lowercase();
    let object = match either("/involvedObject/name", "/regarding/name").as_str() {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = match either("/source/component", "/deprecatedSource/component").as_str() {
        "" => either("/reportingComponent", "/reportingController"),
        component => component.to_owned(),
    };
    let instance = match either("/source/host", "/deprecatedSource/host").as_str() {
        "" => at.text("/reportingInstance").to_owned(),
        host => host.to_owned(),
    };
    let source = if instance.is_empty() { component } else { format!("{component}, {instance}") };
    vec![
        last.into(),
        at.text("/type").into(),
        at.text("/reason").into(),
        object.into(),
        either("/involvedObject/fieldPath", "/regarding/fieldPath").into(),
        source.into(),
        either("/message", "/note").trim().into(),
        first.into(),
        count.into(),
        at.name(),
    ]
}

fn signing_request(at: &Cells<'_>) -> Vec<Value> {
    let mut conditions = Vec::new();
    for (kind, word) in [("Approved", "Approved"), ("Denied", "Denied"), ("Failed", "Failed")] {
        if at.items("/status/conditions").iter().any(|condition| condition["type"] == kind) {
            conditions.push(word);
        }
    }
    if conditions.is_empty() {
        conditions.push("Pending");
    }
    if !at.text("/status/certificate").is_empty() {
        conditions.push("Issued");
    }
    let lasts =
        at.get("/spec/expirationSeconds").and_then(Value::as_i64).map_or("<none>".to_owned(), crate::duration::human);
    vec![
        at.name(),
        at.age(),
        at.text_or("/spec/signerName", "<none>"),
        at.text("/spec/username").into(),
        lasts.into(),
        conditions.join(",").into(),
    ]
}
