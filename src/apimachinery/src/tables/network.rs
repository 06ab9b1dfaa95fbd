//! Services, their endpoints, and how they are reached.

use serde_json::Value;

use super::cell::{Cells, some, texts};

pub(super) fn core(resource: &str, at: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match resource {
        "services" => vec![
            at.name(),
            at.text("/spec/type").into(),
            match at.text("/spec/clusterIPs/0") {
                "" => at.text_or("/spec/clusterIP", "<none>"),
                address => address.into(),
            },
            external(at).into(),
            ports(at.items("/spec/ports")).into(),
            at.age(),
            at.labels("/spec/selector"),
        ],
        "endpoints" => vec![at.name(), endpoints(at).into(), at.age()],
        _ => return None,
    })
}

pub(super) fn cells(resource: &str, at: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match resource {
        "endpointslices" => {
            let port = |port: &Value| port["port"].as_i64().map_or_else(|| "*".to_owned(), |port| port.to_string());
            let ports: Vec<String> = at.items("/ports").iter().map(port).collect();
            let addresses = at.items("/endpoints").iter().flat_map(|endpoint| endpoint["addresses"].as_array());
            let addresses: Vec<String> = addresses.flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            let shown = |all: &[String]| if all.is_empty() { "<unset>".to_owned() } else { some(all, 3) };
            vec![at.name(), at.text("/addressType").into(), shown(&ports).into(), shown(&addresses).into(), at.age()]
        }
        "ingresses" => {
            let ports = if at.items("/spec/tls").is_empty() { "80" } else { "80, 443" };
            let class = match at.text("/spec/ingressClassName") {
                "" => at.text_or("/metadata/annotations/kubernetes.io~1ingress.class", "<none>"),
                class => class.into(),
            };
            vec![at.name(), class, hosts(at).into(), balancer(at).into(), ports.into(), at.age()]
        }
        "ingressclasses" => {
            let parameters = at.get("/spec/parameters").map_or_else(
                || "<none>".to_owned(),
                |_| {
                    let group = at.text("/spec/parameters/apiGroup");
                    let kind = at.text("/spec/parameters/kind");
                    let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
                    format!("{kind}/{}", at.text("/spec/parameters/name"))
                },
            );
            vec![at.name(), at.text("/spec/controller").into(), parameters.into(), at.age()]
        }
        "networkpolicies" => vec![at.name(), at.selector("/spec/podSelector"), at.age()],
        "ipaddresses" => {
            let parts =
                ["group", "resource", "namespace", "name"].map(|part| at.text(&format!("/spec/parentRef/{part}")));
            let parent: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            vec![at.name(), if parent.is_empty() { "<none>".into() } else { parent.join("/").into() }, at.age()]
        }
        "servicecidrs" => {
            let ranges: Vec<&str> = at.items("/spec/cidrs").iter().filter_map(Value::as_str).collect();
            vec![at.name(), ranges.join(",").into(), at.age()]
        }
        _ => return None,
    })
}

fn ports(ports: &[Value]) -> String {
    let shown = ports.iter().map(|port| {
        let (number, protocol) =
            (port["port"].as_i64().unwrap_or_default(), port["protocol"].as_str().unwrap_or_default());
        match port["nodePort"].as_i64() {
            Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "<none>".into() } else { shown.join(",") }
}

/// Where the balancer is.
fn balancer(at: &Cells<'_>) -> String {
    let ingress = at.items("/status/loadBalancer/ingress").iter();
    let address = |ingress: &Value| {
        let text = |field: &str| ingress[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        text("ip").or_else(|| text("hostname"))
    };
    let mut all: Vec<String> = ingress.filter_map(address).collect();
    all.sort();
    all.dedup();
    all.join(",")
}

fn external(at: &Cells<'_>) -> String {
    let given: Vec<&str> = at.items("/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    match at.text("/spec/type") {
        "ExternalName" => at.text("/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let balancer = balancer(at);
            let parts = [balancer.as_str()].into_iter().chain(given).filter(|part| !part.is_empty());
            let all: Vec<&str> = parts.collect();
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        _ if given.is_empty() => "<none>".into(),
        _ => given.join(","),
    }
}

fn endpoints(at: &Cells<'_>) -> String {
    let mut all = Vec::new();
    for subset in at.items("/subsets") {
        let empty = Vec::new();
        let list = |field: &str| subset[field].as_array().unwrap_or(&empty);
        for port in list("ports") {
            for address in texts(list("addresses"), "ip") {
                let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
                all.push(format!("{host}:{}", port["port"].as_i64().unwrap_or_default()));
            }
        }
        if list("ports").is_empty() {
            all.extend(texts(list("addresses"), "ip").into_iter().map(str::to_owned));
        }
    }
    if all.is_empty() { "<none>".into() } else { some(&all, 3) }
}

fn hosts(at: &Cells<'_>) -> String {
    let hosts = texts(at.items("/spec/rules"), "host").into_iter().filter(|host| !host.is_empty());
    let hosts: Vec<String> = hosts.map(str::to_owned).collect();
    if hosts.is_empty() { "*".into() } else { some(&hosts, 3) }
}
