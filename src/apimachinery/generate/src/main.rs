//! Writes `data/schemas.tsv` and `data/docs.json.gz` of crate `apimachinery`.
//!
//! ```text
//! cargo run --manifest-path src/apimachinery/generate/Cargo.toml
//! ```
//!
//! Which types and fields there are, which fields are required, and what they are for, comes from `k8s-openapi`. How a field is
//! declared in Go (its type's name in error messages, whether an empty value is left out) and how lists and maps merge does
//! not stand there, and is taken from the tables in `facts/`. Where the two disagree about which fields exist, this fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use k8s_openapi as k8s;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

/// Kinds and the definitions behind them.
type Kinds = BTreeMap<String, Vec<String>>;

macro_rules! kinds {
    ($generator:ident, $kinds:ident, $($module:path => [$($kind:ident),* $(,)?]),* $(,)?) => {$({
        use $module as module;
        $(
            $generator.subschema_for::<module::$kind>();
            let kind = format!("{}/{}/{}", <module::$kind as k8s::Resource>::GROUP, <module::$kind as k8s::Resource>::VERSION,
                <module::$kind as k8s::Resource>::KIND);
            let name = <module::$kind as schemars::JsonSchema>::schema_name().into_owned();
            $kinds.entry(name).or_default().push(kind);
        )*
    })*};
}

fn kinds(generator: &mut SchemaGenerator) -> Kinds {
    let mut kinds = Kinds::new();
    kinds! { generator, kinds,
        k8s::api::admissionregistration::v1 => [
            MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration, ValidatingAdmissionPolicy,
            ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
        ],
        k8s::api::apps::v1 => [ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet],
        k8s::api::authentication::v1 => [SelfSubjectReview, TokenRequest, TokenReview],
        k8s::api::authorization::v1 => [
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
        ],
        k8s::api::autoscaling::v1 => [HorizontalPodAutoscaler, Scale],
        k8s::api::autoscaling::v2 => [HorizontalPodAutoscaler],
        k8s::api::batch::v1 => [CronJob, Job],
        k8s::api::certificates::v1 => [CertificateSigningRequest],
        k8s::api::coordination::v1 => [Lease],
        k8s::api::core::v1 => [
            Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume,
            PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
        ],
        k8s::api::discovery::v1 => [EndpointSlice],
        k8s::api::events::v1 => [Event],
        k8s::api::flowcontrol::v1 => [FlowSchema, PriorityLevelConfiguration],
        k8s::api::networking::v1 => [IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR],
        k8s::api::node::v1 => [RuntimeClass],
        k8s::api::policy::v1 => [Eviction, PodDisruptionBudget],
        k8s::api::rbac::v1 => [ClusterRole, ClusterRoleBinding, Role, RoleBinding],
        k8s::api::resource::v1 => [DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice],
        k8s::api::scheduling::v1 => [PriorityClass],
        k8s::api::storage::v1 => [
            CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
        ],
        k8s::apiextensions_apiserver::pkg::apis::apiextensions::v1 => [CustomResourceDefinition],
        k8s::kube_aggregator::pkg::apis::apiregistration::v1 => [APIService],
    }
    generator.subschema_for::<k8s::apimachinery::pkg::apis::meta::v1::DeleteOptions>();
    generator.subschema_for::<k8s::apimachinery::pkg::apis::meta::v1::ListMeta>();
    generator.subschema_for::<k8s::apimachinery::pkg::apis::meta::v1::Status>();
    kinds
}

/// One field as Go declares it.
struct GoField {
    name: String,
    type_text: String,
    flags: String,
    via: String,
    default: String,
}

/// How a field merges.
#[derive(Default)]
struct Merge {
    list: String,
    patch: String,
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| line.split('\t').collect())
}

fn go_fields(text: &str) -> BTreeMap<String, Vec<GoField>> {
    let mut types = BTreeMap::<String, Vec<GoField>>::new();
    for row in rows(text) {
        let [schema, name, type_text, flags, via, default] = row[..] else {
            panic!("go-types.tsv: {row:?} has not six columns")
        };
        let field = GoField {
            name: name.into(),
            type_text: type_text.into(),
            flags: flags.into(),
            via: via.into(),
            default: default.into(),
        };
        types.entry(schema.into()).or_default().push(field);
    }
    types
}

fn merges(text: &str) -> BTreeMap<(String, String), Merge> {
    let mut merges = BTreeMap::new();
    for row in rows(text) {
        let cell = |at: usize| row.get(at).copied().unwrap_or_default();
        let list = if cell(3).is_empty() { cell(2).to_owned() } else { format!("{}:{}", cell(2), cell(3)) };
        let patch = if cell(5).is_empty() { cell(4).to_owned() } else { format!("{}:{}", cell(4), cell(5)) };
        merges.insert((cell(0).to_owned(), cell(1).to_owned()), Merge { list, patch });
    }
    merges
}

/// Definitions that are values to Go's decoder, with unmarshalling of their own.
const VALUES: &[&str] = &[
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
];

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| {
        fs::read_to_string(root.join("facts").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let go = go_fields(&read("go-types.tsv"));
    let merges = merges(&read("merge-keys.tsv"));
    let mut generator = SchemaSettings::draft07().into_generator();
    let kinds = kinds(&mut generator);

    let mut schemas = String::from(
        "# Written by `generate`; not to be edited. A type begins at the margin: name, kinds, map type. Its fields follow:\n\
         # name, Go type, flags (p pointer, o omitempty, z omitzero, r required), embedded in, list type, patch strategy, default.\n",
    );
    let mut docs = Map::new();
    let mut problems = Vec::new();
    for (name, schema) in generator.definitions() {
        let mut doc = Map::from_iter([(String::new(), Value::from(text(schema, "description")))]);
        if VALUES.contains(&name.as_str()) {
            docs.insert(name.clone(), doc.into());
            continue;
        }
        let Some(fields) = go.get(name) else {
            let is_empty = schema.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty);
            if is_empty {
                schemas.push_str(&format!("{name}\t\t\n"));
            } else {
                problems.push(format!("{name}: no facts"));
            }
            docs.insert(name.clone(), doc.into());
            continue;
        };
        let own = merges.get(&(name.clone(), String::new()));
        let map_type = own.map(|merge| merge.list.trim_start_matches("map:")).unwrap_or_default();
        schemas.push_str(&format!(
            "{name}\t{}\t{map_type}\n",
            kinds.get(name).map(|kinds| kinds.join(",")).unwrap_or_default()
        ));
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required: BTreeSet<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for field in fields {
            let Some(property) = properties.get(&field.name) else {
                problems.push(format!("{name}: {} stands only in the facts", field.name));
                continue;
            };
            let no_merge = Merge::default();
            let merge = merges.get(&(name.clone(), field.name.clone())).unwrap_or(&no_merge);
            let mut flags = field.flags.clone();
            if required.contains(field.name.as_str()) {
                flags.push('r');
            }
            schemas.push_str(&format!(
                "\t{}\t{}\t{flags}\t{}\t{}\t{}\t{}\n",
                field.name, field.type_text, field.via, merge.list, merge.patch, field.default
            ));
            doc.insert(field.name.clone(), text(property, "description").into());
        }
        for field in properties.keys() {
            if !fields.iter().any(|known| known.name == *field) {
                problems.push(format!("{name}: {field} has no facts"));
            }
        }
        docs.insert(name.clone(), doc.into());
    }
    assert!(problems.is_empty(), "k8s-openapi and the facts disagree:\n{}", problems.join("\n"));

    let data = root.parent().expect("the generator lies in the crate's folder").join("data");
    fs::write(data.join("schemas.tsv"), schemas).expect("the data folder can be written");
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(Value::Object(docs).to_string().as_bytes()).expect("a vector takes what is written");
    fs::write(data.join("docs.json.gz"), out.finish().expect("a vector takes what is written"))
        .expect("the data folder can be written");
}
