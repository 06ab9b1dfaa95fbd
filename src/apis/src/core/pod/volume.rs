//! Volumes of pods: those of Kubernetes itself. Those of other systems are in [`super::volume_plugin`].

use std::collections::{HashMap, HashSet};

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::{container::PULL_POLICIES, env, resources::quantity, spec::Options, volume_plugin, volume_projection};
use crate::{
    checks,
    json::{field, has, int, list, some, text},
    metadata,
};

/// Volumes that are all right, by name.
pub(crate) type Volumes<'a> = HashMap<&'a str, &'a Value>;

/// What is said of permissions of a file that are none.
const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Kinds of volumes in the order in which they are read: the field, what it is called in errors, and its check.
const SOURCES: &[(&str, &str, Check)] = &[
    ("emptyDir", "emptyDir", check_empty_dir),
    ("hostPath", "hostPath", check_host_path),
    ("gitRepo", "gitRepo", volume_plugin::check_git),
    ("gcePersistentDisk", "persistentDisk", volume_plugin::check_gce),
    ("awsElasticBlockStore", "awsElasticBlockStore", volume_plugin::check_aws),
    ("secret", "secret", check_secret),
    ("nfs", "nfs", volume_plugin::check_nfs),
    ("iscsi", "iscsi", volume_plugin::check_iscsi),
    ("glusterfs", "glusterfs", volume_plugin::check_glusterfs),
    ("flocker", "flocker", volume_plugin::check_flocker),
    ("persistentVolumeClaim", "persistentVolumeClaim", check_claim),
    ("rbd", "rbd", volume_plugin::check_rbd),
    ("cinder", "cinder", volume_plugin::check_cinder),
    ("cephfs", "cephfs", volume_plugin::check_cephfs),
    ("quobyte", "quobyte", volume_plugin::check_quobyte),
    ("downwardAPI", "downwardAPI", check_downward),
    ("fc", "fc", volume_plugin::check_fc),
    ("flexVolume", "flexVolume", volume_plugin::check_flex),
    ("configMap", "configMap", check_config_map),
    ("azureFile", "azureFile", volume_plugin::check_azure_file),
    ("vsphereVolume", "vsphereVolume", volume_plugin::check_vsphere),
    ("photonPersistentDisk", "photonPersistentDisk", volume_plugin::check_photon),
    ("portworxVolume", "portworxVolume", volume_plugin::check_portworx),
    ("azureDisk", "azureDisk", volume_plugin::check_azure_disk),
    ("storageos", "storageos", volume_plugin::check_storageos),
    ("projected", "projected", volume_projection::check),
    ("scaleIO", "scaleIO", volume_plugin::check_scale_io),
    ("csi", "csi", volume_plugin::check_csi),
    ("ephemeral", "ephemeral", check_ephemeral),
    ("image", "image", check_image),
];

type Check = fn(&mut ErrorList, &Path, &Value, &Options);

/// Checks a pod's volumes; gives those that are all right.
pub(crate) fn check<'a>(
    errors: &mut ErrorList,
    path: &Path,
    volumes: &'a [Value],
    pod: &str,
    options: &Options,
) -> Volumes<'a> {
    let mut fine = Volumes::new();
    let made: HashSet<_> = volumes
        .iter()
        .filter(|volume| !pod.is_empty() && has(volume, "ephemeral"))
        .map(|volume| format!("{pod}-{}", text(volume, "name")))
        .collect();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let name = text(volume, "name");
        let before = errors.len();
        check_source(errors, &path, volume, pod, options);
        if checks::required(errors, &path.child("name"), name) {
            checks::dns_label(errors, &path.child("name"), name);
        }
        if fine.contains_key(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        if errors.len() == before {
            fine.insert(name, volume);
        }
        let claim = text(field(volume, "persistentVolumeClaim"), "claimName");
        if has(volume, "persistentVolumeClaim") && made.contains(claim) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            let path = path.child("persistentVolumeClaim").child("claimName");
            errors.push(FieldError::invalid(&path, claim, why));
        }
    }
    fine
}

fn check_source(errors: &mut ErrorList, path: &Path, volume: &Value, pod: &str, options: &Options) {
    let mut count = 0;
    for (name, place, check) in SOURCES {
        let Some(source) = some(volume, name) else { continue };
        count += 1;
        let path = path.child(place);
        if count > 1 {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
        } else {
            check(errors, &path, source, options);
        }
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    let name = text(volume, "name");
    if count == 1 && has(volume, "ephemeral") && !pod.is_empty() && !name.is_empty() {
        let claim = format!("{pod}-{name}");
        let quoted = apimachinery::gotext::quote(&claim);
        let problems = apimachinery::names::is_dns1123_subdomain(&claim).into_iter();
        let problems = problems.map(|why| format!("PVC name {quoted}: {why}")).collect();
        checks::invalid(errors, &path.child("name"), name, problems);
    }
}

fn check_empty_dir(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    if some(source, "sizeLimit").and_then(quantity).is_some_and(|limit| limit.sign() < 0) {
        let why = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(&path.child("sizeLimit"), why));
    }
}

fn check_host_path(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    const TYPES: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let place = text(source, "path");
    if !checks::required(errors, &path.child("path"), place) {
        return;
    }
    check_no_backsteps(errors, &path.child("path"), place);
    checks::one_of(errors, &path.child("type"), text(source, "type"), TYPES);
}

fn check_claim(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    checks::required(errors, &path.child("claimName"), text(source, "claimName"));
}

fn check_secret(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    checks::required(errors, &path.child("secretName"), text(source, "secretName"));
    check_files(errors, path, source);
}

fn check_config_map(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    checks::required(errors, &path.child("name"), text(source, "name"));
    check_files(errors, path, source);
}

fn check_files(errors: &mut ErrorList, path: &Path, source: &Value) {
    check_mode(errors, &path.child("defaultMode"), int(source, "defaultMode"));
    for (index, item) in list(source, "items").iter().enumerate() {
        check_key_to_path(errors, &path.child("items").index(index), item);
    }
}

fn check_downward(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    check_mode(errors, &path.child("defaultMode"), int(source, "defaultMode"));
    for file in list(source, "items") {
        check_downward_file(errors, path, file);
    }
}

/// A file that shows a field of the pod or a resource of a container.
pub(crate) fn check_downward_file(errors: &mut ErrorList, path: &Path, file: &Value) {
    let place = text(file, "path");
    checks::required(errors, &path.child("path"), place);
    check_local_path(errors, &path.child("path"), place);
    match (some(file, "fieldRef"), some(file, "resourceFieldRef")) {
        (Some(reference), other) => {
            env::check_field(errors, &path.child("fieldRef"), reference, env::VOLUME_FIELDS);
            if other.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", why));
            }
        }
        (None, Some(reference)) => env::check_resource(errors, &path.child("resourceFieldRef"), reference, true),
        (None, None) => errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required")),
    }
    check_mode(errors, &path.child("mode"), int(file, "mode"));
}

/// A key of an object and the file that shows it.
pub(crate) fn check_key_to_path(errors: &mut ErrorList, path: &Path, item: &Value) {
    checks::required(errors, &path.child("key"), text(item, "key"));
    let place = text(item, "path");
    checks::required(errors, &path.child("path"), place);
    check_local_path(errors, &path.child("path"), place);
    check_mode(errors, &path.child("mode"), int(item, "mode"));
}

/// Permissions of a file.
pub(crate) fn check_mode(errors: &mut ErrorList, path: &Path, mode: Option<i64>) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(FieldError::invalid(path, mode, MODE));
    }
}

fn check_image(errors: &mut ErrorList, path: &Path, source: &Value, options: &Options) {
    let reference = text(source, "reference");
    if options.pod {
        checks::required(errors, &path.child("reference"), reference);
    }
    checks::required_one_of(errors, &path.child("pullPolicy"), text(source, "pullPolicy"), PULL_POLICIES);
}

/// Metadata that the claim of a volume may not have, in Go's order and words.
const NOT_OF_A_TEMPLATE: &[(&str, &str)] = &[
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

fn check_ephemeral(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    let path = path.child("volumeClaimTemplate");
    let Some(template) = some(source, "volumeClaimTemplate") else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    let meta = field(template, "metadata");
    let meta_path = path.child("metadata");
    metadata::annotations(field(meta, "annotations"), &meta_path.child("annotations"), errors);
    metadata::labels(field(meta, "labels"), &meta_path.child("labels"), errors);
    for (name, word) in NOT_OF_A_TEMPLATE {
        let nothing = |value: &Value| value == "" || *name == "generation" && value == 0;
        if some(meta, name).is_some_and(|value| !nothing(value)) {
            errors.push(FieldError::forbidden(&meta_path.child(word), "cannot be set"));
        }
    }
    crate::core::claim_spec::check(errors, &path.child("spec"), field(template, "spec"));
}

/// A path that stays below where it begins.
pub(crate) fn check_descending_path(errors: &mut ErrorList, path: &Path, place: &str) {
    if place.starts_with('/') {
        errors.push(FieldError::invalid(path, place, "must be a relative path"));
    }
    check_no_backsteps(errors, path, place);
}

/// Such a path that also does not begin like the names that volumes use for themselves.
pub(crate) fn check_local_path(errors: &mut ErrorList, path: &Path, place: &str) {
    check_descending_path(errors, path, place);
    if place.starts_with("..") && !place.starts_with("../") {
        errors.push(FieldError::invalid(path, place, "must not start with '..'"));
    }
}

/// A path that does not go up.
pub(crate) fn check_no_backsteps(errors: &mut ErrorList, path: &Path, place: &str) {
    if has_backsteps(place) {
        errors.push(FieldError::invalid(path, place, "must not contain '..'"));
    }
}

/// Whether a path goes up.
pub(crate) fn has_backsteps(place: &str) -> bool {
    place.split('/').any(|part| part == "..")
}
