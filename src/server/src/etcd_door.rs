//! etcd's API on a port of its own, for whoever asks for it with `--etcd-listen`.
//!
//! Who comes in there reads everything, secrets too, past RBAC: its clients have an authority of their own, and a client's
//! certificate is written beside the administrator's kubeconfig.

use std::{net::SocketAddr, path::Path, sync::Arc};

use auth::{ClusterCa, pki};
use component_base::Tasks;
use etcd::{Door, MemberError, Members, Standing};
use futures::FutureExt;
use raft::RaftStore;
use storage::StoreError;
use tokio::net::TcpListener;

use crate::{Config, ServerError, names};

/// The folder of the authority of etcd's clients, below the folder of keys.
pub const AUTHORITY: &str = "etcd";

/// Serves etcd's API at `address` until `tasks` stop; what a client needs is written into the folder `etcd` of the data
/// directory.
///
/// # Errors
/// When the address is taken or the keys cannot be used.
pub async fn serve(
    address: SocketAddr,
    config: &Config,
    keys: &Path,
    store: &RaftStore,
    cluster: &str,
    tasks: &Tasks,
) -> Result<(), ServerError> {
    let listener = TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| ServerError::Listen { address, source })?;
    let authority = ClusterCa::open_or_create(&keys.join(AUTHORITY), &*config.clock)?;
    let now = config.clock.now();
    let serving = authority.server("etcd", &names(config, address)?, now)?;
    let client = authority.client("etcd-client", &[], now)?;
    let folder = config.data_dir.join("etcd");
    pki::make_folder(&folder)?;
    for (name, text) in
        [("ca.crt", authority.certificate_pem()), ("client.crt", &client.certificate), ("client.key", &client.key)]
    {
        pki::write_private(&folder.join(name), text.as_bytes())?;
    }
    let tls = etcd::server_config(&serving.certificate, &serving.key, authority.certificate_pem())?;
    let members = Arc::new(Standings { store: store.clone(), cluster: number(cluster), port: address.port() });
    let door = Door::new(
        Arc::new(store.clone()),
        store.keyspace().clone(),
        members,
        config.entropy.clone(),
        Some(apiserver::keys::ROOT),
        tasks.clone(),
    );
    tasks.spawn_graceful("etcd", etcd::serve(listener, tls, door, tasks.clone()));
    Ok(())
}

/// etcd's clusters have numbers: the beginning of ours' name, which is made at random.
fn number(cluster: &str) -> u64 {
    let digits: String = cluster.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or_default()
}

/// The servers of this cluster as etcd tells of them.
struct Standings {
    store: RaftStore,
    cluster: u64,
    /// Where etcd's API is served, on every server alike.
    port: u16,
}

impl Standings {
    fn member(&self, member: raft::Member) -> etcd::Member {
        let host = member.server.api_address.rsplit_once(':').map_or("", |(host, _)| host).to_owned();
        etcd::Member {
            id: member.id,
            peer_urls: vec![format!("https://{}", member.server.peer_address)],
            client_urls: vec![format!("https://{host}:{}", self.port)],
            name: member.server.name,
            learner: !member.voter,
        }
    }

    fn known(&self, id: u64) -> Result<raft::Member, MemberError> {
        self.store.members().into_iter().find(|member| member.id == id).ok_or(MemberError::NotFound)
    }
}

fn refused(error: StoreError) -> MemberError {
    match error {
        StoreError::Invalid(why) => MemberError::Refused(why),
        other => MemberError::Store(other),
    }
}

#[async_trait::async_trait]
impl Members for Standings {
    fn standing(&self) -> Standing {
        let progress = self.store.progress();
        let leader = self.store.leader().borrow().as_ref().map_or(0, |leader| leader.id);
        Standing {
            cluster: self.cluster,
            id: self.store.id(),
            leader,
            term: progress.term,
            index: progress.committed,
            applied: progress.applied,
        }
    }

    async fn list(&self, current: bool) -> Result<Vec<etcd::Member>, MemberError> {
        if current {
            storage::Store::current_revision(&self.store).await?;
        }
        Ok(self.store.members().into_iter().map(|member| self.member(member)).collect())
    }

    async fn add(&self, _: Vec<String>, _: bool) -> Result<etcd::Member, MemberError> {
        Err(MemberError::Refused("a server joins with a token: coracle server --join URL --token-file FILE".to_owned()))
    }

    async fn remove(&self, id: u64) -> Result<(), MemberError> {
        self.known(id)?;
        self.store.remove(id).await.map_err(refused)
    }

    async fn update(&self, id: u64, _: Vec<String>) -> Result<(), MemberError> {
        self.known(id)?;
        Err(MemberError::Refused("a server tells by itself where it is: start it with --advertise-host".to_owned()))
    }

    async fn promote(&self, id: u64) -> Result<(), MemberError> {
        if self.known(id)?.voter {
            return Err(MemberError::NotLearner);
        }
        self.store.promote(id, false).await.map_err(refused)
    }

    async fn transfer_leader(&self, id: u64) -> Result<(), MemberError> {
        self.known(id)?;
        self.store.transfer_leader(id).await.map_err(refused)
    }

    fn complaints(&self) -> Vec<String> {
        self.store.failed().now_or_never().map(|error| error.to_string()).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_the_number_that_its_name_begins_with() {
        assert_eq!(number("0000000000000010-ffff"), 16);
        assert_eq!(number("12345678-9abc-def0-1234-000000000000"), 0x1234_5678_9abc_def0);
        assert_eq!(number(""), 0);
    }
}
