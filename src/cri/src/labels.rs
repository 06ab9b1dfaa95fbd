//! The labels and annotations by which a kubelet marks sandboxes and containers.
//!
//! They are Kubernetes' own keys, so that tools such as crictl show pods by name. A restarted kubelet rebuilds what it
//! knows from them, and a runtime learns from them what CRI has no field for.

/// Label: the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: the pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: the container's name in the pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: the hash of the container's specification.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container was restarted, counting this one.
pub const CONTAINER_RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: where in the container the termination message is.
pub const CONTAINER_TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const CONTAINER_TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the container's ports, as the JSON of `containers[].ports`. The only place where a runtime reads them.
pub const CONTAINER_PORTS: &str = "io.kubernetes.container.ports";
/// Annotation: the container's preStop hook, as JSON.
pub const CONTAINER_PRE_STOP_HANDLER: &str = "io.kubernetes.container.preStopHandler";
/// Annotation: the pod's deletion grace period.
pub const POD_DELETION_GRACE_PERIOD: &str = "io.kubernetes.pod.deletionGracePeriod";
/// Annotation: the pod's termination grace period.
pub const POD_TERMINATION_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation of a pod: when this kubelet first saw it.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
/// Annotation of a pod: where it came from; `api` for the API server.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// Annotation of an image that is "pulled": take it from this file of the node (a `.wasm` file or an OCI archive) and
/// call it by the image's name. Coracle's own extension, behind `coracle image import`.
pub const IMPORT_FILE: &str = "coracle.dev/import-file";
/// Annotation of a pod: how many requests one instance of its HTTP components may serve, one after the other. Coracle's
/// own extension; without it each request has an instance of its own.
pub const REQUESTS_PER_INSTANCE: &str = "coracle.dev/requests-per-instance";
