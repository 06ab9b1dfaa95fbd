//! Users and roles: there are none. Who may come in is told by client certificates.

use tonic::{Request, Response, Status};

use crate::{
    Door, fail,
    pb::{AuthRequest, AuthResponse, AuthStatusResponse, auth_server::Auth},
};

macro_rules! not_enabled {
    ($($method:ident)*) => {
        #[tonic::async_trait]
        impl Auth for Door {
            async fn auth_status(&self, _: Request<AuthRequest>) -> Result<Response<AuthStatusResponse>, Status> {
                let header = self.header_now();
                Ok(Response::new(AuthStatusResponse { header, enabled: false, auth_revision: 1 }))
            }

            /// It is not enabled, so there is nothing to do.
            async fn auth_disable(&self, _: Request<AuthRequest>) -> Result<Response<AuthResponse>, Status> {
                Ok(Response::new(AuthResponse { header: self.header_now() }))
            }

            $(async fn $method(&self, _: Request<AuthRequest>) -> Result<Response<AuthResponse>, Status> {
                Err(fail::authentication_not_enabled())
            })*
        }
    };
}

not_enabled! {
    auth_enable authenticate user_add user_get user_list user_delete user_change_password user_grant_role
    user_revoke_role role_add role_get role_list role_delete role_grant_permission role_revoke_permission
}
