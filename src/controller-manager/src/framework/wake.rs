//! Whom a change of an object concerns.

use apimachinery::selectors::LabelSelector;
use kube::Resource;

use super::{Change, Informer, Key, Queue, SyncError, controller_of, labels_of};

/// Puts the `O` that controls a changed object in line.
pub fn wake_controller<O, K>(queue: &Queue<Key>, change: &Change<K>)
where
    O: Resource<DynamicType = ()>,
    K: Resource,
{
    for object in change.old.iter().chain(&change.new) {
        let Some(owner) = controller_of(&**object) else { continue };
        let same_group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group) == O::group(&());
        if same_group && owner.kind == O::kind(&()) {
            queue.add(Key::new(object.meta().namespace.as_deref().unwrap_or_default(), owner.name.as_str()));
        }
    }
}

/// Like [`wake_controller`]; of an object that nobody controls, it wakes those whose selector would claim it.
pub fn wake_owner_or_claimants<O, K>(
    queue: &Queue<Key>,
    owners: &Informer<O>,
    change: &Change<K>,
    selector: impl Fn(&O) -> Result<LabelSelector, SyncError>,
) where
    O: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    K: Resource,
{
    wake_controller::<O, K>(queue, change);
    let Some(new) = change.new.as_ref().filter(|new| controller_of(&***new).is_none()) else { return };
    let as_before = change
        .old
        .as_ref()
        .is_some_and(|old| controller_of(&**old).is_none() && labels_of(&**old) == labels_of(&**new));
    if as_before {
        return;
    }
    for owner in owners.in_namespace(new.meta().namespace.as_deref().unwrap_or_default()) {
        if selector(&owner).is_ok_and(|selector| selector.matches(labels_of(&**new))) {
            queue.add(Key::of(&*owner));
        }
    }
}
