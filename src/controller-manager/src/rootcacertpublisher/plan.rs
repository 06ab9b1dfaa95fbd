//! What every namespace's copy of the cluster's authority looks like.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::serviceaccount::plan::is_active;

/// The ConfigMap that pods find the authority in.
pub const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service \
     IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

/// The ConfigMap as it should be, if it is not.
pub fn plan(namespace: &Namespace, there: Option<&ConfigMap>, root_ca: &str) -> Option<ConfigMap> {
    if !is_active(namespace) {
        return None;
    }
    let data = BTreeMap::from([(KEY.to_owned(), root_ca.to_owned())]);
    let described = |map: &ConfigMap| {
        map.metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(DESCRIPTION.0))
            .is_some_and(|text| text == DESCRIPTION.1)
    };
    if there.is_some_and(|there| there.data.as_ref() == Some(&data) && described(there)) {
        return None;
    }
    let mut map = there.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: namespace.metadata.name.clone(),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    });
    map.data = Some(data);
    map.metadata.annotations.get_or_insert_default().insert(DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned());
    Some(map)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_somebody_changed_is_put_right() {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a namespace");
        let made = plan(&namespace, None, "PEM").expect("one");
        assert_eq!(plan(&namespace, Some(&made), "PEM"), None);
        let mut changed = made.clone();
        changed.data.as_mut().expect("data").insert("ca.crt".to_owned(), "other".to_owned());
        changed.metadata.labels = Some(BTreeMap::from([("kept".to_owned(), "1".to_owned())]));
        let right = plan(&namespace, Some(&changed), "PEM").expect("put right");
        assert_eq!((right.data, right.metadata.labels), (made.data, changed.metadata.labels));
    }
}
