//! What may be done to the membership: pure functions over who is there and who is alive.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Server;

/// More voters make writes slower and nothing safer.
pub(crate) const MOST_VOTERS: usize = 7;

/// A change of the membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// A server joins, and learns.
    Add { id: u64, server: Server },
    /// A member says how it is reached now.
    Update { id: u64, server: Server },
    /// Learners that have caught up vote from now on.
    Promote { ids: BTreeSet<u64>, force: bool },
    /// A server leaves for good.
    Remove { id: u64 },
    /// Another server leads from now on.
    Transfer { id: u64 },
}

/// The cluster as its leader sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<u64, Server>,
    pub(crate) voters: BTreeSet<u64>,
    /// Who was removed at some time.
    pub(crate) removed: BTreeSet<u64>,
    /// Who answers at present; the leader always does.
    pub(crate) alive: BTreeSet<u64>,
    /// Learners that have what the leader has.
    pub(crate) ready: BTreeSet<u64>,
    /// Whether a change is under way.
    pub(crate) changing: bool,
}

impl Cluster {
    /// Whether `change` may be made.
    ///
    /// # Errors
    /// The reason why not.
    pub(crate) fn check(&self, change: &Change) -> Result<(), String> {
        match change {
            Change::Add { id, server } => self.check_add(*id, server),
            Change::Update { id, .. } => self.check_member(*id),
            Change::Promote { ids, force } => self.check_promote(ids, *force),
            Change::Remove { id } => self.check_remove(*id),
            Change::Transfer { id } => self.check_transfer(*id),
        }
    }

    /// Whether `change` is what there is already.
    pub(crate) fn has(&self, change: &Change) -> bool {
        match change {
            Change::Add { id, server } | Change::Update { id, server } => self.nodes.get(id) == Some(server),
            Change::Promote { ids, .. } => ids.is_subset(&self.voters),
            Change::Remove { id } => self.removed.contains(id),
            Change::Transfer { .. } => false,
        }
    }

    fn check_add(&self, id: u64, server: &Server) -> Result<(), String> {
        if id == 0 {
            return Err("0 is no server's number".to_owned());
        }
        if self.removed.contains(&id) {
            return Err(format!("server {id} was removed: its number is not given again"));
        }
        if let Some(other) = self.nodes.get(&id) {
            return Err(format!("server {id} is a member already: {:?} at {}", other.name, other.peer_address));
        }
        let same = |other: &Server| other.peer_address == server.peer_address;
        match self.nodes.iter().find(|(_, other)| same(other)) {
            Some((other, _)) => Err(format!(
                "{} is the address of server {other}: when that one was wiped, remove it first",
                server.peer_address
            )),
            None => Ok(()),
        }
    }

    fn check_member(&self, id: u64) -> Result<(), String> {
        if self.nodes.contains_key(&id) {
            return Ok(());
        }
        Err(match self.removed.contains(&id) {
            true => format!("server {id} was removed"),
            false => format!("there is no server {id}"),
        })
    }

    fn check_promote(&self, ids: &BTreeSet<u64>, force: bool) -> Result<(), String> {
        for id in ids {
            self.check_member(*id)?;
            if !self.ready.contains(id) && !self.voters.contains(id) {
                return Err(format!(
                    "server {id} has not caught up, or does not answer: as a voter it could only be missed"
                ));
            }
        }
        let after: BTreeSet<u64> = self.voters.union(ids).copied().collect();
        if after.len() > MOST_VOTERS {
            return Err(format!("{} servers would vote, at most {MOST_VOTERS} should", after.len()));
        }
        self.keeps_quorum(&after)?;
        if after.len().is_multiple_of(2) && !force {
            return Err(format!(
                "{} servers would vote: an even number bears no more failures than {} and makes writes slower",
                after.len(),
                after.len() - 1
            ));
        }
        Ok(())
    }

    fn check_remove(&self, id: u64) -> Result<(), String> {
        self.check_member(id)?;
        if !self.voters.contains(&id) {
            return Ok(());
        }
        let after: BTreeSet<u64> = self.voters.iter().copied().filter(|voter| *voter != id).collect();
        if after.is_empty() {
            return Err(format!("server {id} is the last one that votes"));
        }
        self.keeps_quorum(&after)
    }

    fn check_transfer(&self, id: u64) -> Result<(), String> {
        self.check_member(id)?;
        if !self.voters.contains(&id) {
            return Err(format!("server {id} does not vote yet"));
        }
        if !self.alive.contains(&id) {
            return Err(format!("server {id} does not answer"));
        }
        Ok(())
    }

    /// Whether a majority of `voters` answers.
    fn keeps_quorum(&self, voters: &BTreeSet<u64>) -> Result<(), String> {
        let alive = voters.intersection(&self.alive).count();
        let needed = voters.len() / 2 + 1;
        if alive >= needed {
            return Ok(());
        }
        let silent: Vec<String> = voters.difference(&self.alive).map(u64::to_string).collect();
        Err(format!(
            "the quorum would be lost: of {} voters {needed} are needed, but {alive} answer (not: {})",
            voters.len(),
            silent.join(", ")
        ))
    }

    /// Which learners are to vote from now on: so many that the number of voters is odd, as soon as so many are ready.
    pub(crate) fn to_promote(&self) -> BTreeSet<u64> {
        let wanted = if self.voters.len().is_multiple_of(2) { 1 } else { 2 };
        let candidates: BTreeSet<u64> = self.ready.difference(&self.voters).copied().take(wanted).collect();
        let promotion = Change::Promote { ids: candidates.clone(), force: false };
        let fits = candidates.len() == wanted && !self.changing && self.check(&promotion).is_ok();
        if fits { candidates } else { BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cluster(voters: &[u64], learners: &[u64], alive: &[u64]) -> Cluster {
        let nodes = voters.iter().chain(learners);
        Cluster {
            nodes: nodes
                .map(|id| (*id, Server { peer_address: format!("host-{id}:1"), ..Server::default() }))
                .collect(),
            voters: voters.iter().copied().collect(),
            removed: BTreeSet::from([90]),
            alive: alive.iter().copied().collect(),
            ready: learners.iter().copied().filter(|learner| alive.contains(learner)).collect(),
            changing: false,
        }
    }

    #[test]
    fn learners_are_promoted_so_that_the_voters_are_odd() {
        for (voters, learners, alive, expected) in [
            (&[1][..], &[2][..], &[1, 2][..], &[][..]),
            (&[1], &[2, 3], &[1, 2], &[]),
            (&[1], &[2, 3], &[1, 2, 3], &[2, 3]),
            // After a removal.
            (&[1, 3], &[4], &[1, 3, 4], &[4]),
            (&[1, 3], &[4, 5], &[1, 3, 4, 5], &[4]),
            // While another is down: 3 of 5 answer, or 2 of 3.
            (&[1, 2, 3], &[4, 5], &[1, 2, 4, 5], &[4, 5]),
            (&[1, 2], &[4], &[1, 4], &[4]),
            (&[1, 2, 3], &[4], &[1, 2, 3, 4], &[]),
            // There are enough.
            (&[1, 2, 3, 4, 5, 6, 7], &[8, 9], &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[]),
        ] {
            let cluster = cluster(voters, learners, alive);
            assert_eq!(cluster.to_promote(), expected.iter().copied().collect(), "{voters:?} {learners:?} {alive:?}");
            assert!(Cluster { changing: true, ..cluster }.to_promote().is_empty());
        }
    }

    #[test]
    fn what_would_lose_the_quorum_or_brings_back_the_dead_is_refused_with_the_reason() {
        let promote = |ids: &[u64], force| Change::Promote { ids: ids.iter().copied().collect(), force };
        let at = |address: &str| Server { peer_address: address.to_owned(), ..Server::default() };
        let three = cluster(&[1, 2, 3], &[4], &[1, 2, 4]);
        for (change, refusal) in [
            (Change::Remove { id: 3 }, None),
            (Change::Remove { id: 4 }, None),
            (
                Change::Remove { id: 2 },
                Some("the quorum would be lost: of 2 voters 2 are needed, but 1 answer (not: 3)"),
            ),
            (Change::Remove { id: 9 }, Some("there is no server 9")),
            (Change::Remove { id: 90 }, Some("server 90 was removed")),
            (promote(&[4], true), None),
            (
                promote(&[4], false),
                Some("4 servers would vote: an even number bears no more failures than 3 and makes writes slower"),
            ),
            (Change::Transfer { id: 2 }, None),
            (Change::Transfer { id: 3 }, Some("server 3 does not answer")),
            (Change::Transfer { id: 4 }, Some("server 4 does not vote yet")),
            (Change::Add { id: 5, server: at("host-5:1") }, None),
            (
                Change::Add { id: 90, server: at("host-5:1") },
                Some("server 90 was removed: its number is not given again"),
            ),
            (Change::Add { id: 2, server: at("host-5:1") }, Some("server 2 is a member already: \"\" at host-2:1")),
            (
                Change::Add { id: 5, server: at("host-3:1") },
                Some("host-3:1 is the address of server 3: when that one was wiped, remove it first"),
            ),
        ] {
            assert_eq!(three.check(&change).err().as_deref(), refusal, "{change:?}");
        }
        let behind = cluster(&[1], &[2], &[1]);
        assert!(behind.check(&promote(&[2], true)).unwrap_err().starts_with("server 2 has not caught up"));
        assert_eq!(behind.check(&Change::Remove { id: 1 }).unwrap_err(), "server 1 is the last one that votes");
    }

    proptest! {
        #[test]
        fn whatever_is_promoted_leaves_an_odd_number_with_a_majority_alive(
            voters in proptest::collection::btree_set(1..9u64, 1..8), learners in proptest::collection::btree_set(9..13u64, 0..4),
            alive in proptest::collection::btree_set(1..13u64, 1..12),
        ) {
            let all = |ids: &BTreeSet<u64>| ids.iter().copied().collect::<Vec<_>>();
            let cluster = cluster(&all(&voters), &all(&learners), &all(&alive));
            let promoted = cluster.to_promote();
            if !promoted.is_empty() {
                let after: BTreeSet<u64> = voters.union(&promoted).copied().collect();
                prop_assert!(after.len() % 2 == 1 && after.len() <= MOST_VOTERS);
                prop_assert!(promoted.iter().all(|id| alive.contains(id)));
                prop_assert!(after.intersection(&alive).count() > after.len() / 2);
            }
        }
    }
}
