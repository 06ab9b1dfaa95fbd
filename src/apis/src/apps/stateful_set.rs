//! StatefulSets.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorKind, ErrorList, FieldError, Path};
use serde_json::{Value, json};

use super::workload;
use crate::{
    checks,
    core::{claim_spec, pod, pod_template},
    golang::{Shape, Struct},
    json::{default, default_text, each, field, has, int, list, object_at, set, some, take, text, with},
    kind::Kind,
    metadata,
};

static ROLLING: Struct =
    Struct(&[("Partition", "partition", Shape::Int), ("MaxUnavailable", "maxUnavailable", Shape::Any)]);
static STRATEGY: Struct =
    Struct(&[("Type", "type", Shape::Text), ("RollingUpdate", "rollingUpdate", Shape::Pointer(&ROLLING))]);

/// Fields of the spec that may change.
const MUTABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(crate) struct StatefulSet;

impl Kind for StatefulSet {
    fn has_generation(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn first_status(&self, _object: &Value) -> Value {
        json!({"replicas": 0, "availableReplicas": 0})
    }

    fn defaults(&self, _version: &str, object: &mut Value) {
        default(object, "spec", json!({}));
        with(object, "spec", |spec| {
            default(spec, "replicas", 1);
            default_text(spec, "podManagementPolicy", "OrderedReady");
            workload::rolling_defaults(spec, "updateStrategy", &[("partition", json!(0))]);
            if let Some(policy) = object_at(spec, "persistentVolumeClaimRetentionPolicy") {
                default_text(policy, "whenDeleted", "Retain");
                default_text(policy, "whenScaled", "Retain");
            }
            default(spec, "revisionHistoryLimit", 10);
            default(spec, "serviceName", "");
            pod_template::workload_defaults(spec);
            each(spec, "volumeClaimTemplates", |claim| {
                set(claim, "apiVersion", "v1");
                set(claim, "kind", "PersistentVolumeClaim");
                default(claim, "metadata", json!({}));
                default(claim, "spec", json!({}));
                with(claim, "spec", pod::defaults::claim_defaults);
                default(claim, "status", json!({}));
                with(claim, "status", |status| default_text(status, "phase", "Pending"));
            });
        });
    }

    fn prepare_for_create(&self, object: &mut Value) {
        with(object, "spec", |spec| {
            pod_template::drop_disabled(spec, None);
            drop_max_unavailable(spec, None);
        });
    }

    fn prepare_for_update(&self, _subresource: Option<&str>, new: &mut Value, old: &Value) {
        let old = field(old, "spec");
        with(new, "spec", |spec| {
            pod_template::drop_disabled(spec, Some(old));
            drop_max_unavailable(spec, Some(old));
        });
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        let spec = field(object, "spec");
        check(errors, spec, true);
        let service = text(spec, "serviceName");
        if !service.is_empty() {
            checks::dns_label(errors, &Path::new("spec").child("serviceName"), service);
        }
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if workload::is_status(subresource) {
            check_status(errors, field(new, "status"), field(old, "status"));
            return;
        }
        let (spec, old) = (field(new, "spec"), field(old, "spec"));
        check(errors, spec, false);
        let names = [spec, old].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys());
        let mut names = names.filter(|name| !MUTABLE.contains(&name.as_str()));
        if names.any(|name| field(spec, name) != field(old, name)) {
            let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                       'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errors.push(FieldError::forbidden(&Path::new("spec"), why));
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
        workload::warn(object, old, warnings);
        let spec = field(object, "spec");
        for (index, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
            let path = Path::new("spec").child("volumeClaimTemplates").index(index);
            pod::claim_warnings(&path, field(claim, "spec"), warnings);
        }
        if int(spec, "revisionHistoryLimit").is_some_and(|limit| limit < 0) {
            let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
            warnings.push(format!("spec.revisionHistoryLimit: {why}"));
        }
    }
}

/// More than one pod at a time is not updated yet.
fn drop_max_unavailable(spec: &mut Value, old: Option<&Value>) {
    let kept = old.is_some_and(|old| has(field(field(old, "updateStrategy"), "rollingUpdate"), "maxUnavailable"));
    if !kept {
        with(spec, "updateStrategy", |strategy| {
            with(strategy, "rollingUpdate", |rolling| take(rolling, "maxUnavailable"));
        });
    }
}

/// Checks a spec; its claims cannot change, so that they are only checked when they are new.
fn check(errors: &mut ErrorList, spec: &Value, is_new: bool) {
    let path = Path::new("spec");
    let policy_path = path.child("podManagementPolicy");
    match text(spec, "podManagementPolicy") {
        "OrderedReady" | "Parallel" => {}
        "" => errors.push(FieldError::required(&policy_path, "")),
        other => errors.push(FieldError::invalid(&policy_path, other, "must be 'OrderedReady' or 'Parallel'")),
    }
    check_strategy(errors, &path.child("updateStrategy"), field(spec, "updateStrategy"));
    let retention = path.child("persistentVolumeClaimRetentionPolicy");
    for name in ["whenDeleted", "whenScaled"] {
        let value = text(field(spec, "persistentVolumeClaimRetentionPolicy"), name);
        checks::one_of(errors, &retention.child(name), value, &["Retain", "Delete"]);
    }
    workload::check_counts(errors, &path, spec, &["replicas", "minReadySeconds"]);
    if let Some(ordinals) = some(spec, "ordinals") {
        workload::check_counts(errors, &path.child("ordinals"), ordinals, &["start"]);
    }
    let claims = list(spec, "volumeClaimTemplates");
    for (index, claim) in claims.iter().enumerate().filter(|_| is_new) {
        let path = path.child("volumeClaimTemplates").index(index).child("spec");
        claim_spec::check(errors, &path, field(claim, "spec"));
    }
    let empty = "empty selector is invalid for statefulset";
    let Some(selector) = workload::check_selector(errors, &path, spec, empty, "") else { return };
    let (template_path, template) = (path.child("template"), field(spec, "template"));
    workload::check_match(errors, &template_path, template, &selector);
    // Said here and again of any template.
    let meta = field(template, "metadata");
    metadata::labels(field(meta, "labels"), &template_path.child("labels"), errors);
    metadata::annotations(field(meta, "annotations"), &template_path.child("annotations"), errors);
    if claims.is_empty() {
        pod_template::check(errors, &template_path, template);
    } else {
        pod_template::check(errors, &template_path, &with_claims(template, claims));
    }
    pod_template::check_endless(errors, &template_path, template, "StatefulSet");
}

/// The template as its pods will be: with a volume for each name of a claim.
fn with_claims(template: &Value, claims: &[Value]) -> Value {
    let names: BTreeSet<_> = claims.iter().map(|claim| text(field(claim, "metadata"), "name")).collect();
    let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    let mut volumes: Vec<_> = names.iter().map(volume).collect();
    let own = list(field(template, "spec"), "volumes").iter();
    volumes.extend(own.filter(|volume| !names.contains(text(volume, "name"))).cloned());
    let mut template = template.clone();
    with(&mut template, "spec", |spec| set(spec, "volumes", volumes));
    template
}

fn check_strategy(errors: &mut ErrorList, path: &Path, strategy: &Value) {
    let rolling = some(strategy, "rollingUpdate");
    match (text(strategy, "type"), rolling) {
        ("", _) => errors.push(FieldError::required(path, "")),
        ("OnDelete", Some(rolling)) => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            let path = path.child("rollingUpdate");
            errors.push(checks::shown(ErrorKind::Invalid, &path, &ROLLING.show(rolling), why));
        }
        ("RollingUpdate", Some(rolling)) => {
            let path = path.child("rollingUpdate");
            checks::non_negative(errors, &path.child("partition"), int(rolling, "partition"));
            if has(rolling, "maxUnavailable") {
                workload::check_int_or_percent(errors, &path, rolling, "maxUnavailable");
                workload::check_at_most_all(errors, &path, rolling, "maxUnavailable");
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(checks::shown(ErrorKind::Invalid, path, &STRATEGY.show(strategy), why));
        }
    }
}

fn check_status(errors: &mut ErrorList, status: &Value, old: &Value) {
    let counts = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    workload::check_counts(errors, &Path::new("status"), status, &counts);
    workload::check_replica_counts(errors, status, &counts[1..5], "status.readyReplicas");
    workload::check_collisions(errors, status, old);
}
