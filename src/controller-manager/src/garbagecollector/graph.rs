//! Who owns whom: the graph that the garbage collector works on. Pure: what is told goes in, who is to be looked at comes out.
//!
//! It holds names, uids and owners, nothing else, since it holds all objects there are. What depends on an owner is kept by the
//! owner's uid whether the owner has been seen or not.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use crate::inventory::{Meta, Owner, Resource};

/// Finalizer by which dependents are left alone.
pub const ORPHAN: &str = "orphan";
/// Finalizer by which dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// So many owners that went are remembered: their dependents need not ask for them.
const GONE_MAX: usize = 1024;

/// An identifier of an object, shared by all who name it.
pub type Uid = Arc<str>;

/// An object.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub resource: Arc<Resource>,
    /// Where it is.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its owners.
    pub owners: Box<[Ref]>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it waits for its dependents to go.
    pub foreground: bool,
    /// Whether it waits for its dependents to be let go.
    pub orphaning: bool,
}

/// A reference to an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// Its uid.
    pub uid: Uid,
    /// Group and version of its kind.
    pub api_version: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// Whether its deletion in the foreground waits.
    pub blocks: bool,
}

impl PartialEq<&Owner> for &Ref {
    fn eq(&self, owner: &&Owner) -> bool {
        *self.uid == *owner.uid
            && *self.api_version == *owner.api_version
            && *self.kind == *owner.kind
            && *self.name == *owner.name
            && self.blocks == owner.block_owner_deletion
    }
}

/// Who is to be looked at.
#[derive(Debug, Default, PartialEq)]
pub struct Work {
    /// Whether they are to be deleted.
    pub delete: Vec<Uid>,
    /// Their dependents are to be let go.
    pub orphan: Vec<Uid>,
    /// An object, by uid, names an owner of another namespace.
    pub misplaced: Vec<(Uid, Ref)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<Uid, Node>,
    /// By the uid of the owner.
    dependents: HashMap<Uid, HashSet<Uid>>,
    words: HashSet<Arc<str>>,
    gone: HashSet<Uid>,
    gone_order: VecDeque<Uid>,
}

impl Graph {
    /// An object.
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The uids of what an object owns.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Uid> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// Those of its dependents for which it waits in the foreground.
    pub fn blocking(&self, uid: &str) -> Vec<Uid> {
        let blocks = |dependent: &&Uid| {
            let node = self.nodes.get(*dependent);
            node.is_some_and(|node| node.owners.iter().any(|owner| &*owner.uid == uid && owner.blocks))
        };
        self.dependents(uid).filter(blocks).cloned().collect()
    }

    /// Whether an object of this uid is known to be gone, for ever.
    pub fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.nodes.len()
    }

    fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.words.get(text) {
            return word.clone();
        }
        let word: Arc<str> = text.into();
        self.words.insert(word.clone());
        word
    }

    fn owner(&mut self, owner: &Owner) -> Ref {
        let known = self.nodes.get_key_value(owner.uid.as_str()).map(|(uid, _)| uid.clone());
        let known = known.or_else(|| self.dependents.get_key_value(owner.uid.as_str()).map(|(uid, _)| uid.clone()));
        Ref {
            uid: known.unwrap_or_else(|| owner.uid.as_str().into()),
            api_version: self.word(&owner.api_version),
            kind: self.word(&owner.kind),
            name: owner.name.as_str().into(),
            blocks: owner.block_owner_deletion,
        }
    }

    /// An object is there, new or changed.
    pub fn seen(&mut self, resource: &Arc<Resource>, meta: &Meta) -> Work {
        let mut work = Work::default();
        let deleting = meta.deletion_timestamp.is_some();
        let waits = |finalizer: &str| deleting && meta.finalizers.iter().any(|one| one == finalizer);
        let (foreground, orphaning) = (waits(FOREGROUND), waits(ORPHAN));
        if let Some(node) = self.nodes.get(meta.uid.as_str())
            && (node.deleting, node.foreground, node.orphaning) == (deleting, foreground, orphaning)
            && node.owners.iter().eq(&meta.owner_references)
        {
            // Most changes are of something else.
            return work;
        }
        let owners: Box<[Ref]> = meta.owner_references.iter().map(|owner| self.owner(owner)).collect();
        let uid: Uid =
            match (self.nodes.get_key_value(meta.uid.as_str()), self.dependents.get_key_value(meta.uid.as_str())) {
                (Some((uid, _)), _) => uid.clone(),
                (None, Some((uid, _))) => uid.clone(),
                (None, None) => meta.uid.as_str().into(),
            };
        let node = Node {
            resource: resource.clone(),
            namespace: self.word(&meta.namespace),
            name: meta.name.as_str().into(),
            owners,
            deleting,
            foreground,
            orphaning,
        };
        let before = self.nodes.insert(uid.clone(), node);
        let node = self.nodes[&uid].clone();
        if before.is_none() {
            // Those that waited for it may have waited for another.
            for dependent in self.dependents.get(&uid).into_iter().flatten() {
                let refers = |dependent: &Node| {
                    dependent.owners.iter().any(|owner| owner.uid == uid && !fits(owner, &dependent.namespace, &node))
                };
                if self.nodes.get(dependent).is_some_and(refers) {
                    work.delete.push(dependent.clone());
                }
            }
        }
        let old_owners = before.as_ref().map(|before| before.owners.clone()).unwrap_or_default();
        for old in &old_owners {
            let now = node.owners.iter().find(|owner| owner.uid == old.uid);
            if now.is_none() {
                self.no_dependent(&old.uid, &uid);
            }
            // Who waited for it need not any more.
            if old.blocks
                && now.is_none_or(|now| !now.blocks)
                && self.nodes.get(&old.uid).is_some_and(|owner| owner.foreground)
            {
                work.delete.push(old.uid.clone());
            }
        }
        for owner in node.owners.iter().filter(|owner| !old_owners.iter().any(|old| old.uid == owner.uid)) {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            match self.nodes.get(&owner.uid) {
                Some(known) if fits(owner, &node.namespace, known) => {}
                Some(known) => {
                    if known.resource.namespaced && known.namespace != node.namespace {
                        work.misplaced.push((uid.clone(), owner.clone()));
                    }
                    work.delete.push(uid.clone());
                }
                None => work.delete.push(uid.clone()),
            }
        }
        self.transitions(&uid, before.as_ref(), &node, &mut work);
        work
    }

    fn transitions(&self, uid: &Uid, before: Option<&Node>, node: &Node, work: &mut Work) {
        if node.orphaning && !before.is_some_and(|before| before.orphaning) {
            work.orphan.push(uid.clone());
        } else if node.foreground && !before.is_some_and(|before| before.foreground) {
            work.delete.extend(self.dependents(uid).cloned());
            work.delete.push(uid.clone());
        }
    }

    /// An object is gone.
    pub fn gone(&mut self, uid: &str) -> Work {
        let mut work = Work::default();
        let Some((uid, node)) = self.nodes.remove_entry(uid) else { return work };
        for owner in &node.owners {
            self.no_dependent(&owner.uid, &uid);
            if self.nodes.get(&owner.uid).is_some_and(|owner| owner.foreground) {
                work.delete.push(owner.uid.clone());
            }
        }
        if let Some(dependents) = self.dependents.get(&uid) {
            work.delete.extend(dependents.iter().cloned());
            if self.gone.insert(uid.clone()) {
                self.gone_order.push_back(uid);
            }
            if self.gone_order.len() > GONE_MAX
                && let Some(oldest) = self.gone_order.pop_front()
            {
                self.gone.remove(&oldest);
            }
        }
        work
    }

    /// Of a resource, only objects of these uids are there.
    pub fn listed(&mut self, resource: &Resource, uids: &HashSet<String>) -> Work {
        let missing: Vec<Uid> = self
            .nodes
            .iter()
            .filter(|(uid, node)| {
                node.resource.plural == resource.plural
                    && node.resource.group == resource.group
                    && !uids.contains(&***uid)
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        let mut work = Work::default();
        for uid in missing {
            work.delete.extend(self.gone(&uid).delete);
        }
        work
    }

    fn no_dependent(&mut self, owner: &Uid, uid: &Uid) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(uid);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

/// Whether a reference, from an object in `namespace`, is to `node`.
fn fits(owner: &Ref, namespace: &str, node: &Node) -> bool {
    let (group, _) = apimachinery::kinds::split_api_version(&owner.api_version);
    group == node.resource.group
        && *owner.kind == *node.resource.kind
        && owner.name == node.name
        && (!node.resource.namespaced || *node.namespace == *namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> Arc<Resource> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Arc::new(Resource {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            plural: "configmaps".to_owned(),
            namespaced: true,
            verbs: words(&["get", "list", "watch", "delete"]),
        })
    }

    fn map(name: &str, owners: &[(&str, bool)]) -> Meta {
        let owner = |(name, blocks): &(&str, bool)| Owner {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name: (*name).to_owned(),
            uid: format!("u-{name}"),
            block_owner_deletion: *blocks,
        };
        Meta {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            uid: format!("u-{name}"),
            owner_references: owners.iter().map(owner).collect(),
            ..Meta::default()
        }
    }

    fn going(mut meta: Meta, finalizer: &str) -> Meta {
        meta.deletion_timestamp = Some("2026-01-01T00:00:00Z".to_owned());
        meta.finalizers = vec![finalizer.to_owned()];
        meta
    }

    fn uids(list: &[Uid]) -> Vec<&str> {
        let mut list: Vec<_> = list.iter().map(|uid| &**uid).collect();
        list.sort_unstable();
        list
    }

    #[test]
    fn what_an_owner_owned_is_looked_at_when_it_goes() {
        let mut graph = Graph::default();
        assert_eq!(graph.seen(&maps(), &map("a", &[])), Work::default());
        assert_eq!(graph.seen(&maps(), &map("b", &[("a", false)])), Work::default());
        assert_eq!(uids(&graph.gone("u-a").delete), ["u-b"]);
        assert!(graph.is_gone("u-a"));
    }

    #[test]
    fn who_names_an_owner_that_nobody_has_seen_is_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(uids(&graph.seen(&maps(), &map("b", &[("a", false)])).delete), ["u-b"]);
        assert_eq!(graph.seen(&maps(), &map("a", &[])), Work::default(), "it is the one that was meant");
        let mut elsewhere = map("c", &[("a", false)]);
        elsewhere.namespace = "other".to_owned();
        let work = graph.seen(&maps(), &elsewhere);
        assert_eq!((uids(&work.delete), work.misplaced.len()), (vec!["u-c"], 1));
    }

    #[test]
    fn a_deletion_in_the_foreground_waits_for_those_that_block() {
        let mut graph = Graph::default();
        graph.seen(&maps(), &map("a", &[]));
        graph.seen(&maps(), &map("b", &[("a", true)]));
        graph.seen(&maps(), &map("c", &[("a", false)]));
        let work = graph.seen(&maps(), &going(map("a", &[]), FOREGROUND));
        assert_eq!(uids(&work.delete), ["u-a", "u-b", "u-c"]);
        assert_eq!(uids(&graph.blocking("u-a")), ["u-b"]);
        let unblocked = graph.seen(&maps(), &map("b", &[("a", false)]));
        assert_eq!(uids(&unblocked.delete), ["u-a"], "the owner may go now");
        assert_eq!(uids(&graph.gone("u-c").delete), ["u-a"]);
    }

    #[test]
    fn orphans_are_let_go_once() {
        let mut graph = Graph::default();
        graph.seen(&maps(), &map("b", &[("a", true)]));
        let orphaning = going(map("a", &[]), ORPHAN);
        assert_eq!(uids(&graph.seen(&maps(), &orphaning).orphan), ["u-a"]);
        assert_eq!(graph.seen(&maps(), &orphaning), Work::default());
        graph.seen(&maps(), &map("b", &[]));
        assert_eq!(graph.dependents("u-a").count(), 0);
    }

    #[test]
    fn what_a_list_does_not_mention_is_gone() {
        let mut graph = Graph::default();
        graph.seen(&maps(), &map("a", &[]));
        graph.seen(&maps(), &map("b", &[("a", false)]));
        let work = graph.listed(&maps(), &HashSet::from(["u-b".to_owned()]));
        assert_eq!((uids(&work.delete), graph.len()), (vec!["u-b"], 1));
    }
}
