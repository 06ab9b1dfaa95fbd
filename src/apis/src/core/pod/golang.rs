//! A pod's spec as Go holds it, for messages that show all of it.

use serde_json::{Value, json};

use crate::{
    golang::{
        LABEL_SELECTOR,
        Shape::{Any, Bool, Int, List, Pointer, Quantities, Quantity, QuantityPointer, Struct as Inner, Text},
        Struct,
    },
    json::{field, has, object_at, set},
};

/// Shows a spec.
pub(crate) fn show(spec: &Value) -> String {
    let mut spec = spec.clone();
    // Go keeps with the security context what the wire has beside it.
    for name in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"] {
        let value = field(&spec, name).clone();
        if !value.is_null()
            && let Some(context) = object_at(&mut spec, "securityContext")
        {
            set(context, name, value);
        }
    }
    if !has(&spec, "securityContext") {
        set(&mut spec, "securityContext", json!({}));
    }
    SPEC.show(&spec)
}

static LOCAL: Struct = Struct(&[("Name", "name", Text)]);
static SECRET_REF: Struct = Struct(&[("Name", "name", Text), ("Namespace", "namespace", Text)]);
static KEY_REF: Struct = Struct(&[("Name", "name", Text), ("Key", "key", Text), ("Optional", "optional", Any)]);
static FIELD_REF: Struct = Struct(&[("APIVersion", "apiVersion", Text), ("FieldPath", "fieldPath", Text)]);
static RESOURCE_REF: Struct = Struct(&[
    ("ContainerName", "containerName", Text),
    ("Resource", "resource", Text),
    ("Divisor", "divisor", Quantity),
]);
static FILE_REF: Struct = Struct(&[
    ("VolumeName", "volumeName", Text),
    ("Path", "path", Text),
    ("Key", "key", Text),
    ("Optional", "optional", Any),
]);
static ENV_SOURCE: Struct = Struct(&[
    ("FieldRef", "fieldRef", Pointer(&FIELD_REF)),
    ("ResourceFieldRef", "resourceFieldRef", Pointer(&RESOURCE_REF)),
    ("ConfigMapKeyRef", "configMapKeyRef", Pointer(&KEY_REF)),
    ("SecretKeyRef", "secretKeyRef", Pointer(&KEY_REF)),
    ("FileKeyRef", "fileKeyRef", Pointer(&FILE_REF)),
]);
static ENV: Struct =
    Struct(&[("Name", "name", Text), ("Value", "value", Text), ("ValueFrom", "valueFrom", Pointer(&ENV_SOURCE))]);
static OPTIONAL_REF: Struct = Struct(&[("Name", "name", Text), ("Optional", "optional", Any)]);
static ENV_FROM: Struct = Struct(&[
    ("Prefix", "prefix", Text),
    ("ConfigMapRef", "configMapRef", Pointer(&OPTIONAL_REF)),
    ("SecretRef", "secretRef", Pointer(&OPTIONAL_REF)),
]);
static PORT: Struct = Struct(&[
    ("Name", "name", Text),
    ("HostPort", "hostPort", Int),
    ("ContainerPort", "containerPort", Int),
    ("Protocol", "protocol", Text),
    ("HostIP", "hostIP", Text),
]);
static CLAIM_USE: Struct = Struct(&[("Name", "name", Text), ("Request", "request", Text)]);
static RESOURCES: Struct = Struct(&[
    ("Limits", "limits", Quantities),
    ("Requests", "requests", Quantities),
    ("Claims", "claims", List(&CLAIM_USE)),
]);
static RESIZE: Struct = Struct(&[("ResourceName", "resourceName", Text), ("RestartPolicy", "restartPolicy", Text)]);
static EXIT_CODES: Struct = Struct(&[("Operator", "operator", Text), ("Values", "values", Any)]);
static RULE: Struct = Struct(&[("Action", "action", Text), ("ExitCodes", "exitCodes", Pointer(&EXIT_CODES))]);
static MOUNT: Struct = Struct(&[
    ("Name", "name", Text),
    ("ReadOnly", "readOnly", Bool),
    ("RecursiveReadOnly", "recursiveReadOnly", Any),
    ("MountPath", "mountPath", Text),
    ("SubPath", "subPath", Text),
    ("MountPropagation", "mountPropagation", Any),
    ("SubPathExpr", "subPathExpr", Text),
]);
static DEVICE: Struct = Struct(&[("Name", "name", Text), ("DevicePath", "devicePath", Text)]);
static EXEC: Struct = Struct(&[("Command", "command", Any)]);
static HEADER: Struct = Struct(&[("Name", "name", Text), ("Value", "value", Text)]);
static HTTP: Struct = Struct(&[
    ("Path", "path", Text),
    ("Port", "port", Any),
    ("Host", "host", Text),
    ("Scheme", "scheme", Text),
    ("HTTPHeaders", "httpHeaders", List(&HEADER)),
]);
static TCP: Struct = Struct(&[("Port", "port", Any), ("Host", "host", Text)]);
static GRPC: Struct = Struct(&[("Port", "port", Int), ("Service", "service", Any)]);
static SLEEP: Struct = Struct(&[("Seconds", "seconds", Int)]);
static PROBE: Struct = Struct(&[
    ("Exec", "exec", Pointer(&EXEC)),
    ("HTTPGet", "httpGet", Pointer(&HTTP)),
    ("TCPSocket", "tcpSocket", Pointer(&TCP)),
    ("GRPC", "grpc", Pointer(&GRPC)),
    ("InitialDelaySeconds", "initialDelaySeconds", Int),
    ("TimeoutSeconds", "timeoutSeconds", Int),
    ("PeriodSeconds", "periodSeconds", Int),
    ("SuccessThreshold", "successThreshold", Int),
    ("FailureThreshold", "failureThreshold", Int),
    ("TerminationGracePeriodSeconds", "terminationGracePeriodSeconds", Any),
]);
static HANDLER: Struct = Struct(&[
    ("Exec", "exec", Pointer(&EXEC)),
    ("HTTPGet", "httpGet", Pointer(&HTTP)),
    ("TCPSocket", "tcpSocket", Pointer(&TCP)),
    ("Sleep", "sleep", Pointer(&SLEEP)),
]);
static LIFECYCLE: Struct = Struct(&[
    ("PostStart", "postStart", Pointer(&HANDLER)),
    ("PreStop", "preStop", Pointer(&HANDLER)),
    ("StopSignal", "stopSignal", Any),
]);
static CONTAINER: Struct = Struct(&[
    ("Name", "name", Text),
    ("Image", "image", Text),
    ("Command", "command", Any),
    ("Args", "args", Any),
    ("WorkingDir", "workingDir", Text),
    ("Ports", "ports", List(&PORT)),
    ("EnvFrom", "envFrom", List(&ENV_FROM)),
    ("Env", "env", List(&ENV)),
    ("Resources", "resources", Inner(&RESOURCES)),
    ("ResizePolicy", "resizePolicy", List(&RESIZE)),
    ("RestartPolicy", "restartPolicy", Any),
    ("RestartPolicyRules", "restartPolicyRules", List(&RULE)),
    ("VolumeMounts", "volumeMounts", List(&MOUNT)),
    ("VolumeDevices", "volumeDevices", List(&DEVICE)),
    ("LivenessProbe", "livenessProbe", Pointer(&PROBE)),
    ("ReadinessProbe", "readinessProbe", Pointer(&PROBE)),
    ("StartupProbe", "startupProbe", Pointer(&PROBE)),
    ("Lifecycle", "lifecycle", Pointer(&LIFECYCLE)),
    ("TerminationMessagePath", "terminationMessagePath", Text),
    ("TerminationMessagePolicy", "terminationMessagePolicy", Text),
    ("ImagePullPolicy", "imagePullPolicy", Text),
    ("SecurityContext", "securityContext", Pointer(&super::security::CONTEXT)),
    ("Stdin", "stdin", Bool),
    ("StdinOnce", "stdinOnce", Bool),
    ("TTY", "tty", Bool),
]);
static SYSCTL: Struct = Struct(&[("Name", "name", Text), ("Value", "value", Text)]);
static CONTEXT: Struct = Struct(&[
    ("HostNetwork", "hostNetwork", Bool),
    ("HostPID", "hostPID", Bool),
    ("HostIPC", "hostIPC", Bool),
    ("ShareProcessNamespace", "shareProcessNamespace", Any),
    ("HostUsers", "hostUsers", Any),
    ("SELinuxOptions", "seLinuxOptions", Pointer(&super::security::SE_LINUX)),
    ("WindowsOptions", "windowsOptions", Pointer(&super::security::WINDOWS)),
    ("RunAsUser", "runAsUser", Any),
    ("RunAsGroup", "runAsGroup", Any),
    ("RunAsNonRoot", "runAsNonRoot", Any),
    ("SupplementalGroups", "supplementalGroups", Any),
    ("SupplementalGroupsPolicy", "supplementalGroupsPolicy", Any),
    ("FSGroup", "fsGroup", Any),
    ("FSGroupChangePolicy", "fsGroupChangePolicy", Any),
    ("Sysctls", "sysctls", List(&SYSCTL)),
    ("SeccompProfile", "seccompProfile", Pointer(&super::security::SECCOMP)),
    ("AppArmorProfile", "appArmorProfile", Pointer(&super::security::APP_ARMOR)),
    ("SELinuxChangePolicy", "seLinuxChangePolicy", Any),
]);
static REQUIREMENT: Struct = Struct(&[("Key", "key", Text), ("Operator", "operator", Text), ("Values", "values", Any)]);
static NODE_TERM: Struct = Struct(&[
    ("MatchExpressions", "matchExpressions", List(&REQUIREMENT)),
    ("MatchFields", "matchFields", List(&REQUIREMENT)),
]);
static NODE_SELECTOR: Struct = Struct(&[("NodeSelectorTerms", "nodeSelectorTerms", List(&NODE_TERM))]);
static PREFERRED_NODE: Struct = Struct(&[("Weight", "weight", Int), ("Preference", "preference", Inner(&NODE_TERM))]);
static NODE_AFFINITY: Struct = Struct(&[
    ("RequiredDuringSchedulingIgnoredDuringExecution", super::affinity::REQUIRED, Pointer(&NODE_SELECTOR)),
    ("PreferredDuringSchedulingIgnoredDuringExecution", super::affinity::PREFERRED, List(&PREFERRED_NODE)),
]);
static POD_TERM: Struct = Struct(&[
    ("LabelSelector", "labelSelector", Pointer(&LABEL_SELECTOR)),
    ("Namespaces", "namespaces", Any),
    ("TopologyKey", "topologyKey", Text),
    ("NamespaceSelector", "namespaceSelector", Pointer(&LABEL_SELECTOR)),
    ("MatchLabelKeys", "matchLabelKeys", Any),
    ("MismatchLabelKeys", "mismatchLabelKeys", Any),
]);
static WEIGHTED: Struct =
    Struct(&[("Weight", "weight", Int), ("PodAffinityTerm", "podAffinityTerm", Inner(&POD_TERM))]);
static POD_AFFINITY: Struct = Struct(&[
    ("RequiredDuringSchedulingIgnoredDuringExecution", super::affinity::REQUIRED, List(&POD_TERM)),
    ("PreferredDuringSchedulingIgnoredDuringExecution", super::affinity::PREFERRED, List(&WEIGHTED)),
]);
static AFFINITY: Struct = Struct(&[
    ("NodeAffinity", "nodeAffinity", Pointer(&NODE_AFFINITY)),
    ("PodAffinity", "podAffinity", Pointer(&POD_AFFINITY)),
    ("PodAntiAffinity", "podAntiAffinity", Pointer(&POD_AFFINITY)),
]);
static TOLERATION: Struct = Struct(&[
    ("Key", "key", Text),
    ("Operator", "operator", Text),
    ("Value", "value", Text),
    ("Effect", "effect", Text),
    ("TolerationSeconds", "tolerationSeconds", Any),
]);
static HOST_ALIAS: Struct = Struct(&[("IP", "ip", Text), ("Hostnames", "hostnames", Any)]);
static DNS_OPTION: Struct = Struct(&[("Name", "name", Text), ("Value", "value", Any)]);
static DNS: Struct = Struct(&[
    ("Nameservers", "nameservers", Any),
    ("Searches", "searches", Any),
    ("Options", "options", List(&DNS_OPTION)),
]);
static READINESS_GATE: Struct = Struct(&[("ConditionType", "conditionType", Text)]);
static SPREAD: Struct = Struct(&[
    ("MaxSkew", "maxSkew", Int),
    ("TopologyKey", "topologyKey", Text),
    ("WhenUnsatisfiable", "whenUnsatisfiable", Text),
    ("LabelSelector", "labelSelector", Pointer(&LABEL_SELECTOR)),
    ("MinDomains", "minDomains", Any),
    ("NodeAffinityPolicy", "nodeAffinityPolicy", Any),
    ("NodeTaintsPolicy", "nodeTaintsPolicy", Any),
    ("MatchLabelKeys", "matchLabelKeys", Any),
]);
static OS: Struct = Struct(&[("Name", "name", Text)]);
static KEY_TO_PATH: Struct = Struct(&[("Key", "key", Text), ("Path", "path", Text), ("Mode", "mode", Any)]);
static DOWNWARD_FILE: Struct = Struct(&[
    ("Path", "path", Text),
    ("FieldRef", "fieldRef", Pointer(&FIELD_REF)),
    ("ResourceFieldRef", "resourceFieldRef", Pointer(&RESOURCE_REF)),
    ("Mode", "mode", Any),
]);
static FILES_OF: Struct =
    Struct(&[("Name", "name", Text), ("Items", "items", List(&KEY_TO_PATH)), ("Optional", "optional", Any)]);
static TOKEN: Struct =
    Struct(&[("Audience", "audience", Text), ("ExpirationSeconds", "expirationSeconds", Int), ("Path", "path", Text)]);
static DOWNWARD_SOURCE: Struct = Struct(&[("Items", "items", List(&DOWNWARD_FILE))]);
static PROJECTION: Struct = Struct(&[
    ("Secret", "secret", Pointer(&FILES_OF)),
    ("DownwardAPI", "downwardAPI", Pointer(&DOWNWARD_SOURCE)),
    ("ConfigMap", "configMap", Pointer(&FILES_OF)),
    ("ServiceAccountToken", "serviceAccountToken", Pointer(&TOKEN)),
    ("ClusterTrustBundle", "clusterTrustBundle", Any),
    ("PodCertificate", "podCertificate", Any),
]);
static PROJECTED: Struct = Struct(&[("Sources", "sources", List(&PROJECTION)), ("DefaultMode", "defaultMode", Any)]);
static HOST_PATH: Struct = Struct(&[("Path", "path", Text), ("Type", "type", Any)]);
static EMPTY_DIR: Struct = Struct(&[("Medium", "medium", Text), ("SizeLimit", "sizeLimit", QuantityPointer)]);
static SECRET: Struct = Struct(&[
    ("SecretName", "secretName", Text),
    ("Items", "items", List(&KEY_TO_PATH)),
    ("DefaultMode", "defaultMode", Any),
    ("Optional", "optional", Any),
]);
static CONFIG_MAP: Struct = Struct(&[
    ("Name", "name", Text),
    ("Items", "items", List(&KEY_TO_PATH)),
    ("DefaultMode", "defaultMode", Any),
    ("Optional", "optional", Any),
]);
static DOWNWARD: Struct = Struct(&[("Items", "items", List(&DOWNWARD_FILE)), ("DefaultMode", "defaultMode", Any)]);
static CLAIM: Struct = Struct(&[("ClaimName", "claimName", Text), ("ReadOnly", "readOnly", Bool)]);
static NFS: Struct = Struct(&[("Server", "server", Text), ("Path", "path", Text), ("ReadOnly", "readOnly", Bool)]);
static CSI: Struct = Struct(&[
    ("Driver", "driver", Text),
    ("ReadOnly", "readOnly", Any),
    ("FSType", "fsType", Any),
    ("VolumeAttributes", "volumeAttributes", Any),
    ("NodePublishSecretRef", "nodePublishSecretRef", Pointer(&LOCAL)),
]);
static IMAGE: Struct = Struct(&[("Reference", "reference", Text), ("PullPolicy", "pullPolicy", Text)]);
static FLEX: Struct = Struct(&[
    ("Driver", "driver", Text),
    ("FSType", "fsType", Text),
    ("SecretRef", "secretRef", Pointer(&SECRET_REF)),
    ("ReadOnly", "readOnly", Bool),
    ("Options", "options", Any),
]);
static VOLUME: Struct = Struct(&[
    ("Name", "name", Text),
    ("HostPath", "hostPath", Pointer(&HOST_PATH)),
    ("EmptyDir", "emptyDir", Pointer(&EMPTY_DIR)),
    ("GCEPersistentDisk", "gcePersistentDisk", Any),
    ("AWSElasticBlockStore", "awsElasticBlockStore", Any),
    ("GitRepo", "gitRepo", Any),
    ("Secret", "secret", Pointer(&SECRET)),
    ("NFS", "nfs", Pointer(&NFS)),
    ("ISCSI", "iscsi", Any),
    ("Glusterfs", "glusterfs", Any),
    ("PersistentVolumeClaim", "persistentVolumeClaim", Pointer(&CLAIM)),
    ("RBD", "rbd", Any),
    ("Quobyte", "quobyte", Any),
    ("FlexVolume", "flexVolume", Pointer(&FLEX)),
    ("Cinder", "cinder", Any),
    ("CephFS", "cephfs", Any),
    ("Flocker", "flocker", Any),
    ("DownwardAPI", "downwardAPI", Pointer(&DOWNWARD)),
    ("FC", "fc", Any),
    ("AzureFile", "azureFile", Any),
    ("ConfigMap", "configMap", Pointer(&CONFIG_MAP)),
    ("VsphereVolume", "vsphereVolume", Any),
    ("AzureDisk", "azureDisk", Any),
    ("PhotonPersistentDisk", "photonPersistentDisk", Any),
    ("Projected", "projected", Pointer(&PROJECTED)),
    ("PortworxVolume", "portworxVolume", Any),
    ("ScaleIO", "scaleIO", Any),
    ("StorageOS", "storageos", Any),
    ("CSI", "csi", Pointer(&CSI)),
    ("Ephemeral", "ephemeral", Any),
    ("Image", "image", Pointer(&IMAGE)),
]);
static SPEC: Struct = Struct(&[
    ("Volumes", "volumes", List(&VOLUME)),
    ("InitContainers", "initContainers", List(&CONTAINER)),
    ("Containers", "containers", List(&CONTAINER)),
    ("EphemeralContainers", "ephemeralContainers", List(&CONTAINER)),
    ("RestartPolicy", "restartPolicy", Text),
    ("TerminationGracePeriodSeconds", "terminationGracePeriodSeconds", Any),
    ("ActiveDeadlineSeconds", "activeDeadlineSeconds", Any),
    ("DNSPolicy", "dnsPolicy", Text),
    ("NodeSelector", "nodeSelector", Any),
    ("ServiceAccountName", "serviceAccountName", Text),
    ("AutomountServiceAccountToken", "automountServiceAccountToken", Any),
    ("NodeName", "nodeName", Text),
    ("SecurityContext", "securityContext", Pointer(&CONTEXT)),
    ("ImagePullSecrets", "imagePullSecrets", List(&LOCAL)),
    ("Hostname", "hostname", Text),
    ("Subdomain", "subdomain", Text),
    ("SetHostnameAsFQDN", "setHostnameAsFQDN", Any),
    ("Affinity", "affinity", Pointer(&AFFINITY)),
    ("SchedulerName", "schedulerName", Text),
    ("Tolerations", "tolerations", List(&TOLERATION)),
    ("HostAliases", "hostAliases", List(&HOST_ALIAS)),
    ("PriorityClassName", "priorityClassName", Text),
    ("Priority", "priority", Any),
    ("PreemptionPolicy", "preemptionPolicy", Any),
    ("DNSConfig", "dnsConfig", Pointer(&DNS)),
    ("ReadinessGates", "readinessGates", List(&READINESS_GATE)),
    ("RuntimeClassName", "runtimeClassName", Any),
    ("Overhead", "overhead", Quantities),
    ("EnableServiceLinks", "enableServiceLinks", Any),
    ("TopologySpreadConstraints", "topologySpreadConstraints", List(&SPREAD)),
    ("OS", "os", Pointer(&OS)),
    ("SchedulingGates", "schedulingGates", List(&LOCAL)),
    ("ResourceClaims", "resourceClaims", List(&super::spec::RESOURCE_CLAIM)),
    ("Resources", "resources", Pointer(&RESOURCES)),
    ("HostnameOverride", "hostnameOverride", Any),
    ("SchedulingGroup", "schedulingGroup", Any),
]);
