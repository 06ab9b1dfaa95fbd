//! Leases.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt};
use storage::StoreError;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Door,
    convert::unsigned,
    door::signed,
    fail,
    pb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
        LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest,
        LeaseTimeToLiveResponse, lease_server::Lease,
    },
};

/// The shortest life of a lease, as etcd gives it with its own timers: it has to outlive an election.
const MIN_TTL_SECONDS: i64 = 2;
/// The longest: the store's.
const MAX_TTL_SECONDS: i64 = 366 * 24 * 3600;

#[tonic::async_trait]
impl Lease for Door {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Result<Response<LeaseGrantResponse>, Status> {
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        if ttl > MAX_TTL_SECONDS {
            return Err(fail::lease_too_long());
        }
        let ttl = Duration::from_secs(unsigned(ttl.max(MIN_TTL_SECONDS)));
        let granted = if id != 0 {
            self.store.lease_grant_as(id, ttl).await
        } else {
            loop {
                // As etcd does, so that nobody hits another's lease by counting.
                match self.store.lease_grant_as(self.random_id(), ttl).await {
                    Err(StoreError::LeaseExists(_)) => {}
                    other => break other,
                }
            }
        };
        let granted = granted.map_err(fail::store)?;
        let (header, error) = (self.header_now(), String::new());
        Ok(Response::new(LeaseGrantResponse { header, id: granted.id, ttl: signed(granted.ttl_seconds), error }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let id = request.into_inner().id;
        self.refuse_reserved_lease(id).await?;
        self.store.lease_revoke(id).await.map_err(fail::store)?;
        Ok(Response::new(LeaseRevokeResponse { header: self.header_now() }))
    }

    type LeaseKeepAliveStream = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let door = self.clone();
        let answers = request.into_inner().then(move |request| {
            let door = door.clone();
            async move { door.keep_alive(request?.id).await }
        });
        let stopping = self.tasks.stopping().cancelled_owned();
        Ok(Response::new(Box::pin(answers.take_until(Box::pin(stopping)))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let remaining = match self.store.lease_remaining(id).await {
            Ok(remaining) => remaining,
            Err(StoreError::LeaseNotFound(_)) => {
                let header = self.header_now();
                return Ok(Response::new(LeaseTimeToLiveResponse {
                    header,
                    id,
                    ttl: -1,
                    granted_ttl: 0,
                    keys: vec![],
                }));
            }
            Err(error) => return Err(fail::store(error)),
        };
        let (lease, keys) = self
            .reading(move |keyspace| Ok((keyspace.lease(id)?, if keys { keyspace.lease_keys(id)? } else { vec![] })))
            .await?;
        Ok(Response::new(LeaseTimeToLiveResponse {
            header: self.header_now(),
            id,
            ttl: signed(remaining.as_secs()),
            granted_ttl: lease.map_or(0, |lease| signed(lease.ttl_seconds)),
            keys,
        }))
    }

    async fn lease_leases(&self, _: Request<LeaseLeasesRequest>) -> Result<Response<LeaseLeasesResponse>, Status> {
        let leases = self.reading(|keyspace| keyspace.leases()).await?;
        let leases = leases.into_iter().map(|lease| LeaseStatus { id: lease.id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: self.header_now(), leases }))
    }
}

impl Door {
    /// A lease that is gone is no error: its time is 0.
    async fn keep_alive(&self, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
        self.refuse_reserved_lease(id).await?;
        let ttl = match self.store.lease_keep_alive(id).await {
            // Begun anew a moment ago: a timer's fraction of a second too little or too much.
            Ok(ttl) => signed((ttl + Duration::from_millis(500)).as_secs()),
            Err(StoreError::LeaseNotFound(_)) => 0,
            Err(error) => return Err(fail::store(error)),
        };
        Ok(LeaseKeepAliveResponse { header: self.header_now(), id, ttl })
    }

    /// A number above those that the API server's leases have.
    fn random_id(&self) -> i64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        (i64::from_le_bytes(bytes) & i64::MAX) | 1 << 40
    }
}
