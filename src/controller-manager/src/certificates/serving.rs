//! Whether a kubelet's serving certificate is approved by itself: asked for by the node, for names that are the node's own.
//!
//! Kubernetes leaves these requests to a person, because it does not know which addresses a machine has. Here a node says
//! its addresses in its status, which nobody but itself may write; a name under which the API is reached is never a node's.

use k8s_openapi::api::{certificates::v1::CertificateSigningRequest, core::v1::Node};

use super::plan::{self, KUBELET_SERVING, Subject};

/// Names under which clients look for the API server.
const OF_THE_API: &[&str] = &["kubernetes", "localhost"];

/// The permission that lets the request through, with what is said then.
pub fn permission(
    csr: &CertificateSigningRequest,
    subject: &Subject,
    node: Option<&Node>,
) -> Option<(&'static str, &'static str)> {
    let own = csr.spec.username.as_deref() == Some(&subject.common_name);
    let ours = csr.spec.signer_name == KUBELET_SERVING && plan::check(csr, subject).is_ok();
    let known = hosts(node?);
    let own_names = subject.hosts.iter().all(|host| known.contains(&host.as_str()) && !is_of_the_api(host));
    (own && ours && own_names)
        .then_some(("selfnodeserver", "Auto approving kubelet serving certificate for the node's own names."))
}

/// The names and addresses of a node.
pub fn hosts(node: &Node) -> Vec<&str> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let name = node.metadata.name.as_deref();
    name.into_iter().chain(addresses.iter().map(|address| address.address.as_str())).collect()
}

/// Whether a request may still be waiting for its node.
pub fn is_waiting(csr: &CertificateSigningRequest) -> bool {
    csr.spec.signer_name == KUBELET_SERVING && !plan::has(csr, "Approved") && !plan::has(csr, "Denied")
}

fn is_of_the_api(host: &str) -> bool {
    OF_THE_API.iter().any(|name| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_serves_under_its_own_names_and_no_others() {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.7"}, {"type": "Hostname", "address": "kubernetes.default"}]}}))
        .expect("a node");
        let csr = |user: &str| -> CertificateSigningRequest {
            serde_json::from_value(json!({"metadata": {"name": "c"}, "spec": {"signerName": KUBELET_SERVING,
                "usages": ["digital signature", "server auth"], "request": "", "username": user}}))
            .expect("a request")
        };
        let asks = |hosts: &[&str]| Subject {
            common_name: "system:node:n".into(),
            organizations: vec!["system:nodes".into()],
            names: [hosts.len(), 0, 0, 0],
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        for (user, hosts, wanted) in [
            ("system:node:n", &["n", "10.0.0.7"][..], true),
            ("system:node:m", &["n"], false),
            ("system:node:n", &["n", "10.0.0.8"], false),
            ("system:node:n", &["kubernetes.default"], false),
            ("system:node:n", &[], false),
        ] {
            assert_eq!(permission(&csr(user), &asks(hosts), Some(&node)).is_some(), wanted, "{user} {hosts:?}");
        }
        assert!(permission(&csr("system:node:n"), &asks(&["n"]), None).is_none(), "the node is not there yet");
    }
}
