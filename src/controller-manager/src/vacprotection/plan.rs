//! Which classes a claim or a volume names.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

/// Those that a claim wants, has, or is on the way to.
pub fn of_claim(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.as_deref());
    let target = status
        .and_then(|status| status.modify_volume_status.as_ref())
        .and_then(|modify| modify.target_volume_attributes_class_name.as_deref());
    [wanted, current, target].into_iter().flatten().filter(|name| !name.is_empty())
}

/// The one that a volume has.
pub fn of_volume(volume: &PersistentVolume) -> impl Iterator<Item = &str> {
    let name = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    name.into_iter().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_claim_names_what_it_wants_has_and_is_on_the_way_to() {
        let claim = from_value(json!({"metadata": {}, "spec": {"volumeAttributesClassName": "fast"}, "status": {
            "currentVolumeAttributesClassName": "slow",
            "modifyVolumeStatus": {"status": "InProgress", "targetVolumeAttributesClassName": "medium"}}}))
        .expect("a claim");
        assert_eq!(of_claim(&claim).collect::<Vec<_>>(), ["fast", "slow", "medium"]);
        assert_eq!(of_claim(&PersistentVolumeClaim::default()).count(), 0);
        let volume = from_value(json!({"metadata": {}, "spec": {"volumeAttributesClassName": ""}})).expect("a volume");
        assert_eq!(of_volume(&volume).count(), 0);
    }
}
