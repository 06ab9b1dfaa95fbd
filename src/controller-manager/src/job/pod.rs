//! What a Job asks of its pods, and the pods it makes. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStatus, EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};

use super::policy;
use crate::{framework::controller_ref, pods};

/// Keeps a pod until it is counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// The label and annotation that has the pod's index.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The annotation that counts how often the index has failed.
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The annotation that counts those failures that do not count.
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The variable by which a container learns its index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// Whether the Job's pods have indexes.
pub fn is_indexed(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref()) == Some("Indexed")
}

/// How many indexes there are; no bound when they are not counted.
pub fn completions(job: &Job) -> i32 {
    job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or(i32::MAX)
}

/// How often an index may fail, if that is counted for each.
pub fn limit_per_index(job: &Job) -> Option<i32> {
    job.spec.as_ref().and_then(|spec| spec.backoff_limit_per_index)
}

/// Whether a pod that is going is only replaced when it has ended.
pub fn waits_for_end(job: &Job) -> bool {
    let Some(spec) = &job.spec else { return false };
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

/// Whether it is not counted yet.
pub fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Its uid.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Its index, if it has one that the Job has too.
pub fn index(job: &Job, pod: &Pod) -> Option<i32> {
    let index = annotation(pod, INDEX)?.parse().ok()?;
    (0..completions(job)).contains(&index).then_some(index)
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Whether it has an index that counts, or needs none.
pub fn counts(job: &Job, pod: &Pod) -> bool {
    !is_indexed(job) || index(job, pod).is_some()
}

/// Whether it has succeeded.
pub fn has_succeeded(pod: &Pod) -> bool {
    pods::phase(pod) == "Succeeded"
}

/// Whether it has failed, or will never have the chance to.
pub fn has_failed(job: &Job, pod: &Pod) -> bool {
    match pods::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => pods::is_deleting(pod) && !waits_for_end(job),
    }
}

/// How often the index failed before this pod, and how often without counting.
pub fn failures(pod: &Pod) -> (i32, i32) {
    let count = |name| annotation(pod, name).and_then(|count| count.parse().ok()).unwrap_or_default();
    (count(FAILURES), count(IGNORED_FAILURES))
}

/// All that an index has failed up to and with this pod.
pub fn failures_with(pod: &Pod) -> i32 {
    let (counted, ignored) = failures(pod);
    counted.saturating_add(ignored).saturating_add(1)
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten())
}

/// When it ended: its last container did, else when it was no longer ready, was deleted, or was made.
pub fn finished_at(pod: &Pod) -> Option<Timestamp> {
    let ends = statuses(pod).map(|status| {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.and_then(|ended| ended.finished_at.as_ref()).map(|time| time.0)
    });
    let by_containers = ends.collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().max());
    let unready = || {
        let ready = pods::condition(pod, "Ready").filter(|condition| condition.status == "False");
        ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0)
    };
    let deleted = || {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        let deleted = pod.metadata.deletion_timestamp.as_ref()?.0;
        deleted.checked_sub(SignedDuration::from_secs(grace)).ok()
    };
    let made = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    by_containers.or_else(unready).or_else(deleted).or_else(made)
}

/// The restarts of its containers, those that initialize among them.
pub fn restarts(pod: &Pod) -> i32 {
    let initial = pod.status.iter().flat_map(|status| status.init_container_statuses.iter().flatten());
    statuses(pod).chain(initial).map(|status| status.restart_count).fold(0, i32::saturating_add)
}

/// A pod of the Job, for an index if it has them; `replaced` is the one that failed before.
pub fn make(job: &Job, index: Option<i32>, replaced: Option<&Pod>) -> Pod {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut pod = pods::from_template(&template, name, controller_ref(job));
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    let Some(index) = index else { return pod };
    pod.metadata.generate_name = Some(format!("{}-{index}-", shortened(name, index)));
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), index.to_string());
    if limit_per_index(job).is_some() {
        let (counted, ignored) = failures_after(job, replaced);
        annotations.insert(FAILURES.to_owned(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_FAILURES.to_owned(), ignored.to_string());
        }
    }
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(format!("{name}-{index}"));
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let environment = container.env.get_or_insert_default();
        if !environment.iter().any(|variable| variable.name == INDEX_VARIABLE) {
            environment.push(index_variable());
        }
    }
    pod
}

/// What there is room for beside an index and a random suffix.
fn shortened(name: &str, index: i32) -> &str {
    /// Kubernetes cuts the fixed part of a generated name there.
    const GENERATED_MAX: usize = 58;
    let room = GENERATED_MAX.saturating_sub(index.to_string().len() + 2);
    name.get(..room).unwrap_or(name)
}

fn failures_after(job: &Job, replaced: Option<&Pod>) -> (i32, i32) {
    let Some(replaced) = replaced else { return (0, 0) };
    let (counted, ignored) = failures(replaced);
    if policy::counts(job, replaced) { (counted + 1, ignored) } else { (counted, ignored + 1) }
}

fn index_variable() -> EnvVar {
    let field = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: INDEX_VARIABLE.to_owned(), value: None, value_from: Some(source) }
}
