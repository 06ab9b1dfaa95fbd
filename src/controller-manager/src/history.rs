//! ControllerRevisions: the templates that a StatefulSet or DaemonSet has had. Pure.

use std::sync::Arc;

use apimachinery::gotext;
use k8s_openapi::api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec};
use serde_json::{Value, json};

use crate::hash;

/// The field that makes the data a patch that replaces the whole template.
const PATCH: &str = "$patch";

/// What a revision keeps of a template: a strategic merge patch of the owner.
pub fn data_of(template: &PodTemplateSpec) -> Value {
    // By way of text, the one form in which everything is decoded and encoded: another form compiles every type again.
    let text = serde_json::to_vec(template).unwrap_or_default();
    let mut template: Value = serde_json::from_slice(&text).unwrap_or_default();
    if let Some(fields) = template.as_object_mut() {
        fields.insert(PATCH.to_owned(), json!("replace"));
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision keeps, if it can be read.
pub fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = data(revision)?.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove(PATCH);
    serde_json::from_str(&template.to_string()).ok()
}

fn data(revision: &ControllerRevision) -> Option<&Value> {
    revision.data.as_ref().map(|data| &data.0)
}

/// Whether a revision keeps that data. Fields that a newer server fills in make no difference: the templates are compared as they
/// are read.
pub fn keeps(revision: &ControllerRevision, template: &PodTemplateSpec) -> bool {
    template_of(revision).as_ref() == Some(template)
}

/// The hash of a revision's data, as its name has it.
pub fn hash_of(data: &Value, collision_count: i32) -> String {
    hash::of_text(&format!("{}{collision_count}", gotext::json(data)))
}

/// The older first.
pub fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by(|one, other| key(one).cmp(&key(other)));
}

fn key(revision: &ControllerRevision) -> (i64, Option<jiff::Timestamp>, Option<&String>) {
    let created = revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (revision.revision, created, revision.metadata.name.as_ref())
}

/// The number after the last.
pub fn next(sorted: &[Arc<ControllerRevision>]) -> i64 {
    sorted.last().map_or(1, |last| last.revision + 1)
}

/// The name of a revision.
pub fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

/// The oldest of `sorted` beyond `limit` that are not among the `live` names.
pub fn surplus(sorted: &[Arc<ControllerRevision>], live: &[&str], limit: i32) -> Vec<Arc<ControllerRevision>> {
    let dead: Vec<_> = sorted.iter().filter(|revision| !live.contains(&name(revision))).cloned().collect();
    let keep = usize::try_from(limit).unwrap_or_default();
    let surplus = dead.len().saturating_sub(keep);
    dead.into_iter().take(surplus).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        from_value(json!({
            "metadata": {"labels": {"app": "w"}},
            "spec": {
                "containers": [{
                    "image": image, "imagePullPolicy": "IfNotPresent", "name": "c", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 0,
            },
        }))
        .expect("a template")
    }

    #[test]
    fn names_are_those_that_kubernetes_gives() {
        let hashes = ["v1", "v2"].map(|tag| hash_of(&data_of(&template(&format!("example.test/app:{tag}"))), 0));
        assert_eq!(hashes, ["8d5b888d9", "bdcd686fd"]);
    }

    #[test]
    fn a_template_comes_back_and_the_oldest_dead_revisions_are_surplus() {
        let revision = |number: i64| -> Arc<ControllerRevision> {
            let data = data_of(&template(&number.to_string()));
            let revision = json!({"metadata": {"name": format!("r{number}")}, "revision": number, "data": data});
            Arc::new(from_value(revision).expect("a ControllerRevision"))
        };
        let mut revisions: Vec<_> = [3, 1, 4, 2].map(revision).to_vec();
        sort(&mut revisions);
        assert!(keeps(&revisions[0], &template("1")) && !keeps(&revisions[0], &template("2")));
        assert_eq!(next(&revisions), 5);
        let names = |limit| {
            surplus(&revisions, &["r4", "r1"], limit).iter().map(|one| name(one).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(0), ["r2", "r3"]);
        assert_eq!(names(1), ["r2"]);
        assert!(names(5).is_empty());
    }
}
