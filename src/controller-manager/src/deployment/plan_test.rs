use proptest::prelude::*;
use serde_json::{Value, from_value, json};

use super::*;

fn now() -> Time {
    Time("2024-01-01T00:00:00Z".parse().expect("a time"))
}

fn later(seconds: i64) -> Time {
    Time(now().0 + SignedDuration::from_secs(seconds))
}

fn deployment(overrides: Value) -> Deployment {
    let mut deployment = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "replicas": 4, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "w"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        },
    });
    json_patch::merge(&mut deployment, &overrides);
    from_value(deployment).expect("a Deployment")
}

fn image(name: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}})
}

/// A cluster of one Deployment, whose ReplicaSet controller and kubelet are played.
struct Cluster {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    log: Vec<String>,
    now: Time,
    written: usize,
}

impl Cluster {
    fn new(deployment: Deployment) -> Self {
        Self { deployment, sets: Vec::new(), log: Vec::new(), now: now(), written: 0 }
    }

    /// One round of the Deployment's controller; whether it changed anything.
    fn round(&mut self) -> bool {
        let sets = self.sets.iter().cloned().map(Arc::new).collect();
        let running = self.sets.iter().filter(|set| set.status.as_ref().is_some_and(|status| status.replicas > 0));
        let running = running.filter_map(|set| set.metadata.uid.clone()).collect();
        let Plan { steps, mut status, revision, .. } =
            plan(Observed { deployment: &self.deployment, sets, running, now: self.now.clone() });
        let mut changed = !steps.is_empty();
        for step in steps {
            self.take(step);
        }
        status::stamp(&mut status, &self.now);
        changed |= self.deployment.status.as_ref() != Some(&status);
        self.deployment.status = Some(status);
        if let Some(revision) = revision {
            let annotations = self.deployment.metadata.annotations.get_or_insert_default();
            changed |= annotations.insert(REVISION.to_owned(), revision.clone()) != Some(revision);
        }
        changed
    }

    fn take(&mut self, step: Step) {
        self.written += 1;
        match step {
            Step::Create(mut set) => {
                let name = set.metadata.name.clone().expect("sets are made with a name");
                assert!(self.sets.iter().all(|set| set.metadata.name.as_ref() != Some(&name)), "{name} is there");
                set.metadata.uid = Some(name);
                set.metadata.generation = Some(1);
                let age = i64::try_from(self.sets.len()).expect("few");
                set.metadata.creation_timestamp = Some(later(age));
                self.log.push(format!("create {}", replicas(&set)));
                self.sets.push(*set);
            }
            Step::Update { set, scaled } => {
                let there = self.sets.iter_mut().find(|there| there.metadata.name == set.metadata.name);
                let there = there.expect("only what is there is updated");
                there.metadata.annotations.clone_from(&set.metadata.annotations);
                there.spec.clone_from(&set.spec);
                let revision = sets::revision(&set);
                self.log.extend(scaled.map(|(from, to)| format!("{revision}: {from}→{to}")));
            }
            Step::Delete(set) => {
                self.log.push(format!("forget {}", sets::revision(&set)));
                self.sets.retain(|there| there.metadata.name != set.metadata.name);
            }
        }
    }

    /// The ReplicaSet controller and kubelet: each set has its pods, of which `ready` says how many may be ready.
    fn pods_follow(&mut self, ready: impl Fn(&ReplicaSet) -> i32) {
        for set in &mut self.sets {
            let (count, ready) = (replicas(set), ready(set).min(replicas(set)));
            let some = |count: i32| Some(count).filter(|count| *count != 0);
            set.status = Some(ReplicaSetStatus {
                replicas: count,
                ready_replicas: some(ready),
                available_replicas: some(ready),
                terminating_replicas: Some(0),
                observed_generation: set.metadata.generation,
                ..Default::default()
            });
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let changed = self.round();
            self.pods_follow(replicas);
            if !changed && !self.round() {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.log);
    }

    fn change(&mut self, overrides: Value) {
        let mut deployment = serde_json::to_value(&self.deployment).expect("encodes");
        json_patch::merge(&mut deployment, &overrides);
        self.deployment = from_value(deployment).expect("a Deployment");
        self.deployment.metadata.generation = self.deployment.metadata.generation.map(|generation| generation + 1);
        self.log.clear();
    }

    fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.deployment.status.as_ref().expect("told");
        let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == type_).expect(type_);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        (condition.status.clone(), text(&condition.reason), text(&condition.message))
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(replicas).collect()
    }
}

use k8s_openapi::api::apps::v1::ReplicaSetStatus;

#[test]
fn a_new_deployment_makes_one_set_and_says_so_until_it_is_complete() {
    let mut cluster = Cluster::new(deployment(json!({"metadata": {"annotations": {"team": "a"}}})));
    cluster.round();
    assert_eq!(cluster.log, ["create 4"]);
    let set = &cluster.sets[0];
    let hash =
        set.spec.as_ref().expect("a spec").selector.match_labels.as_ref().expect("labels")[TEMPLATE_HASH].clone();
    assert_eq!(set.metadata.name, Some(format!("web-{hash}")));
    let annotations = json!({"team": "a", REVISION: "1", DESIRED_REPLICAS: "4", MAX_REPLICAS: "5"});
    assert_eq!(serde_json::to_value(&set.metadata.annotations).expect("encodes"), annotations);
    assert_eq!(cluster.condition("Progressing").1, "NewReplicaSetCreated");
    assert_eq!(cluster.condition("Available").1, "MinimumReplicasUnavailable");
    let name = set.metadata.name.clone().expect("a name");
    cluster.pods_follow(|_| 2);
    cluster.round();
    let progressing =
        ("True".to_owned(), "ReplicaSetUpdated".to_owned(), format!("ReplicaSet \"{name}\" is progressing."));
    assert_eq!(cluster.condition("Progressing"), progressing);
    cluster.settle();
    let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
    assert_eq!(cluster.condition("Progressing"), ("True".to_owned(), "NewReplicaSetAvailable".to_owned(), message));
    assert_eq!(cluster.condition("Available").1, "MinimumReplicasAvailable");
    let written = cluster.written;
    assert!(!cluster.round(), "at rest");
    assert_eq!(cluster.written, written);
}

#[test]
fn a_rollout_goes_step_by_step_and_back_to_an_old_set() {
    let mut cluster = Cluster::new(deployment(json!({"spec": {"replicas": 3}})));
    cluster.settle();
    cluster.change(image("v2"));
    cluster.settle();
    assert_eq!(cluster.log, ["create 1", "1: 3→2", "2: 1→2", "1: 2→1", "2: 2→3", "1: 1→0"]);
    assert_eq!(cluster.deployment.metadata.annotations.as_ref().expect("annotations")[REVISION], "2");
    cluster.change(image("v1"));
    cluster.settle();
    assert_eq!(cluster.sizes(), [3, 0], "the first set is taken again");
    assert_eq!((sets::revision(&cluster.sets[0]), sets::revision(&cluster.sets[1])), (3, 2));
    let annotations = cluster.sets[0].metadata.annotations.as_ref();
    assert_eq!(sets::annotation(annotations, sets::REVISION_HISTORY), Some("1"));
}

#[test]
fn recreating_never_runs_two_templates_at_a_time() {
    let strategy = json!({"spec": {"replicas": 3, "strategy": {"type": "Recreate", "rollingUpdate": null}}});
    let mut cluster = Cluster::new(deployment(strategy));
    cluster.settle();
    cluster.change(image("v2"));
    cluster.round();
    assert_eq!(cluster.log, ["1: 3→0"]);
    cluster.round();
    assert_eq!(cluster.sizes(), [0], "its pods have not ended yet");
    cluster.settle();
    assert_eq!(cluster.log, ["1: 3→0", "create 3"]);
    let most = sets::annotation(cluster.sets[1].metadata.annotations.as_ref(), MAX_REPLICAS);
    assert_eq!(most, Some("3"));
}

#[test]
fn a_rollout_that_stalls_times_out_and_recovers() {
    let mut cluster = Cluster::new(deployment(json!({"spec": {"progressDeadlineSeconds": 5}})));
    cluster.settle();
    cluster.change(image("bad"));
    let bad = |set: &ReplicaSet| if sets::revision(set) == 2 { 0 } else { replicas(set) };
    for _ in 0..5 {
        cluster.round();
        cluster.pods_follow(bad);
    }
    assert_eq!(cluster.sizes(), [3, 2], "one less of the old, and one more than wanted");
    cluster.now = later(7);
    cluster.round();
    let (status, reason, message) = cluster.condition("Progressing");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ProgressDeadlineExceeded"));
    assert!(message.ends_with("has timed out progressing."), "{message}");
    assert_eq!(cluster.condition("Available").0, "True");
    cluster.change(image("v3"));
    cluster.settle();
    assert_eq!(cluster.sizes(), [0, 0, 4]);
    assert_eq!(cluster.condition("Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn old_sets_are_forgotten_beyond_the_limit_and_never_while_they_have_pods() {
    let mut cluster = Cluster::new(deployment(json!({"spec": {"revisionHistoryLimit": 1}})));
    for version in ["v1", "v2", "v3", "v4"] {
        cluster.change(image(version));
        cluster.settle();
    }
    assert_eq!(cluster.log.last().map(String::as_str), Some("forget 2"));
    assert_eq!(cluster.sets.iter().map(sets::revision).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn while_paused_nothing_rolls_but_sizes_follow() {
    let mut cluster = Cluster::new(deployment(json!({})));
    cluster.settle();
    cluster.change(json!({"spec": {"paused": true, "replicas": 6}}));
    cluster.change(image("v2"));
    cluster.settle();
    assert_eq!(cluster.sizes(), [6]);
    assert_eq!(cluster.condition("Progressing").2, "Deployment is paused");
    cluster.change(json!({"spec": {"paused": false}}));
    cluster.round();
    assert_eq!(cluster.sizes().len(), 2);
    cluster.settle();
    assert_eq!(cluster.sizes(), [0, 6]);
}

#[test]
fn a_new_size_is_shared_in_proportion_while_it_rolls() {
    // Sizes of the old sets and the newest, the surge, then the old size and the new: what each then has, as
    // kube-controller-manager shares it.
    type Case<'a> = (&'a [i32], i32, i32, i32, &'a [i32]);
    let cases: &[Case<'_>] = &[
        (&[5, 5], 0, 10, 12, &[6, 6]),
        (&[5, 5], 0, 10, 5, &[2, 3]),
        (&[8, 2], 0, 10, 5, &[4, 1]),
        (&[5, 3, 2], 0, 10, 12, &[6, 4, 2]),
        (&[10], 0, 10, 12, &[12]),
        (&[8, 4], 2, 10, 0, &[0, 0]),
    ];
    for (sizes, surge, before, after, expected) in cases {
        let strategy = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": 1}});
        let was = deployment(json!({"spec": {"replicas": before, "strategy": strategy}}));
        let mut cluster = Cluster::new(was);
        for (at, size) in sizes.iter().enumerate() {
            cluster.change(image(&format!("v{at}")));
            let mut rollout = Cluster::new(cluster.deployment.clone());
            rollout.round();
            let mut set = rollout.sets.remove(0);
            set.spec.get_or_insert_default().replicas = Some(*size);
            set.metadata.creation_timestamp = Some(later(i64::try_from(at).expect("few")));
            cluster.sets.push(set);
        }
        cluster.pods_follow(|_| 0);
        cluster.change(json!({"spec": {"replicas": after}}));
        cluster.round();
        assert_eq!(cluster.sizes(), *expected, "{sizes:?} of {before} to {after}");
    }
}

#[test]
fn a_set_that_cannot_make_its_pods_is_reported() {
    let mut cluster = Cluster::new(deployment(json!({})));
    cluster.round();
    cluster.pods_follow(|_| 0);
    let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]);
    let status = cluster.sets[0].status.as_mut().expect("followed");
    status.conditions = from_value(failure).expect("conditions");
    cluster.round();
    assert_eq!(cluster.condition("ReplicaFailure").2, "quota");
    cluster.settle();
    let status = cluster.deployment.status.expect("told");
    assert!(status.conditions.iter().flatten().all(|condition| condition.type_ != "ReplicaFailure"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_rollout_stays_between_its_fences_and_arrives(
        wanted in 1_i32..12, surge in 0_i32..5, unavailable in 0_i32..5, luck in prop::collection::vec(0_i32..6, 1..40),
    ) {
        prop_assume!(surge + unavailable > 0);
        let strategy = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let mut cluster = Cluster::new(deployment(json!({"spec": {"replicas": wanted, "strategy": strategy}})));
        cluster.settle();
        cluster.change(image("v2"));
        let least = wanted - unavailable.min(wanted);
        for more in luck {
            cluster.round();
            let ready = |set: &ReplicaSet| {
                if sets::revision(set) == 2 { sets::available(set) + more } else { replicas(set) }
            };
            cluster.pods_follow(ready);
            prop_assert!(sets::sum(&cluster.sets, replicas) <= wanted + surge, "{:?}", cluster.log);
            prop_assert!(sets::sum(&cluster.sets, sets::available) >= least, "{:?}", cluster.log);
        }
        cluster.settle();
        prop_assert_eq!(cluster.sizes(), vec![0, wanted]);
    }
}
