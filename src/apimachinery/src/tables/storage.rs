//! Volumes, claims, classes and devices.

use serde_json::Value;

use super::cell::Cells;

const CLASS: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";

pub(super) fn core(resource: &str, at: &Cells<'_>) -> Option<Vec<Value>> {
    let phase = || if at.is_deleting() { "Terminating" } else { at.text("/status/phase") }.into();
    let class = || match at.text(CLASS) {
        "" => at.text("/spec/storageClassName").into(),
        class => class.into(),
    };
    let attributes = at.text_or("/spec/volumeAttributesClassName", "<unset>");
    let mode = at.text_or("/spec/volumeMode", "<unset>");
    Some(match resource {
        "persistentvolumes" => {
            let claim = at.get("/spec/claimRef").map_or_else(String::new, |_| {
                format!("{}/{}", at.text("/spec/claimRef/namespace"), at.text("/spec/claimRef/name"))
            });
            vec![
                at.name(),
                at.text("/spec/capacity/storage").into(),
                access(at.items("/spec/accessModes")).into(),
                at.text("/spec/persistentVolumeReclaimPolicy").into(),
                phase(),
                claim.into(),
                class(),
                attributes,
                at.text("/status/reason").into(),
                at.age(),
                mode,
            ]
        }
        "persistentvolumeclaims" => {
            let volume = at.text("/spec/volumeName");
            let bound = |text: String| if volume.is_empty() { "".into() } else { Value::from(text) };
            vec![
                at.name(),
                phase(),
                volume.into(),
                bound(at.text("/status/capacity/storage").to_owned()),
                bound(access(at.items("/status/accessModes"))),
                class(),
                attributes,
                at.age(),
                mode,
            ]
        }
        _ => return None,
    })
}

pub(super) fn cells(resource: &str, at: &Cells<'_>) -> Option<Vec<Value>> {
    Some(match resource {
        "storageclasses" => {
            let default = |name: &str| {
                at.text(&format!("/metadata/annotations/{name}.kubernetes.io~1is-default-class")) == "true"
            };
            let name = at.text("/metadata/name");
            let name = if default("storageclass") || default("storageclass.beta") {
                format!("{name} (default)")
            } else {
                name.to_owned()
            };
            vec![
                name.into(),
                at.text("/provisioner").into(),
                at.text_or("/reclaimPolicy", "Delete"),
                at.text_or("/volumeBindingMode", "Immediate"),
                at.flag("/allowVolumeExpansion").into(),
                at.age(),
            ]
        }
        "csidrivers" => {
            let audiences: Vec<&str> = at
                .items("/spec/tokenRequests")
                .iter()
                .map(|request| request["audience"].as_str().unwrap_or_default())
                .collect();
            let modes: Vec<&str> = at.items("/spec/volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
            vec![
                at.name(),
                at.get("/spec/attachRequired").is_none_or(|value| value == true).into(),
                at.flag("/spec/podInfoOnMount").into(),
                at.flag("/spec/storageCapacity").into(),
                if audiences.is_empty() { "<unset>".into() } else { audiences.join(",").into() },
                at.flag("/spec/requiresRepublish").into(),
                if modes.is_empty() { "<none>".into() } else { modes.join(",").into() },
                at.age(),
            ]
        }
        "csinodes" => vec![at.name(), at.items("/spec/drivers").len().into(), at.age()],
        "volumeattachments" => vec![
            at.name(),
            at.text("/spec/attacher").into(),
            at.text("/spec/source/persistentVolumeName").into(),
            at.text("/spec/nodeName").into(),
            at.flag("/status/attached").into(),
            at.age(),
        ],
        "volumeattributesclasses" => vec![at.name(), at.text("/driverName").into(), at.age()],
        "resourceclaims" => vec![at.name(), claim_state(at).into(), at.age()],
        "resourceclaimtemplates" | "deviceclasses" => vec![at.name(), at.age()],
        "resourceslices" => {
            let pool = at.text("/spec/pool/name").into();
            vec![at.name(), at.text_or("/spec/nodeName", "<unset>"), at.text("/spec/driver").into(), pool, at.age()]
        }
        _ => return None,
    })
}

/// Access modes in their short forms.
fn access(modes: &[Value]) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let shown: Vec<&str> =
        short.into_iter().filter(|(mode, _)| modes.iter().any(|given| given == mode)).map(|(_, short)| short).collect();
    shown.join(",")
}

fn claim_state(at: &Cells<'_>) -> String {
    let mut states = Vec::new();
    if at.is_deleting() {
        states.push("deleted");
    }
    match at.get("/status/allocation") {
        None if !at.is_deleting() => states.push("pending"),
        None => {}
        Some(_) => {
            states.push("allocated");
            if !at.items("/status/reservedFor").is_empty() {
                states.push("reserved");
            }
        }
    }
    states.join(",")
}
