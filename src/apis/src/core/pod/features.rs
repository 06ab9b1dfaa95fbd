//! Fields whose feature kube-apiserver 1.36 has switched off: they are dropped from what a client sends, unless the stored object has them.

use serde_json::{Value, json};

use crate::json::{each, field, has, list, take, with};

const LISTS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

/// Drops from a pod's spec, or a template's, what is switched off; `old` is the stored spec.
pub(crate) fn drop_disabled(spec: &mut Value, old: Option<&Value>) {
    let old_has = |find: fn(&Value) -> bool| old.is_some_and(find);
    if !old_has(|old| has(old, "schedulingGroup")) {
        take(spec, "schedulingGroup");
    }
    if !old_has(has_stop_signal) {
        for name in LISTS {
            each(spec, name, |container| {
                with(container, "lifecycle", |lifecycle| take(lifecycle, "stopSignal"));
                if field(container, "lifecycle") == &json!({}) {
                    take(container, "lifecycle");
                }
            });
        }
    }
    for name in ["clusterTrustBundle", "podCertificate"] {
        if !old.is_some_and(|old| has_projection(old, name)) {
            each(spec, "volumes", |volume| {
                with(volume, "projected", |projected| each(projected, "sources", |source| take(source, name)));
            });
        }
    }
}

fn has_stop_signal(spec: &Value) -> bool {
    let mut all = LISTS.iter().flat_map(|name| list(spec, name));
    all.any(|container| has(field(container, "lifecycle"), "stopSignal"))
}

fn has_projection(spec: &Value, name: &str) -> bool {
    let mut all = list(spec, "volumes").iter().flat_map(|volume| list(field(volume, "projected"), "sources"));
    all.any(|source| has(source, name))
}
