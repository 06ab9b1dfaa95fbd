//! Who belongs to the cluster, as the server tells it.

use storage::StoreError;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// Its name; empty until it has introduced itself.
    pub name: String,
    /// Where other servers reach it, as URLs.
    pub peer_urls: Vec<String>,
    /// Where clients of this API reach it, as URLs.
    pub client_urls: Vec<String>,
    /// Whether it only learns and does not vote.
    pub learner: bool,
}

/// How this server stands in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The number of the cluster.
    pub cluster: u64,
    /// The number of this server.
    pub id: u64,
    /// Who leads, as far as this server knows; 0 is nobody.
    pub leader: u64,
    /// Raft's term.
    pub term: u64,
    /// The last log entry that is committed, as far as this server knows.
    pub index: u64,
    /// The last log entry that is applied here.
    pub applied: u64,
}

/// Why the members were not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MemberError {
    /// There is no such member.
    #[error("there is no such member")]
    NotFound,
    /// The member votes already.
    #[error("the member votes already")]
    NotLearner,
    /// The learner has not caught up.
    #[error("the learner has not caught up with the leader")]
    NotReady,
    /// This server does not lead.
    #[error("this server does not lead")]
    NotLeader,
    /// The cluster would lose its quorum, or another rule forbids it.
    #[error("{0}")]
    Refused(String),
    /// The store cannot do it now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The servers of the cluster.
#[tonic::async_trait]
pub trait Members: Send + Sync + 'static {
    /// How this server stands now.
    fn standing(&self) -> Standing;

    /// All members; with `current` as the leader knows them.
    async fn list(&self, current: bool) -> Result<Vec<Member>, MemberError>;

    /// Takes a server into the cluster, which is reached at one of `peer_urls`.
    async fn add(&self, peer_urls: Vec<String>, learner: bool) -> Result<Member, MemberError>;

    /// Removes a server for good.
    async fn remove(&self, id: u64) -> Result<(), MemberError>;

    /// Changes where a server is reached.
    async fn update(&self, id: u64, peer_urls: Vec<String>) -> Result<(), MemberError>;

    /// Lets a learner vote.
    async fn promote(&self, id: u64) -> Result<(), MemberError>;

    /// Lets another server lead. Only the leader can.
    async fn transfer_leader(&self, id: u64) -> Result<(), MemberError>;

    /// What is wrong with the server, if something is; empty is healthy.
    fn complaints(&self) -> Vec<String>;
}

/// The members of a cluster that is one server and stays so.
pub struct Alone<F> {
    member: Member,
    standing: F,
}

impl<F: Fn() -> Standing + Send + Sync + 'static> Alone<F> {
    /// A server that clients reach at `client_url` and that stands as `standing` says.
    pub fn new(name: &str, client_url: &str, standing: F) -> Self {
        let member = Member {
            id: standing().id,
            name: name.to_owned(),
            peer_urls: Vec::new(),
            client_urls: vec![client_url.to_owned()],
            learner: false,
        };
        Self { member, standing }
    }

    fn known(&self, id: u64) -> Result<(), MemberError> {
        if id == self.member.id { Ok(()) } else { Err(MemberError::NotFound) }
    }
}

#[tonic::async_trait]
impl<F: Fn() -> Standing + Send + Sync + 'static> Members for Alone<F> {
    fn standing(&self) -> Standing {
        (self.standing)()
    }

    async fn list(&self, _: bool) -> Result<Vec<Member>, MemberError> {
        Ok(vec![self.member.clone()])
    }

    async fn add(&self, _: Vec<String>, _: bool) -> Result<Member, MemberError> {
        Err(MemberError::Refused("this server was started to stay alone".to_owned()))
    }

    async fn remove(&self, id: u64) -> Result<(), MemberError> {
        self.known(id)?;
        Err(MemberError::Refused("the last member cannot be removed".to_owned()))
    }

    async fn update(&self, id: u64, _: Vec<String>) -> Result<(), MemberError> {
        self.known(id)?;
        Err(MemberError::Refused("this server was started to stay alone".to_owned()))
    }

    async fn promote(&self, id: u64) -> Result<(), MemberError> {
        self.known(id)?;
        Err(MemberError::NotLearner)
    }

    async fn transfer_leader(&self, id: u64) -> Result<(), MemberError> {
        // As etcd: to whom leads already there is nothing to do.
        self.known(id)
    }

    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }
}
