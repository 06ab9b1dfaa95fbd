//! Where volumes are seen in a container: as folders and as devices.

use std::collections::HashSet;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::volume::{Volumes, check_descending_path, has_backsteps};
use crate::{
    checks,
    json::{field, flag, has, list, some, text},
};

/// The folders of a container.
pub(crate) fn check_mounts(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &Volumes<'_>) {
    let devices = list(container, "volumeDevices");
    let mut seen = HashSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = path.index(index);
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        checks::required(errors, &at.child("name"), name);
        if !volumes.contains_key(name) {
            errors.push(FieldError::not_found(&at.child("name"), name));
        }
        checks::required(errors, &at.child("mountPath"), place);
        if !seen.insert(place) {
            errors.push(FieldError::invalid(&at.child("mountPath"), place, "must be unique"));
        }
        if devices.iter().any(|device| text(device, "name") == name) {
            errors.push(FieldError::invalid(&at.child("name"), name, "must not already exist in volumeDevices"));
        }
        if devices.iter().any(|device| text(device, "devicePath") == place) {
            let why = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(&at.child("mountPath"), place, why));
        }
        let (sub_path, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        if !sub_path.is_empty() {
            check_descending_path(errors, &path.child("subPath"), sub_path);
        }
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                let why = "subPathExpr and subPath are mutually exclusive";
                errors.push(FieldError::invalid(&at.child("subPathExpr"), expression, why));
            }
            check_descending_path(errors, &path.child("subPathExpr"), expression);
        }
        check_propagation(errors, &path.child("mountPropagation"), mount, container);
        check_recursive_read_only(errors, &path.child("recursiveReadOnly"), mount);
    }
}

fn check_propagation(errors: &mut ErrorList, path: &Path, mount: &Value, container: &Value) {
    let Some(mode) = some(mount, "mountPropagation").and_then(Value::as_str) else { return };
    checks::one_of(errors, path, mode, &["Bidirectional", "HostToContainer", "None"]);
    if mode == "Bidirectional" && !flag(field(container, "securityContext"), "privileged") {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(path, why));
    }
}

fn check_recursive_read_only(errors: &mut ErrorList, path: &Path, mount: &Value) {
    match some(mount, "recursiveReadOnly").and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !flag(mount, "readOnly") {
                errors.push(FieldError::forbidden(path, "may only be specified when readOnly is true"));
            }
            if !matches!(text(mount, "mountPropagation"), "" | "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(path, why));
            }
        }
        Some(other) => errors.push(FieldError::not_supported(path, other, &["Disabled", "Enabled", "IfPossible"])),
    }
}

/// The devices of a container.
pub(crate) fn check_devices(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &Volumes<'_>) {
    let mounts = list(container, "volumeMounts");
    let (mut names, mut places) = (HashSet::new(), HashSet::new());
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = path.index(index);
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        let (name_path, place_path) = (path.child("name"), path.child("devicePath"));
        checks::required(errors, &name_path, name);
        if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::invalid(&name_path, name, "must be unique"));
        }
        match volumes.get(name) {
            Some(volume) if !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral") => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(&name_path, name, why));
            }
            Some(_) => {}
            None => errors.push(FieldError::not_found(&name_path, name)),
        }
        checks::required(errors, &place_path, place);
        if places.contains(place) {
            errors.push(FieldError::invalid(&place_path, place, "must be unique"));
        }
        if has_backsteps(place) {
            errors.push(FieldError::invalid(&place_path, place, "can not contain backsteps ('..')"));
        } else {
            places.insert(place);
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            errors.push(FieldError::invalid(&name_path, name, "must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == place) {
            let why = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(&place_path, place, why));
        }
    }
}
