//! KV: requests become transactions and reads of the store.

mod check;
mod convert;
mod range;
mod txn;

use std::sync::Arc;

use kontiki_proto::etcd as pb;
use prost::Message;
use store_api::{OpReply, RangeReply, ReadAt, Revision, StoreError, Txn, TxnReply};
use tonic::{Request, Response, Status};

pub(crate) use convert::{end_of, key_value};

use crate::errors::{self, from_store};
use crate::face::{Face, given, signed};
use crate::limits::MAX_REQUEST_BYTES;

pub(crate) struct KvService(pub(crate) Arc<Face>);

impl KvService {
    /// Checks what every write is checked for, and gives the request away.
    fn admit_write<T: Message>(&self, request: Request<T>) -> Result<T, Status> {
        self.0.admit(&request)?;
        let request = request.into_inner();
        match request.encoded_len() > MAX_REQUEST_BYTES {
            true => Err(errors::REQUEST_TOO_LARGE.into()),
            false => Ok(request),
        }
    }

    async fn run(&self, txn: Txn) -> Result<TxnReply, Status> {
        self.0.store.txn(txn).await.map_err(from_store)
    }

    /// Where to read, and the store's revision then.
    async fn read_at(&self, request: &pb::RangeRequest) -> Result<(ReadAt, Revision), StoreError> {
        let current = match request.serializable {
            true => self.0.store.applied_revision(),
            false => self.0.store.read_barrier().await?,
        };
        match given(request.revision) {
            None => Ok((ReadAt::Local, current)),
            Some(requested) if requested > current => Err(StoreError::FutureRevision { requested, current }),
            Some(requested) => Ok((ReadAt::Revision(requested), current)),
        }
    }

    async fn read(&self, request: &pb::RangeRequest) -> Result<(RangeReply, Revision), StoreError> {
        let (at, current) = self.read_at(request).await?;
        if range::is_single(request) {
            let found = self.0.store.get(&request.key, at).await?;
            let reply = range::of_single(request, found);
            return Ok((reply, current));
        }
        Ok((self.0.store.range(range::wanted(request, at)).await?, current))
    }
}

#[tonic::async_trait]
impl pb::kv_server::Kv for KvService {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        self.0.admit(&request)?;
        let request = request.into_inner();
        check::range(&request)?;
        let (reply, current) = self.read(&request).await.map_err(from_store)?;
        let current = current.max(reply.revision);
        let (count, kvs) = (reply.count, reply.kvs);
        Ok(Response::new(range::response(&request, kvs, count, self.0.header(current))))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let request = self.admit_write(request)?;
        check::put(&request)?;
        let want_previous = request.prev_kv;
        let txn = Txn { success: vec![txn::put_op(request)], want_previous, ..Txn::default() };
        let mut reply = self.run(txn).await?;
        let prev_kv = match reply.replies.pop() {
            Some(OpReply::Put { previous }) => previous.map(key_value),
            _ => None,
        };
        Ok(Response::new(pb::PutResponse { header: self.0.header(reply.revision), prev_kv }))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let request = self.admit_write(request)?;
        check::delete(&request)?;
        let want_previous = request.prev_kv;
        let txn = Txn { success: vec![txn::delete_op(&request)], want_previous, ..Txn::default() };
        let mut reply = self.run(txn).await?;
        let header = self.0.header(reply.revision);
        let response = match reply.replies.pop() {
            Some(OpReply::Deleted { count, previous }) => pb::DeleteRangeResponse {
                header,
                deleted: signed(count as u64),
                prev_kvs: previous.into_iter().map(key_value).collect(),
            },
            _ => pb::DeleteRangeResponse { header, ..pb::DeleteRangeResponse::default() },
        };
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let request = self.admit_write(request)?;
        check::txn(&request)?;
        let asked = txn::translate(&request)?;
        if asked.written_twice().is_some() {
            return Err(errors::DUPLICATE_KEY.into());
        }
        let reply = self.run(asked).await?;
        let header = self.0.header(reply.revision);
        Ok(Response::new(txn::response(&request, reply, header)))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        self.0.admit(&request)?;
        let pb::CompactionRequest { revision, physical } = request.into_inner();
        // Nothing is below it: as good as compacted.
        let revision = u64::try_from(revision).map_err(|_| Status::from(errors::COMPACTED))?;
        self.0.store.compact(revision).await.map_err(from_store)?;
        if physical {
            self.0.admin.collect_garbage().await.map_err(from_store)?;
        }
        Ok(Response::new(pb::CompactionResponse { header: self.0.header_now() }))
    }
}
