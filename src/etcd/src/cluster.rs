//! The members of the cluster.

use tonic::{Request, Response, Status};

use crate::{
    Door, Member, fail,
    pb::{
        self, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
        MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
        cluster_server::Cluster,
    },
};

impl From<Member> for pb::Member {
    fn from(member: Member) -> Self {
        let Member { id, name, peer_urls, client_urls, learner: is_learner } = member;
        Self { id, name, peer_urls, client_urls, is_learner }
    }
}

#[tonic::async_trait]
impl Cluster for Door {
    async fn member_add(&self, request: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        let MemberAddRequest { peer_urls, is_learner } = request.into_inner();
        check(&peer_urls)?;
        let added = self.members.add(peer_urls, is_learner).await.map_err(fail::member)?;
        let members = self.all(true).await?;
        Ok(Response::new(MemberAddResponse { header: self.header_now(), member: Some(added.into()), members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.members.remove(request.into_inner().id).await.map_err(fail::member)?;
        Ok(Response::new(MemberRemoveResponse { members: self.all(true).await?, header: self.header_now() }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let MemberUpdateRequest { id, peer_urls } = request.into_inner();
        check(&peer_urls)?;
        self.members.update(id, peer_urls).await.map_err(fail::member)?;
        Ok(Response::new(MemberUpdateResponse { members: self.all(true).await?, header: self.header_now() }))
    }

    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        let members = self.all(request.into_inner().linearizable).await?;
        Ok(Response::new(MemberListResponse { header: self.header_now(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.members.promote(request.into_inner().id).await.map_err(fail::member)?;
        Ok(Response::new(MemberPromoteResponse { members: self.all(true).await?, header: self.header_now() }))
    }
}

impl Door {
    async fn all(&self, current: bool) -> Result<Vec<pb::Member>, Status> {
        let members = self.members.list(current).await.map_err(fail::member)?;
        Ok(members.into_iter().map(Into::into).collect())
    }
}

/// A URL as etcd takes it: scheme, host and port, nothing else.
fn check(urls: &[String]) -> Result<(), Status> {
    let valid = |url: &String| {
        url.parse::<hyper::Uri>().is_ok_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https")) && url.port_u16().is_some() && url.path().len() <= 1
        })
    };
    if !urls.is_empty() && urls.iter().all(valid) { Ok(()) } else { Err(fail::bad_member_urls()) }
}
