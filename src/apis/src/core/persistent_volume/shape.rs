//! A volume's spec as Go holds it.

use crate::{
    core::event::REFERENCE,
    golang::{Shape, Struct},
};

use Shape::{Any, Bool, Inline, Int, List, Pointer, Quantities, Text};

/// `PersistentVolumeSpec`.
pub(crate) static SPEC: Struct = Struct(&[
    ("Capacity", "capacity", Quantities),
    ("", "", Inline(&SOURCE)),
    ("AccessModes", "accessModes", Any),
    ("ClaimRef", "claimRef", Pointer(&REFERENCE)),
    ("PersistentVolumeReclaimPolicy", "persistentVolumeReclaimPolicy", Text),
    ("StorageClassName", "storageClassName", Text),
    ("MountOptions", "mountOptions", Any),
    ("VolumeMode", "volumeMode", Any),
    ("NodeAffinity", "nodeAffinity", Pointer(&NODE_AFFINITY)),
    ("VolumeAttributesClassName", "volumeAttributesClassName", Any),
]);

/// `PersistentVolumeSource`.
pub(crate) static SOURCE: Struct = Struct(&[
    ("GCEPersistentDisk", "gcePersistentDisk", Pointer(&GCE)),
    ("AWSElasticBlockStore", "awsElasticBlockStore", Pointer(&AWS)),
    ("HostPath", "hostPath", Pointer(&HOST_PATH)),
    ("Glusterfs", "glusterfs", Pointer(&GLUSTERFS)),
    ("NFS", "nfs", Pointer(&NFS)),
    ("RBD", "rbd", Pointer(&RBD)),
    ("Quobyte", "quobyte", Pointer(&QUOBYTE)),
    ("ISCSI", "iscsi", Pointer(&ISCSI)),
    ("FlexVolume", "flexVolume", Pointer(&FLEX)),
    ("Cinder", "cinder", Pointer(&CINDER)),
    ("CephFS", "cephfs", Pointer(&CEPHFS)),
    ("FC", "fc", Pointer(&FC)),
    ("Flocker", "flocker", Pointer(&FLOCKER)),
    ("AzureFile", "azureFile", Pointer(&AZURE_FILE)),
    ("VsphereVolume", "vsphereVolume", Pointer(&VSPHERE)),
    ("AzureDisk", "azureDisk", Pointer(&AZURE_DISK)),
    ("PhotonPersistentDisk", "photonPersistentDisk", Pointer(&PHOTON)),
    ("PortworxVolume", "portworxVolume", Pointer(&PORTWORX)),
    ("ScaleIO", "scaleIO", Pointer(&SCALE_IO)),
    ("Local", "local", Pointer(&LOCAL)),
    ("StorageOS", "storageos", Pointer(&STORAGEOS)),
    ("CSI", "csi", Pointer(&CSI)),
]);

static NODE_AFFINITY: Struct = Struct(&[("Required", "required", Pointer(&NODE_SELECTOR))]);
/// `NodeSelector`.
pub(crate) static NODE_SELECTOR: Struct = Struct(&[("NodeSelectorTerms", "nodeSelectorTerms", List(&NODE_TERM))]);
static NODE_TERM: Struct = Struct(&[
    ("MatchExpressions", "matchExpressions", List(&NODE_REQUIREMENT)),
    ("MatchFields", "matchFields", List(&NODE_REQUIREMENT)),
]);
static NODE_REQUIREMENT: Struct =
    Struct(&[("Key", "key", Text), ("Operator", "operator", Text), ("Values", "values", Any)]);
static SECRET: Struct = Struct(&[("Name", "name", Text), ("Namespace", "namespace", Text)]);
static GCE: Struct = Struct(&[
    ("PDName", "pdName", Text),
    ("FSType", "fsType", Text),
    ("Partition", "partition", Int),
    ("ReadOnly", "readOnly", Bool),
]);
static AWS: Struct = Struct(&[
    ("VolumeID", "volumeID", Text),
    ("FSType", "fsType", Text),
    ("Partition", "partition", Int),
    ("ReadOnly", "readOnly", Bool),
]);
static HOST_PATH: Struct = Struct(&[("Path", "path", Text), ("Type", "type", Any)]);
static GLUSTERFS: Struct = Struct(&[
    ("EndpointsName", "endpoints", Text),
    ("Path", "path", Text),
    ("ReadOnly", "readOnly", Bool),
    ("EndpointsNamespace", "endpointsNamespace", Any),
]);
static NFS: Struct = Struct(&[("Server", "server", Text), ("Path", "path", Text), ("ReadOnly", "readOnly", Bool)]);
static RBD: Struct = Struct(&[
    ("CephMonitors", "monitors", Any),
    ("RBDImage", "image", Text),
    ("FSType", "fsType", Text),
    ("RBDPool", "pool", Text),
    ("RadosUser", "user", Text),
    ("Keyring", "keyring", Text),
    ("SecretRef", "secretRef", Pointer(&SECRET)),
    ("ReadOnly", "readOnly", Bool),
]);
static QUOBYTE: Struct = Struct(&[
    ("Registry", "registry", Text),
    ("Volume", "volume", Text),
    ("ReadOnly", "readOnly", Bool),
    ("User", "user", Text),
    ("Group", "group", Text),
    ("Tenant", "tenant", Text),
]);
static ISCSI: Struct = Struct(&[
    ("TargetPortal", "targetPortal", Text),
    ("IQN", "iqn", Text),
    ("Lun", "lun", Int),
    ("ISCSIInterface", "iscsiInterface", Text),
    ("FSType", "fsType", Text),
    ("ReadOnly", "readOnly", Bool),
    ("Portals", "portals", Any),
    ("DiscoveryCHAPAuth", "chapAuthDiscovery", Bool),
    ("SessionCHAPAuth", "chapAuthSession", Bool),
    ("SecretRef", "secretRef", Pointer(&SECRET)),
    ("InitiatorName", "initiatorName", Any),
]);
static FLEX: Struct = Struct(&[
    ("Driver", "driver", Text),
    ("FSType", "fsType", Text),
    ("SecretRef", "secretRef", Pointer(&SECRET)),
    ("ReadOnly", "readOnly", Bool),
    ("Options", "options", Any),
]);
static CINDER: Struct = Struct(&[
    ("VolumeID", "volumeID", Text),
    ("FSType", "fsType", Text),
    ("ReadOnly", "readOnly", Bool),
    ("SecretRef", "secretRef", Pointer(&SECRET)),
]);
static CEPHFS: Struct = Struct(&[
    ("Monitors", "monitors", Any),
    ("Path", "path", Text),
    ("User", "user", Text),
    ("SecretFile", "secretFile", Text),
    ("SecretRef", "secretRef", Pointer(&SECRET)),
    ("ReadOnly", "readOnly", Bool),
]);
static FC: Struct = Struct(&[
    ("TargetWWNs", "targetWWNs", Any),
    ("Lun", "lun", Any),
    ("FSType", "fsType", Text),
    ("ReadOnly", "readOnly", Bool),
    ("WWIDs", "wwids", Any),
]);
static FLOCKER: Struct = Struct(&[("DatasetName", "datasetName", Text), ("DatasetUUID", "datasetUUID", Text)]);
static AZURE_FILE: Struct = Struct(&[
    ("SecretName", "secretName", Text),
    ("ShareName", "shareName", Text),
    ("ReadOnly", "readOnly", Bool),
    ("SecretNamespace", "secretNamespace", Any),
]);
static VSPHERE: Struct = Struct(&[
    ("VolumePath", "volumePath", Text),
    ("FSType", "fsType", Text),
    ("StoragePolicyName", "storagePolicyName", Text),
    ("StoragePolicyID", "storagePolicyID", Text),
]);
static AZURE_DISK: Struct = Struct(&[
    ("DiskName", "diskName", Text),
    ("DataDiskURI", "diskURI", Text),
    ("CachingMode", "cachingMode", Any),
    ("FSType", "fsType", Any),
    ("ReadOnly", "readOnly", Any),
    ("Kind", "kind", Any),
]);
static PHOTON: Struct = Struct(&[("PdID", "pdID", Text), ("FSType", "fsType", Text)]);
static PORTWORX: Struct =
    Struct(&[("VolumeID", "volumeID", Text), ("FSType", "fsType", Text), ("ReadOnly", "readOnly", Bool)]);
static SCALE_IO: Struct = Struct(&[
    ("Gateway", "gateway", Text),
    ("System", "system", Text),
    ("SecretRef", "secretRef", Pointer(&SECRET)),
    ("SSLEnabled", "sslEnabled", Bool),
    ("ProtectionDomain", "protectionDomain", Text),
    ("StoragePool", "storagePool", Text),
    ("StorageMode", "storageMode", Text),
    ("VolumeName", "volumeName", Text),
    ("FSType", "fsType", Text),
    ("ReadOnly", "readOnly", Bool),
]);
static LOCAL: Struct = Struct(&[("Path", "path", Text), ("FSType", "fsType", Any)]);
static STORAGEOS: Struct = Struct(&[
    ("VolumeName", "volumeName", Text),
    ("VolumeNamespace", "volumeNamespace", Text),
    ("FSType", "fsType", Text),
    ("ReadOnly", "readOnly", Bool),
    ("SecretRef", "secretRef", Pointer(&REFERENCE)),
]);
static CSI: Struct = Struct(&[
    ("Driver", "driver", Text),
    ("VolumeHandle", "volumeHandle", Text),
    ("ReadOnly", "readOnly", Bool),
    ("FSType", "fsType", Text),
    ("VolumeAttributes", "volumeAttributes", Any),
    ("ControllerPublishSecretRef", "controllerPublishSecretRef", Pointer(&SECRET)),
    ("NodeStageSecretRef", "nodeStageSecretRef", Pointer(&SECRET)),
    ("NodePublishSecretRef", "nodePublishSecretRef", Pointer(&SECRET)),
    ("ControllerExpandSecretRef", "controllerExpandSecretRef", Pointer(&SECRET)),
    ("NodeExpandSecretRef", "nodeExpandSecretRef", Pointer(&SECRET)),
]);
