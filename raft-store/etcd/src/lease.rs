//! Lease: times to live in whole seconds.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use kontiki_proto::etcd as pb;
use store_api::StoreError;
use tonic::{Request, Response, Status, Streaming};

use crate::errors::{self, from_store};
use crate::face::{Face, signed};
use crate::limits::MAX_LEASE_TTL;
use crate::limits::TOO_LARGE;

pub(crate) struct LeaseService(pub(crate) Arc<Face>);

/// Of a lease that has ended, in the answers that have no error for it.
const ENDED: i64 = -1;

type KeptAlive = Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

/// What is granted when so many seconds are asked for.
fn granted(asked: i64, min: Duration) -> Result<Duration, Status> {
    match asked > MAX_LEASE_TTL {
        true => Err(errors::LEASE_TTL_TOO_LARGE.into()),
        false => Ok(Duration::from_secs(u64::try_from(asked).unwrap_or(0)).max(min)),
    }
}

fn seconds(ttl: Duration) -> i64 {
    signed(ttl.as_secs())
}

async fn keep_alive(face: &Face, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let ttl = match face.store.lease_renew(id.cast_unsigned()).await {
        Ok(ttl) => seconds(ttl),
        Err(StoreError::LeaseNotFound(_)) => 0,
        Err(error) => return Err(from_store(error)),
    };
    Ok(pb::LeaseKeepAliveResponse { header: face.header_now(), id, ttl })
}

#[tonic::async_trait]
impl pb::lease_server::Lease for LeaseService {
    type LeaseKeepAliveStream = KeptAlive;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        self.0.admit(&request)?;
        let pb::LeaseGrantRequest { ttl, id } = request.into_inner();
        let ttl = granted(ttl, self.0.config.min_lease_ttl)?;
        let id = self.0.store.lease_grant_as(id.cast_unsigned(), ttl).await.map_err(from_store)?;
        let (header, id, ttl) = (self.0.header_now(), id.cast_signed(), seconds(ttl));
        Ok(Response::new(pb::LeaseGrantResponse { header, id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        self.0.admit(&request)?;
        self.0.store.lease_revoke(request.get_ref().id.cast_unsigned()).await.map_err(from_store)?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: self.0.header_now() }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeptAlive>, Status> {
        self.0.admit(&request)?;
        let stopped = self.0.stop.clone().cancelled_owned();
        let state = (self.0.clone(), request.into_inner());
        let responses = stream::try_unfold(state, |(face, mut requests)| async move {
            let Some(request) = requests.message().await.map_err(|status| TOO_LARGE.status(status))? else {
                return Ok(None);
            };
            let response = keep_alive(&face, request.id).await?;
            Ok(Some((response, (face, requests))))
        });
        let responses = futures::StreamExt::take_until(responses, stopped);
        Ok(Response::new(Box::pin(responses)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        self.0.admit(&request)?;
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let found = self.0.store.lease(id.cast_unsigned()).await;
        let header = self.0.header_now();
        let response = match found {
            Ok(lease) => pb::LeaseTimeToLiveResponse {
                header,
                id,
                ttl: seconds(lease.remaining),
                granted_ttl: seconds(lease.ttl),
                keys: if keys { lease.keys } else { Vec::new() },
            },
            Err(StoreError::LeaseNotFound(_)) => {
                pb::LeaseTimeToLiveResponse { header, id, ttl: ENDED, ..Default::default() }
            }
            Err(error) => return Err(from_store(error)),
        };
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.0.admit(&request)?;
        let leases = self.0.store.leases().await.map_err(from_store)?;
        let leases = leases.into_iter().map(|id| pb::LeaseStatus { id: id.cast_signed() }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header: self.0.header_now(), leases }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_live_have_bounds() {
        let min = Duration::from_secs(2);
        let seconds = |asked| granted(asked, min).map(|ttl| ttl.as_secs()).map_err(|error| error.code());
        assert_eq!([seconds(-1), seconds(0), seconds(1), seconds(2)], [Ok(2); 4]);
        assert_eq!(seconds(60), Ok(60));
        assert_eq!(seconds(MAX_LEASE_TTL), Ok(9_000_000_000));
        assert_eq!(seconds(MAX_LEASE_TTL + 1), Err(tonic::Code::OutOfRange));
    }
}
