//! Volumes of storage systems other than Kubernetes' own, which share their checks with PersistentVolumes.

use std::sync::LazyLock;

use apimachinery::{
    field::{ErrorList, FieldError, Path},
    names,
};
use regex::Regex;
use serde_json::Value;

use super::{spec::Options, volume::check_descending_path};
use crate::{
    checks,
    json::{entries, field, flag, has, int, list, some, text},
};

static IQN: LazyLock<Regex> = LazyLock::new(|| pattern(r"iqn\.\d{4}-\d{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\s]+)$"));
static EUI: LazyLock<Regex> = LazyLock::new(|| pattern(r"^eui.[[:alnum:]]{16}$"));
static NAA: LazyLock<Regex> = LazyLock::new(|| pattern(r"^naa.[[:alnum:]]{32}$"));

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns of this file are valid")
}

/// Fields that must be given.
fn require(errors: &mut ErrorList, path: &Path, source: &Value, names: &[&str]) {
    for name in names {
        checks::required(errors, &path.child(name), text(source, name));
    }
}

fn check_partition(errors: &mut ErrorList, path: &Path, source: &Value) {
    if let Some(partition) = int(source, "partition").filter(|partition| !(0..=255).contains(partition)) {
        errors.push(FieldError::invalid(&path.child("partition"), partition, names::range_message(1, 255)));
    }
}

fn check_secret_ref(errors: &mut ErrorList, path: &Path, source: &Value) {
    if let Some(secret) = some(source, "secretRef") {
        checks::required(errors, &path.child("secretRef").child("name"), text(secret, "name"));
    }
}

pub(crate) fn check_git(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["repository"]);
    check_descending_path(errors, &path.child("directory"), text(source, "directory"));
}

pub(crate) fn check_gce(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["pdName"]);
    check_partition(errors, path, source);
}

pub(crate) fn check_aws(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["volumeID"]);
    check_partition(errors, path, source);
}

pub(crate) fn check_nfs(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["server", "path"]);
    let place = text(source, "path");
    if !place.starts_with('/') {
        errors.push(FieldError::invalid(&path.child("path"), place, "must be an absolute path"));
    }
}

pub(crate) fn check_iscsi(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["targetPortal"]);
    let name = text(source, "iqn");
    if checks::required(errors, &path.child("iqn"), name) {
        check_iscsi_name(errors, &path.child("iqn"), name);
    }
    let lun = int(source, "lun").unwrap_or_default();
    checks::invalid(errors, &path.child("lun"), lun, names::is_in_range(lun, 0, 255));
    if (flag(source, "chapAuthDiscovery") || flag(source, "chapAuthSession")) && !has(source, "secretRef") {
        errors.push(FieldError::required(&path.child("secretRef"), ""));
    }
    if let Some(name) = some(source, "initiatorName").and_then(Value::as_str) {
        check_iscsi_name(errors, &path.child("initiatorname"), name);
    }
}

fn check_iscsi_name(errors: &mut ErrorList, path: &Path, name: &str) {
    let regex = match name.get(..3) {
        Some("iqn") => &IQN,
        Some("eui") => &EUI,
        Some("naa") => &NAA,
        _ => {
            errors.push(FieldError::invalid(path, name, "must be valid format starting with iqn, eui, or naa"));
            return;
        }
    };
    if !regex.is_match(name) {
        errors.push(FieldError::invalid(path, name, "must be valid format"));
    }
}

pub(crate) fn check_glusterfs(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["endpoints", "path"]);
}

pub(crate) fn check_flocker(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    let (name, uuid) = (text(source, "datasetName"), text(source, "datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        errors.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(path, "resource", why));
    }
    if name.contains('/') {
        errors.push(FieldError::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
}

pub(crate) fn check_rbd(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    check_monitors(errors, path, source);
    require(errors, path, source, &["image"]);
}

pub(crate) fn check_cephfs(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    check_monitors(errors, path, source);
}

fn check_monitors(errors: &mut ErrorList, path: &Path, source: &Value) {
    if list(source, "monitors").is_empty() {
        errors.push(FieldError::required(&path.child("monitors"), ""));
    }
}

pub(crate) fn check_cinder(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["volumeID"]);
    check_secret_ref(errors, path, source);
}

pub(crate) fn check_fc(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    let (targets, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let targets_path = path.child("targetWWNs");
    if targets.is_empty() && ids.is_empty() {
        let why = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&targets_path, why));
    }
    if !targets.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&targets_path, targets.to_vec(), why));
    }
    if targets.is_empty() {
        return;
    }
    match int(source, "lun") {
        None => {
            errors.push(FieldError::required(&path.child("lun"), "lun is required if targetWWNs is specified"));
        }
        Some(lun) => checks::invalid(errors, &path.child("lun"), lun, names::is_in_range(lun, 0, 255)),
    }
}

pub(crate) fn check_flex(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["driver"]);
    for (key, _) in entries(source, "options") {
        let namespace = key.split_once('/').map_or(key.as_str(), |(namespace, _)| namespace);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(&path.child("options").key(key), key.as_str(), why));
        }
    }
}

pub(crate) fn check_azure_file(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["secretName", "shareName"]);
}

pub(crate) fn check_azure_disk(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["diskName", "diskURI"]);
    if let Some(mode) = some(source, "cachingMode").and_then(Value::as_str) {
        checks::one_of(errors, &path.child("cachingMode"), mode, &["None", "ReadOnly", "ReadWrite"]);
    }
    let Some(kind) = some(source, "kind").and_then(Value::as_str) else { return };
    checks::one_of(errors, &path.child("kind"), kind, &["Dedicated", "Managed", "Shared"]);
    let (prefix, example) = if kind == "Managed" {
        let disks = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
        ("/subscriptions/", disks)
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    let uri = text(source, "diskURI");
    if !uri.starts_with(prefix) {
        errors.push(FieldError::not_supported(&path.child("diskURI"), uri, &[example]));
    }
}

pub(crate) fn check_vsphere(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["volumePath"]);
}

pub(crate) fn check_photon(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["pdID"]);
}

pub(crate) fn check_portworx(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["volumeID"]);
}

pub(crate) fn check_scale_io(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    require(errors, path, source, &["gateway", "system", "volumeName"]);
}

pub(crate) fn check_storageos(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    let (name, namespace) = (text(source, "volumeName"), text(source, "volumeNamespace"));
    if checks::required(errors, &path.child("volumeName"), name) {
        checks::dns_label(errors, &path.child("volumeName"), name);
    }
    if !namespace.is_empty() {
        checks::dns_label(errors, &path.child("volumeNamespace"), namespace);
    }
    check_secret_ref(errors, path, source);
}

pub(crate) fn check_quobyte(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, tenant) = (text(source, "registry"), text(source, "tenant"));
    if registry.is_empty() {
        errors.push(FieldError::required(&path.child("registry"), PAIRS));
    } else if tenant.len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&path.child("tenant"), why));
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.push(FieldError::invalid(&path.child("registry"), registry, PAIRS));
        }
    }
    require(errors, path, source, &["volume"]);
}

/// Whether a text can be split into a host and a port, as Go's `net.SplitHostPort` does.
fn is_host_and_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let inner = if bracketed { &host[1..host.len() - 1] } else { host };
    !port.contains(['[', ']']) && !inner.contains(['[', ']']) && (bracketed || !inner.contains(':'))
}

pub(crate) fn check_csi(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    check_driver_name(errors, &path.child("driver"), text(source, "driver"));
    if some(source, "nodePublishSecretRef").is_some() {
        let name = text(field(source, "nodePublishSecretRef"), "name");
        if checks::required(errors, &path.child("nodePublishSecretRef").child("name"), name) {
            checks::dns_subdomain(errors, &path.child("name"), name);
        }
    }
}

/// The name of a CSI driver.
pub(crate) fn check_driver_name(errors: &mut ErrorList, path: &Path, driver: &str) {
    if !checks::required(errors, path, driver) {
        return;
    }
    if driver.len() > names::LABEL_MAX {
        errors.push(FieldError::too_long(path, names::LABEL_MAX));
    }
    checks::invalid(errors, path, driver, names::is_dns1123_subdomain(&driver.to_lowercase()));
}
