//! What openraft asks of the network.

use std::{future::Future, io, pin::Pin, sync::Arc};

use futures::{FutureExt, Stream, StreamExt, stream};
use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesResponse, SnapshotResponse, StreamAppendError, TransferLeaderRequest, TransferLeaderResponse,
        VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Answer, Lane, Peer, PeerError, Peers,
    link::CallError,
    message::{self, kind},
    snapshot,
};
use crate::{
    Image, Server, TypeConfig,
    types::{Append, Appended, Snapshot, Vote},
};

/// How many batches are under way to a server at once.
const WINDOW: usize = 32;

type Error = RPCError<TypeConfig>;
type Replies<'s> = Pin<Box<dyn Stream<Item = Result<Appended, Error>> + Send + 's>>;

/// Makes clients.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) peers: Arc<Peers>,
}

/// A client for one server.
pub(crate) struct Client {
    peer: Arc<Peer>,
    /// Where entries go.
    lane: Lane,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, server: &Server) -> Client {
        Client { peer: self.peers.get(target, server), lane: Lane::Wide }
    }

    async fn new_heartbeat_client(&mut self, target: u64, server: &Server) -> Client {
        Client { peer: self.peers.get(target, server), lane: Lane::Quick }
    }
}

fn unreachable(error: &PeerError) -> Error {
    Unreachable::from_string(error).into()
}

fn broken(error: &CallError) -> Error {
    NetworkError::from_string(error).into()
}

impl Client {
    /// Asks once, in JSON.
    async fn ask<T: DeserializeOwned>(&self, kind: u8, question: &impl Serialize) -> Result<T, Error> {
        let link = self.peer.link(Lane::Quick).await.map_err(|error| unreachable(&error))?;
        match link.call(kind, message::json(question)).await.map_err(|error| broken(&error))? {
            Answer::Done(body) => {
                serde_json::from_slice(&body).map_err(|error| NetworkError::from_string(error).into())
            }
            other => Err(Unreachable::from_string(format!("it answers {other:?}")).into()),
        }
    }

    async fn append<S>(&self, mut input: S) -> Result<Replies<'static>, Error>
    where
        S: Stream<Item = Append> + Send + Unpin + 'static,
    {
        let link = self.peer.link(self.lane).await.map_err(|error| unreachable(&error))?;
        let (conversation, replies) = link.stream().map_err(|error| broken(&error))?;
        let conversation = Arc::new(conversation);
        let window = Arc::new(Semaphore::new(WINDOW));
        let sending = {
            let (conversation, window) = (conversation.clone(), window.clone());
            tokio::spawn(async move {
                while let Some(append) = input.next().await {
                    // It is never closed; and each answer gives one back.
                    if let Ok(permit) = window.acquire().await {
                        permit.forget();
                    }
                    if conversation.say(kind::APPEND, message::encode_append(&append)).await.is_err() {
                        return;
                    }
                }
                // When this fails the replies end as well.
                let _ = conversation.say(kind::APPEND_END, Vec::new()).await;
            })
        };
        let sending = AbortOnDropHandle::new(sending);
        let state = Some((replies, conversation, sending, window));
        Ok(Box::pin(stream::unfold(state, |state| async move {
            let (mut replies, conversation, sending, window) = state?;
            let reply = match replies.recv().await {
                Some(frame) if frame.kind == kind::APPEND_DONE => return None,
                Some(frame) => {
                    message::decode_appended(&frame.body).map_err(|error| NetworkError::from_string(error).into())
                }
                None => Err(NetworkError::from_string(conversation.why()).into()),
            };
            window.add_permits(1);
            let more = reply.is_ok().then_some((replies, conversation, sending, window));
            Some((reply, more))
        })))
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        append: Append,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Error> {
        let last = append.entries.last().map(|entry| entry.log_id).or(append.prev_log_id);
        let mut replies = self.append(stream::iter([append])).await?;
        let reply = replies.next().await;
        Ok(match reply.ok_or_else(|| NetworkError::from_string("it was not answered"))?? {
            Ok(matching) if matching == last => AppendEntriesResponse::Success,
            Ok(matching) => AppendEntriesResponse::PartialSuccess(matching),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> futures::future::BoxFuture<'s, Result<Replies<'s>, Error>>
    where
        S: Stream<Item = Append> + OptionalSend + Unpin + 'static,
    {
        async move { self.append(input).await.map(|replies| replies as Replies<'s>) }.boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        self.ask(kind::VOTE, &request).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        self.ask(kind::PRE_VOTE, &request).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sent = tokio::select! {
            sent = snapshot::send(&self.peer, vote, snapshot) => sent,
            closed = cancel => return Err(closed.into()),
        };
        sent.map(SnapshotResponse::new).map_err(|error| {
            tracing::warn!(server = self.peer.id, %error, "a snapshot did not arrive, it will be sent again");
            // `Unreachable` waits a little before the next try.
            Unreachable::new(&io::Error::other(error.to_string())).into()
        })
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Error> {
        self.ask(kind::TRANSFER, &request).await
    }
}
