//! Which sandboxes and containers a list is asked for. Pure.

use std::collections::HashMap;

use cri::v1;

/// Whether `id` is what was asked for: nothing, all of it or its beginning.
pub fn id_matches(asked: &str, id: &str) -> bool {
    id.starts_with(asked)
}

/// Whether all of the selector's labels are there.
pub fn labels_match(selector: &HashMap<String, String>, labels: &HashMap<String, String>) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// Whether a sandbox is asked for.
pub fn sandbox(
    filter: &v1::PodSandboxFilter,
    id: &str,
    state: v1::PodSandboxState,
    labels: &HashMap<String, String>,
) -> bool {
    id_matches(&filter.id, id)
        && filter.state.is_none_or(|wanted| wanted.state() == state)
        && labels_match(&filter.label_selector, labels)
}

/// Whether a container is asked for.
pub fn container(
    filter: &v1::ContainerFilter,
    id: &str,
    sandbox: &str,
    state: v1::ContainerState,
    labels: &HashMap<String, String>,
) -> bool {
    id_matches(&filter.id, id)
        && id_matches(&filter.pod_sandbox_id, sandbox)
        && filter.state.is_none_or(|wanted| wanted.state() == state)
        && labels_match(&filter.label_selector, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_given_part_of_a_filter_must_match() {
        let words = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let labels = words(&[("app", "web"), ("tier", "front")]);
        let running = v1::ContainerState::ContainerRunning;
        let given = |id: &str, sandbox: &str, state: Option<v1::ContainerState>, selector: &[(&str, &str)]| {
            let filter = v1::ContainerFilter {
                id: id.to_owned(),
                pod_sandbox_id: sandbox.to_owned(),
                state: state.map(|state| v1::ContainerStateValue { state: state as i32 }),
                label_selector: words(selector),
            };
            container(&filter, "c1", "s1", running, &labels)
        };
        assert!(given("", "", None, &[]));
        assert!(given("c", "s1", Some(running), &[("app", "web")]));
        assert!(!given("c2", "", None, &[]));
        assert!(!given("", "s2", None, &[]));
        assert!(!given("", "", Some(v1::ContainerState::ContainerExited), &[]));
        assert!(!given("", "", None, &[("app", "db")]));
        assert!(!given("", "", None, &[("zone", "")]));
    }
}
