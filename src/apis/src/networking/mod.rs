//! Kinds of `networking.k8s.io`.

pub(crate) mod ingress;
mod ingress_class;
mod ip_address;
mod network_policy;
mod service_cidr;

use crate::kind::Kind;

/// The kind of that name.
pub(crate) fn find(kind: &str) -> Option<&'static dyn Kind> {
    Some(match kind {
        "Ingress" => &ingress::Ingress,
        "IngressClass" => &ingress_class::IngressClass,
        "NetworkPolicy" => &network_policy::NetworkPolicy,
        "IPAddress" => &ip_address::IpAddress,
        "ServiceCIDR" => &service_cidr::ServiceCidr,
        _ => return None,
    })
}
