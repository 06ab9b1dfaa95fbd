//! The way in for components of the same process: a tower service that carries an identity, without socket or TLS.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use auth::UserInfo;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use tower::{BoxError, Service};

use crate::{chain, core::Core};

/// Enters the API server under one identity. `kube::Client::new(service, "default")` takes it.
#[derive(Clone, Debug)]
pub struct InProcess {
    core: Arc<Core>,
    user: UserInfo,
    agent: HeaderValue,
}

impl InProcess {
    pub(crate) fn new(core: Arc<Core>, user: UserInfo) -> Self {
        let agent = HeaderValue::from_str(&format!("{}/coracle", agent(&user.name)));
        Self { core, user, agent: agent.unwrap_or(HeaderValue::from_static("coracle")) }
    }
}

/// What owns the fields that an identity writes: all controllers are one program to whoever looks at an object.
fn agent(user: &str) -> &str {
    if user.starts_with("system:serviceaccount:kube-system:") {
        return "kube-controller-manager";
    }
    user.strip_prefix("system:node:").map_or_else(|| user.rsplit(':').next().unwrap_or(user), |_| "kubelet")
}

impl<B> Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.user.clone());
        request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| self.agent.clone());
        let core = self.core.clone();
        Box::pin(async move { Ok(chain::handle(core, request).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_are_named_by_the_program_they_are() {
        assert_eq!(agent("system:kube-scheduler"), "kube-scheduler");
        assert_eq!(agent("system:serviceaccount:kube-system:job-controller"), "kube-controller-manager");
        assert_eq!(agent("system:node:a"), "kubelet");
        assert_eq!(agent("kubernetes-admin"), "kubernetes-admin");
    }
}
