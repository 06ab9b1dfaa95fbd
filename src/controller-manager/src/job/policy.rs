//! What a Job's policies make of failed pods and succeeded indexes. Pure.

use k8s_openapi::api::{
    batch::v1::{Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicyRule},
    core::v1::{ContainerStatus, Pod, PodCondition},
};

use super::{indexes::Indexes, pod};

/// What the first rule that matches a failed pod says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The Job has failed, for that reason.
    FailJob(String),
    /// The pod's index has failed.
    FailIndex,
    /// The failure does not count.
    Ignore,
    /// It counts: a rule says so, or none matches.
    Count,
}

/// Judges a failed pod.
pub fn judge(job: &Job, failed: &Pod) -> Verdict {
    let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    for (at, rule) in policy.into_iter().flat_map(|policy| policy.rules.iter().enumerate()) {
        let Some(found) = matches(rule, failed) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{found} matching FailJob rule at index {at}")),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// Whether a failed pod counts.
pub fn counts(job: &Job, failed: &Pod) -> bool {
    judge(job, failed) != Verdict::Ignore
}

/// Whether a failed pod means that its index has failed for good.
pub fn fails_index(job: &Job, failed: &Pod) -> bool {
    let Some(limit) = pod::limit_per_index(job) else { return false };
    match judge(job, failed) {
        Verdict::FailIndex => true,
        Verdict::Ignore => false,
        _ => pod::failures(failed).0 >= limit,
    }
}

/// What of a pod a rule matches, in words.
fn matches(rule: &PodFailurePolicyRule, failed: &Pod) -> Option<String> {
    let (namespace, name) = (failed.metadata.namespace.as_deref(), failed.metadata.name.as_deref());
    let subject = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
    let status = failed.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let of = |statuses: &Option<Vec<ContainerStatus>>| {
            statuses.iter().flatten().find_map(|status| Some((status.name.clone(), exit_code(status, codes)?)))
        };
        let (container, code) = of(&status.container_statuses).or_else(|| of(&status.init_container_statuses))?;
        return Some(format!("Container {container} for pod {subject} failed with exit code {code}"));
    }
    let patterns = rule.on_pod_conditions.iter().flatten();
    let found = |condition: &&PodCondition| {
        patterns.clone().any(|pattern| {
            pattern.type_ == condition.type_ && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    };
    let condition = status.conditions.iter().flatten().find(found)?;
    Some(format!("Pod {subject} has condition {}", condition.type_))
}

fn exit_code(status: &ContainerStatus, wanted: &PodFailurePolicyOnExitCodesRequirement) -> Option<i32> {
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = wanted.container_name.as_ref().is_none_or(|name| *name == status.name);
    let listed = wanted.values.contains(&code);
    let matching = match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    (code != 0 && named && matching).then_some(code)
}

/// Which rule of the success policy is met, in words.
pub fn success(job: &Job, succeeded: &Indexes) -> Option<String> {
    let policy = job.spec.as_ref()?.success_policy.as_ref()?;
    if succeeded.total() == 0 {
        return None;
    }
    let met = |rule: &SuccessPolicyRule| match &rule.succeeded_indexes {
        Some(required) => {
            let required = Indexes::parse(required, pod::completions(job));
            succeeded.in_common(&required) >= rule.succeeded_count.unwrap_or(required.total())
        }
        None => rule.succeeded_count.is_some_and(|count| succeeded.total() >= count),
    };
    let at = policy.rules.iter().position(met)?;
    Some(format!("Matched rules at index {at}"))
}
