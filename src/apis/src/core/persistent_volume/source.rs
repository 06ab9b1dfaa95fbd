//! Where a volume comes from. What pods can use without a PersistentVolume is checked as pods do.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::{
    checks,
    core::pod::volume_plugin as plugin,
    json::{field, has, some, text},
};

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Checks that there is one source, which is whole.
pub(super) fn check(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut count = 0;
    for (name, told) in SOURCES {
        let Some(source) = some(spec, name) else { continue };
        count += 1;
        let at = path.child(told);
        // Kubernetes never minded another source beside this one.
        if count > 1 && *name != "flexVolume" {
            errors.push(FieldError::forbidden(&at, "may not specify more than 1 volume type"));
            continue;
        }
        check_one(name, source, &at, errors);
        if *name == "local" && !has(spec, "nodeAffinity") {
            let at = path.child("nodeAffinity");
            errors.push(FieldError::required(&at, "Local volume requires node affinity"));
        }
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

/// Sources in the order in which they are looked at, and what errors call them.
const SOURCES: &[(&str, &str)] = &[
    ("hostPath", "hostPath"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("nfs", "nfs"),
    ("rbd", "rbd"),
    ("quobyte", "quobyte"),
    ("cephfs", "cephFS"),
    ("iscsi", "iscsi"),
    ("cinder", "cinder"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("scaleIO", "scaleIO"),
    ("local", "local"),
    ("storageos", "storageos"),
    ("csi", "csi"),
];

fn check_one(name: &str, source: &Value, path: &Path, errors: &mut ErrorList) {
    let options = Default::default();
    match name {
        "hostPath" => check_host_path(source, path, errors),
        "gcePersistentDisk" => plugin::check_gce(errors, path, source, &options),
        "awsElasticBlockStore" => plugin::check_aws(errors, path, source, &options),
        "glusterfs" => {
            plugin::check_glusterfs(errors, path, source, &options);
            if has(source, "endpointsNamespace") {
                let namespace = text(source, "endpointsNamespace");
                checks::dns_label(errors, &path.child("endpointsNamespace"), namespace);
            }
        }
        "flocker" => plugin::check_flocker(errors, path, source, &options),
        "nfs" => plugin::check_nfs(errors, path, source, &options),
        "rbd" => plugin::check_rbd(errors, path, source, &options),
        "quobyte" => plugin::check_quobyte(errors, path, source, &options),
        "cephfs" => plugin::check_cephfs(errors, path, source, &options),
        "iscsi" => {
            plugin::check_iscsi(errors, path, source, &options);
            check_secret_name(source, path, errors);
        }
        "cinder" => {
            checks::required(errors, &path.child("volumeID"), text(source, "volumeID"));
            if has(source, "secretRef") {
                for name in ["name", "namespace"] {
                    let at = path.child("secretRef").child(name);
                    checks::required(errors, &at, text(field(source, "secretRef"), name));
                }
            }
        }
        "fc" => plugin::check_fc(errors, path, source, &options),
        "flexVolume" => plugin::check_flex(errors, path, source, &options),
        "azureFile" => {
            plugin::check_azure_file(errors, path, source, &options);
            if has(source, "secretNamespace") {
                checks::required(errors, &path.child("secretNamespace"), text(source, "secretNamespace"));
            }
        }
        "vsphereVolume" => plugin::check_vsphere(errors, path, source, &options),
        "photonPersistentDisk" => plugin::check_photon(errors, path, source, &options),
        "portworxVolume" => plugin::check_portworx(errors, path, source, &options),
        "azureDisk" => plugin::check_azure_disk(errors, path, source, &options),
        "scaleIO" => plugin::check_scale_io(errors, path, source, &options),
        "local" => {
            let at = path.child("path");
            if checks::required(errors, &at, text(source, "path")) {
                check_backsteps(text(source, "path"), &at, errors);
            }
        }
        "storageos" => plugin::check_storageos(errors, path, source, &options),
        _ => check_csi(source, path, errors),
    }
}

fn check_host_path(source: &Value, path: &Path, errors: &mut ErrorList) {
    let (at, place) = (path.child("path"), text(source, "path"));
    if !checks::required(errors, &at, place) {
        return;
    }
    check_backsteps(place, &at, errors);
    if has(source, "type") {
        checks::one_of(errors, &path.child("type"), text(source, "type"), HOST_PATH_TYPES);
    }
}

fn check_backsteps(place: &str, path: &Path, errors: &mut ErrorList) {
    if place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, place, "must not contain '..'"));
    }
}

fn check_secret_name(source: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(secret) = some(source, "secretRef") {
        checks::required(errors, &path.child("secretRef").child("name"), text(secret, "name"));
    }
}

fn check_csi(source: &Value, path: &Path, errors: &mut ErrorList) {
    plugin::check_driver_name(errors, &path.child("driver"), text(source, "driver"));
    checks::required(errors, &path.child("volumeHandle"), text(source, "volumeHandle"));
    for name in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
        "nodeStageSecretRef",
    ] {
        let Some(secret) = some(source, name) else { continue };
        let path = path.child(name);
        let (at, value) = (path.child("name"), text(secret, "name"));
        if checks::required(errors, &at, value) {
            checks::dns_subdomain(errors, &at, value);
        }
        let (at, value) = (path.child("namespace"), text(secret, "namespace"));
        if checks::required(errors, &at, value) {
            checks::dns_label(errors, &at, value);
        }
    }
}
