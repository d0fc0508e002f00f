//! Auth: never enabled. Who may connect is decided by certificates, and users and roles are not kept.

use std::sync::Arc;

use kontiki_proto::etcd as pb;
use tonic::{Request, Response, Status};

use crate::errors::{self, Known};
use crate::face::Face;

pub(crate) struct AuthService(pub(crate) Arc<Face>);

/// etcd begins to count here.
const FIRST_AUTH_REVISION: u64 = 1;

type Answer<T> = Result<Response<T>, Status>;

fn refused<T>(known: Known) -> Answer<T> {
    Err(known.into())
}

fn not_kept<T>() -> Answer<T> {
    Err(Status::unimplemented("users and roles are not kept here: access is decided by client certificates"))
}

#[tonic::async_trait]
impl pb::auth_server::Auth for AuthService {
    async fn auth_enable(&self, _: Request<pb::AuthEnableRequest>) -> Answer<pb::AuthEnableResponse> {
        refused(errors::ROOT_MISSING)
    }

    async fn auth_disable(&self, _: Request<pb::AuthDisableRequest>) -> Answer<pb::AuthDisableResponse> {
        Ok(Response::new(pb::AuthDisableResponse { header: self.0.header_now() }))
    }

    async fn auth_status(&self, _: Request<pb::AuthStatusRequest>) -> Answer<pb::AuthStatusResponse> {
        let (header, auth_revision) = (self.0.header_now(), FIRST_AUTH_REVISION);
        Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision }))
    }

    async fn authenticate(&self, _: Request<pb::AuthenticateRequest>) -> Answer<pb::AuthenticateResponse> {
        refused(errors::AUTH_NOT_ENABLED)
    }

    async fn user_add(&self, _: Request<pb::AuthUserAddRequest>) -> Answer<pb::AuthUserAddResponse> {
        not_kept()
    }

    async fn user_get(&self, _: Request<pb::AuthUserGetRequest>) -> Answer<pb::AuthUserGetResponse> {
        refused(errors::USER_NOT_FOUND)
    }

    async fn user_list(&self, _: Request<pb::AuthUserListRequest>) -> Answer<pb::AuthUserListResponse> {
        Ok(Response::new(pb::AuthUserListResponse { header: self.0.header_now(), users: Vec::new() }))
    }

    async fn user_delete(&self, _: Request<pb::AuthUserDeleteRequest>) -> Answer<pb::AuthUserDeleteResponse> {
        refused(errors::USER_NOT_FOUND)
    }

    async fn user_change_password(
        &self,
        _: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Answer<pb::AuthUserChangePasswordResponse> {
        refused(errors::USER_NOT_FOUND)
    }

    async fn user_grant_role(&self, _: Request<pb::AuthUserGrantRoleRequest>) -> Answer<pb::AuthUserGrantRoleResponse> {
        refused(errors::USER_NOT_FOUND)
    }

    async fn user_revoke_role(
        &self,
        _: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Answer<pb::AuthUserRevokeRoleResponse> {
        refused(errors::USER_NOT_FOUND)
    }

    async fn role_add(&self, _: Request<pb::AuthRoleAddRequest>) -> Answer<pb::AuthRoleAddResponse> {
        not_kept()
    }

    async fn role_get(&self, _: Request<pb::AuthRoleGetRequest>) -> Answer<pb::AuthRoleGetResponse> {
        refused(errors::ROLE_NOT_FOUND)
    }

    async fn role_list(&self, _: Request<pb::AuthRoleListRequest>) -> Answer<pb::AuthRoleListResponse> {
        Ok(Response::new(pb::AuthRoleListResponse { header: self.0.header_now(), roles: Vec::new() }))
    }

    async fn role_delete(&self, _: Request<pb::AuthRoleDeleteRequest>) -> Answer<pb::AuthRoleDeleteResponse> {
        refused(errors::ROLE_NOT_FOUND)
    }

    async fn role_grant_permission(
        &self,
        _: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Answer<pb::AuthRoleGrantPermissionResponse> {
        refused(errors::ROLE_NOT_FOUND)
    }

    async fn role_revoke_permission(
        &self,
        _: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Answer<pb::AuthRoleRevokePermissionResponse> {
        refused(errors::ROLE_NOT_FOUND)
    }
}
