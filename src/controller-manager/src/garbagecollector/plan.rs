//! What becomes of an object, by what its owners turned out to be.

use kube::api::PropagationPolicy;

use super::graph::{FOREGROUND, ORPHAN};
use crate::inventory::Meta;

/// What an owner turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerState {
    /// It is there and stays.
    Solid,
    /// It is gone, or never was.
    Dangling,
    /// It waits for its dependents to go.
    Waiting,
}

/// What is to be done with the object.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// It stays, without the owners of these uids.
    Disown(Vec<String>),
    /// It goes, and says how its own dependents go.
    Delete(PropagationPolicy),
}

/// Decides. `states` are of the object's owner references, in order; `has_dependents` says whether it owns something itself.
pub fn plan(object: &Meta, states: &[OwnerState], has_dependents: bool) -> Step {
    let of = |state: OwnerState| states.contains(&state);
    if states.is_empty() || !of(OwnerState::Dangling) && !of(OwnerState::Waiting) {
        return Step::Stay;
    }
    if of(OwnerState::Solid) {
        let lost = object.owner_references.iter().zip(states).filter(|(_, state)| **state != OwnerState::Solid);
        return Step::Disown(lost.map(|(owner, _)| owner.uid.clone()).collect());
    }
    let has = |finalizer: &str| object.finalizers.iter().any(|one| one == finalizer);
    Step::Delete(if of(OwnerState::Waiting) && has_dependents {
        PropagationPolicy::Foreground
    } else if has(ORPHAN) {
        PropagationPolicy::Orphan
    } else if has(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    })
}

#[cfg(test)]
mod tests {
    use OwnerState::{Dangling, Solid, Waiting};
    use PropagationPolicy::{Background, Foreground, Orphan};

    use super::*;
    use crate::inventory::Owner;

    #[test]
    fn one_solid_owner_holds_an_object_and_the_others_are_let_go() {
        let cases: [(&[OwnerState], &[&str], bool, Step); 9] = [
            (&[], &[], false, Step::Stay),
            (&[Solid], &[], false, Step::Stay),
            (&[Solid, Dangling], &[], false, Step::Disown(vec!["1".to_owned()])),
            (&[Waiting, Solid], &[], true, Step::Disown(vec!["0".to_owned()])),
            (&[Dangling], &[], false, Step::Delete(Background)),
            (&[Dangling], &[ORPHAN], false, Step::Delete(Orphan)),
            (&[Dangling], &[FOREGROUND], false, Step::Delete(Foreground)),
            (&[Waiting], &[], true, Step::Delete(Foreground)),
            (&[Waiting], &[], false, Step::Delete(Background)),
        ];
        for (states, finalizers, has_dependents, step) in cases {
            let owners = (0..states.len()).map(|uid| Owner { uid: uid.to_string(), ..Owner::default() });
            let object = Meta {
                owner_references: owners.collect(),
                finalizers: finalizers.iter().map(|one| (*one).to_owned()).collect(),
                ..Meta::default()
            };
            assert_eq!(plan(&object, states, has_dependents), step, "{states:?} {finalizers:?} {has_dependents}");
        }
    }
}
