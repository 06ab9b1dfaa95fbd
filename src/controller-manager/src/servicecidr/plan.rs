//! Whether a range of Service addresses is still needed. Pure.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::networking::v1::ServiceCIDR,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};

/// Why a range cannot go.
pub const STILL_USED: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

/// What is to be done with a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is in force.
    Keep,
    /// It is to go, and an address needs it.
    Wait,
    /// It is to go, and nothing needs it.
    Release,
}

/// Decides. `used` are all addresses that are given out.
pub fn plan<'a>(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], used: impl Iterator<Item = &'a str>) -> Step {
    if range.metadata.deletion_timestamp.is_none() {
        return Step::Keep;
    }
    let own = blocks(range);
    let others = all
        .iter()
        .filter(|other| other.metadata.deletion_timestamp.is_none() && other.metadata.name != range.metadata.name);
    let others: Vec<Block> = others.flat_map(|other| blocks(other)).collect();
    // What another range holds too does not need this one.
    let needs = |address: IpAddr| {
        own.iter().any(|block| block.contains(address)) && !others.iter().any(|block| block.contains(address))
    };
    if used.filter_map(|name| name.parse().ok()).any(needs) { Step::Wait } else { Step::Release }
}

/// The conditions with `Ready` as it should be; `None` when it is.
pub fn conditions(
    range: &ServiceCIDR,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let present = range.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions = present.clone();
    let found = conditions.iter_mut().find(|condition| condition.type_ == "Ready");
    let since = found.as_ref().filter(|found| found.status == status).map(|found| found.last_transition_time.clone());
    let ready = Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: since.unwrap_or(Time(now)),
        observed_generation: None,
    };
    match found {
        Some(found) => *found = ready,
        None => conditions.push(ready),
    }
    (conditions != present).then_some(conditions)
}

/// A block of addresses: its first, and how many bits all of them share.
#[derive(Debug, Clone, Copy)]
struct Block(IpAddr, u32);

impl Block {
    fn contains(self, address: IpAddr) -> bool {
        let (own, other, all) = match (self.0, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (u128::from(own.to_bits()), u128::from(other.to_bits()), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let rest = u32::saturating_sub(all, self.1);
        own.checked_shr(rest) == other.checked_shr(rest)
    }
}

fn blocks(range: &ServiceCIDR) -> Vec<Block> {
    let texts = range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    let parse = |text: &String| {
        let (first, bits) = text.split_once('/')?;
        Some(Block(first.parse().ok()?, bits.parse().ok()?))
    };
    texts.filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn range(name: &str, cidrs: &[&str], going: bool) -> Arc<ServiceCIDR> {
        let mut range = json!({"metadata": {"name": name}, "spec": {"cidrs": cidrs}});
        if going {
            range["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(from_value(range).expect("a range"))
    }

    #[test]
    fn a_range_stays_while_an_address_needs_it_that_no_other_holds() {
        let going = range("a", &["10.0.0.0/24", "fd00::/112"], true);
        let step = |others: &[Arc<ServiceCIDR>], used: &[&str]| {
            let all: Vec<_> = others.iter().cloned().chain([going.clone()]).collect();
            plan(&going, &all, used.iter().copied())
        };
        assert_eq!(plan(&range("a", &["10.0.0.0/24"], false), &[], ["10.0.0.1"].into_iter()), Step::Keep);
        assert_eq!(step(&[], &[]), Step::Release);
        assert_eq!(step(&[], &["10.0.1.1", "fd01::1", "nonsense"]), Step::Release);
        assert_eq!(step(&[], &["10.0.0.7"]), Step::Wait);
        assert_eq!(step(&[], &["fd00::7"]), Step::Wait);
        assert_eq!(step(&[range("b", &["10.0.0.0/16"], false)], &["10.0.0.7"]), Step::Release);
        assert_eq!(step(&[range("b", &["10.0.0.0/16"], true)], &["10.0.0.7"]), Step::Wait, "that goes too");
        assert_eq!(step(&[range("b", &["10.0.0.0/29"], false)], &["10.0.0.7"]), Step::Release);
        assert_eq!(step(&[range("b", &["10.0.0.0/29"], false)], &["10.0.0.9"]), Step::Wait);
        assert_eq!(step(&[range("b", &["0.0.0.0/0"], false)], &["10.0.0.9"]), Step::Release);
    }

    #[test]
    fn readiness_is_written_once_and_since_when_it_is_so() {
        let now = |second: i64| Timestamp::from_second(second).expect("a small number");
        let mut range = ServiceCIDR::clone(&range("a", &["10.0.0.0/24"], false));
        let first = conditions(&range, "True", "", "m", now(1)).expect("it is new");
        range.status.get_or_insert_default().conditions = Some(first);
        assert_eq!(conditions(&range, "True", "", "m", now(2)), None);
        let other = conditions(&range, "True", "", "n", now(2)).expect("it says something else");
        assert_eq!(other[0].last_transition_time, Time(now(1)));
        let turned = conditions(&range, "False", "Terminating", "n", now(2)).expect("it turned");
        assert_eq!((turned.len(), &turned[0].last_transition_time), (1, &Time(now(2))));
    }
}
