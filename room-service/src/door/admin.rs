//! The door of operators: `admin.v1.AdminService`. What they may do is `operators.rs`.

use std::sync::Arc;

use proto::admin::v1::{
    BanMemberRequest, BanMemberResponse, CloseRoomRequest, CloseRoomResponse, DeleteMessageRequest,
    DeleteMessageResponse, DisconnectMemberRequest, DisconnectMemberResponse, GetRoomRequest,
    GetRoomResponse, LiftBanRequest, LiftBanResponse, ListKeptOutRequest, ListKeptOutResponse,
    OpenRoomRequest, OpenRoomResponse, ReadmitMemberRequest, ReadmitMemberResponse,
    admin_service_server::AdminService,
};
use tonic::{Request, Response, Status};

use super::bearer;
use crate::Service;

/// Serves `admin.v1.AdminService`.
pub struct AdminDoor {
    service: Arc<Service>,
}

impl AdminDoor {
    /// The door of `service`.
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    /// What an operator asks for.
    fn admit<Asked>(&self, request: Request<Asked>) -> Result<Asked, Status> {
        self.service.check_operator(bearer(request.metadata().as_ref()))?;
        Ok(request.into_inner())
    }
}

type Answer<Told> = Result<Response<Told>, Status>;

#[tonic::async_trait]
impl AdminService for AdminDoor {
    async fn disconnect_member(
        &self,
        request: Request<DisconnectMemberRequest>,
    ) -> Answer<DisconnectMemberResponse> {
        Ok(Response::new(self.service.disconnect_member(self.admit(request)?).await?))
    }

    async fn readmit_member(&self, request: Request<ReadmitMemberRequest>) -> Answer<ReadmitMemberResponse> {
        Ok(Response::new(self.service.readmit_member(self.admit(request)?).await?))
    }

    async fn list_kept_out(&self, request: Request<ListKeptOutRequest>) -> Answer<ListKeptOutResponse> {
        Ok(Response::new(self.service.list_kept_out(self.admit(request)?).await?))
    }

    async fn ban_member(&self, request: Request<BanMemberRequest>) -> Answer<BanMemberResponse> {
        Ok(Response::new(self.service.ban_member(self.admit(request)?).await?))
    }

    async fn lift_ban(&self, request: Request<LiftBanRequest>) -> Answer<LiftBanResponse> {
        Ok(Response::new(self.service.lift_ban(self.admit(request)?).await?))
    }

    async fn delete_message(&self, request: Request<DeleteMessageRequest>) -> Answer<DeleteMessageResponse> {
        Ok(Response::new(self.service.delete_message(self.admit(request)?).await?))
    }

    async fn close_room(&self, request: Request<CloseRoomRequest>) -> Answer<CloseRoomResponse> {
        Ok(Response::new(self.service.close_room(self.admit(request)?).await?))
    }

    async fn open_room(&self, request: Request<OpenRoomRequest>) -> Answer<OpenRoomResponse> {
        Ok(Response::new(self.service.open_room(self.admit(request)?).await?))
    }

    async fn get_room(&self, request: Request<GetRoomRequest>) -> Answer<GetRoomResponse> {
        Ok(Response::new(self.service.get_room(self.admit(request)?).await?))
    }
}
