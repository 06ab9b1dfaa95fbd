//! What operators ask of one server.

use bytes::Bytes;
use prost::Message;
use storage::StoreError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    Door, ETCD_VERSION,
    convert::unsigned,
    door::signed,
    fail,
    pb::{
        AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeRequest, DowngradeResponse,
        HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse,
        SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse, alarm_request::AlarmAction,
        maintenance_server::Maintenance,
    },
    snapshot::{self, Hasher},
};

/// How much of a snapshot goes into one message, as in etcd.
const BLOB_BYTES: usize = 32 << 10;
/// How many messages of a snapshot wait for the client.
const BLOBS_AT_ONCE: usize = 16;

#[tonic::async_trait]
impl Maintenance for Door {
    /// Alarms are raised and taken back by the server itself: there are none to be told of, and none that can be switched.
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        if request.get_ref().action() == AlarmAction::Activate {
            return Err(Status::unimplemented("etcdserver: alarms are raised by the server alone"));
        }
        Ok(Response::new(AlarmResponse { header: self.header_now(), alarms: Vec::new() }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let size = self.reading(|keyspace| keyspace.size()).await?;
        let standing = self.members.standing();
        let members = self.members.list(false).await.map_err(fail::member)?;
        Ok(Response::new(StatusResponse {
            header: self.header_now(),
            version: ETCD_VERSION.to_owned(),
            db_size: signed(size.files),
            leader: standing.leader,
            raft_index: standing.index,
            raft_term: standing.term,
            raft_applied_index: standing.applied,
            errors: self.members.complaints(),
            db_size_in_use: signed(size.needed.min(size.files)),
            is_learner: members.iter().any(|member| member.id == standing.id && member.learner),
        }))
    }

    async fn defragment(&self, _: Request<DefragmentRequest>) -> Result<Response<DefragmentResponse>, Status> {
        self.reading(|keyspace| {
            keyspace.defragment();
            Ok(())
        })
        .await?;
        Ok(Response::new(DefragmentResponse { header: self.header_now() }))
    }

    /// Of everything that a snapshot holds.
    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let hash = self
            .reading(|keyspace| {
                let mut hasher = Hasher::default();
                snapshot::write_buckets(&keyspace.dump(), &mut hasher)?;
                Ok(hasher.sum())
            })
            .await?;
        Ok(Response::new(HashResponse { header: self.header_now(), hash }))
    }

    /// The hash that etcd has for the same history.
    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        let revision = unsigned(request.get_ref().revision);
        let (hash, current, compacted) = self
            .reading(move |keyspace| {
                let dump = keyspace.dump();
                let (current, compacted) = (dump.revision, dump.compacted);
                if revision > current {
                    return Err(StoreError::FutureRevision { requested: revision, current });
                }
                if revision > 0 && revision <= compacted {
                    return Err(StoreError::Compacted { requested: revision, compacted });
                }
                let until = if revision == 0 { current } else { revision };
                let mut hasher = Hasher::new(snapshot::KEY);
                dump.changes(until, until, |change| {
                    hasher.add(&snapshot::key(&change), &snapshot::value(change).encode_to_vec());
                    Ok::<_, StoreError>(())
                })?;
                Ok((hasher.sum(), current, compacted))
            })
            .await?;
        // Never compacted is -1, as in etcd.
        let compact_revision = if compacted == 0 { -1 } else { signed(compacted) };
        Ok(Response::new(HashKvResponse { header: self.header(current), hash, compact_revision }))
    }

    type SnapshotStream = ReceiverStream<Result<SnapshotResponse, Status>>;

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        let (blobs, stream) = mpsc::channel(BLOBS_AT_ONCE);
        let (keyspace, header) = (self.keyspace.clone(), self.header_now());
        tokio::task::spawn_blocking(move || {
            let send = |blob: Bytes, remaining_bytes: u64| {
                let response = SnapshotResponse { header, remaining_bytes, blob };
                blobs.blocking_send(Ok(response)).map_err(|_| std::io::Error::other("the client has gone away"))
            };
            if let Err(error) = snapshot::write(&keyspace, BLOB_BYTES, send) {
                tracing::warn!(%error, "a snapshot was broken off");
                // A client that has gone away needs no answer.
                let _ = blobs.blocking_send(Err(Status::unavailable(format!("etcdserver: {error}"))));
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Result<Response<MoveLeaderResponse>, Status> {
        self.members.transfer_leader(request.get_ref().target_id).await.map_err(fail::member)?;
        Ok(Response::new(MoveLeaderResponse { header: self.header_now() }))
    }

    async fn downgrade(&self, _: Request<DowngradeRequest>) -> Result<Response<DowngradeResponse>, Status> {
        Err(Status::unimplemented("etcdserver: this is no etcd that could become an older one"))
    }
}
