use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use proptest::prelude::*;
use serde_json::{Value, from_value, json};

use super::*;

fn object(name: &str, version: u64, more: Value) -> ConfigMap {
    let mut metadata =
        json!({"name": name, "namespace": "default", "uid": name, "resourceVersion": version.to_string()});
    json_patch::merge(&mut metadata, &more);
    ConfigMap { metadata: from_value(metadata).expect("ObjectMeta"), ..ConfigMap::default() }
}

fn time() -> Time {
    Time("2024-01-01T00:00:00Z".parse().expect("a time"))
}

#[test]
fn indexes_follow_namespace_controller_and_labels() {
    let mut store = Store::new();
    let owner =
        json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]});
    store.applied(object("a", 1, owner));
    store.applied(object("b", 2, json!({})));
    store.add_index(
        "color",
        Box::new(|map: &ConfigMap| {
            map.metadata.labels.iter().flat_map(|labels| labels.get("color").cloned()).collect()
        }),
    );
    store.applied(object("c", 3, json!({"labels": {"color": "red"}})));
    let names = |store: &Store<ConfigMap>, index: &str, value: &str| {
        store.by_index(index, value).iter().filter_map(|map| map.metadata.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&store, NAMESPACE, "default"), ["a", "b", "c"]);
    assert_eq!(
        (names(&store, CONTROLLER, "u"), names(&store, ORPHAN, "default")),
        (vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()])
    );
    store.applied(object("c", 4, json!({"labels": {"color": "blue"}})));
    assert!(names(&store, "color", "red").is_empty());
    assert_eq!(names(&store, "color", "blue"), ["c"]);
    store.deleted(&object("a", 5, json!({})));
    assert!(names(&store, CONTROLLER, "u").is_empty());
}

#[test]
fn what_was_deleted_here_stays_so_until_the_watch_has_told() {
    let mut store = Store::new();
    let key = Key::new("default", "a");
    let going = |store: &Store<ConfigMap>| store.get(&key).map(|map| map.metadata.deletion_timestamp.is_some());
    store.applied(object("a", 1, json!({})));
    assert!(store.deleting(&key, "another", time()).is_none(), "one that took its name since is not meant");
    assert!(store.deleting(&key, "a", time()).is_some());
    store.applied(object("a", 2, json!({"labels": {"written": "before"}})));
    assert_eq!(going(&store), Some(true), "an older change does not bring it back");
    store.applied(object("a", 3, json!({"deletionTimestamp": "2024-01-01T00:00:09Z"})));
    store.deleted(&object("a", 4, json!({})));
    assert_eq!(going(&store), None);
    store.applied(object("a", 5, json!({})));
    assert_eq!(going(&store), Some(false), "its successor is another matter");
}

/// What happens at a server, and what the store is told of it.
#[derive(Debug, Clone)]
enum Step {
    /// An object is made, changed or (when it is there and `delete`) deleted, by this process or another.
    Write { name: usize, delete: bool },
    /// The watch tells the next thing.
    Watch,
    /// The answer to the write with that number comes in.
    Answer(usize),
    /// The watch fell behind and all is listed.
    List,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_usize..3, prop::bool::weighted(0.3)).prop_map(|(name, delete)| Step::Write { name, delete }),
        4 => Just(Step::Watch),
        3 => (0_usize..40).prop_map(Step::Answer),
        1 => Just(Step::List),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn whatever_comes_first_nothing_is_seen_older_than_an_answer_and_nothing_stays_that_is_gone(steps in steps()) {
        let mut store = Store::new();
        // All that happened: the version, the name, and whether it was deleted then.
        let mut log: Vec<(u64, usize, bool)> = Vec::new();
        let mut told = 0;
        let made = |name: usize, version: u64| object(&name.to_string(), version, json!({}));
        let state = |log: &[(u64, usize, bool)], upto: usize| -> BTreeMap<usize, u64> {
            let mut state = BTreeMap::new();
            for (version, name, deleted) in &log[..upto] {
                if *deleted { state.remove(name); } else { state.insert(*name, *version); }
            }
            state
        };
        for step in steps {
            match step {
                Step::Write { name, delete } => {
                    let delete = delete && state(&log, log.len()).contains_key(&name);
                    log.push((u64::try_from(log.len()).expect("few") + 1, name, delete));
                }
                Step::Watch if told < log.len() => {
                    let (version, name, deleted) = log[told];
                    told += 1;
                    if deleted { store.deleted(&made(name, version)); } else { store.applied(made(name, version)); }
                }
                Step::Answer(at) if at < log.len() && !log[at].2 => {
                    let (version, name, _) = log[at];
                    store.written(made(name, version));
                    let seen = store.get(&Key::new("default", name.to_string())).map(|map| super::version(&*map));
                    let gone_since = log[at..told.max(at)].iter().any(|(_, other, deleted)| *other == name && *deleted);
                    prop_assert!(gone_since || seen >= Some(version), "{seen:?} after the answer {version}");
                }
                Step::List => {
                    told = log.len();
                    let objects = state(&log, told).into_iter().map(|(name, version)| made(name, version)).collect();
                    store.replaced(objects, u64::try_from(told).expect("few"));
                }
                Step::Watch | Step::Answer(_) => {}
            }
        }
        for (version, name, deleted) in &log[told..] {
            if *deleted { store.deleted(&made(*name, *version)); } else { store.applied(made(*name, *version)); }
        }
        let seen: BTreeMap<usize, u64> = store.all().iter().map(|map| {
            let ObjectMeta { name, .. } = &map.metadata;
            (name.as_ref().and_then(|name| name.parse().ok()).expect("a number"), super::version(&**map))
        }).collect();
        prop_assert_eq!(seen, state(&log, log.len()));
        prop_assert_eq!(store.by_index(NAMESPACE, "default").len(), store.len());
    }
}
