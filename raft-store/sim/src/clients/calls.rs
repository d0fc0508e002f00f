//! One call of a client, carried out on the replica it was sent to.

use std::time::Duration;

use bytes::Bytes;
use store_api::{Compare, Op, RangeRequest, ReadAt, RequestId, Store, StoreError, Txn, TxnRange, prefix_end};
use store_node::RaftStore;

use crate::checkers::watches::WATCHED;
use crate::facts::{Answer, How, What};

pub(crate) async fn perform(store: &RaftStore, client: u64, what: What) -> Answer {
    let answer = match what {
        What::Write { keys, value, expects, reads, request, lease } => {
            let compare = expects.and_then(|revision| Some(Compare::unchanged_since(keys.first()?.clone(), revision)));
            let put = |key: Bytes| Op::Put { key, value: value.clone(), lease };
            let all = |at| {
                Op::Range(TxnRange {
                    start: WATCHED.into(),
                    end: prefix_end(WATCHED),
                    at: Some(at),
                    ..TxnRange::default()
                })
            };
            let success = reads.into_iter().map(all).chain(keys.into_iter().map(put)).collect();
            write(store, client, request, Txn { compare: compare.into_iter().collect(), success, ..Txn::default() })
                .await
        }
        What::Delete { key, request } => write(store, client, request, Txn::delete(key)).await,
        What::Read { keys, how } => read(store, &keys, how).await,
        What::Grant { ttl_ms } => store.lease_grant(Duration::from_millis(ttl_ms)).await.map(Answer::Granted),
        What::Renew { lease } => store.lease_renew(lease).await.map(|_| Answer::Renewed),
        What::Compact { revision } => store.compact(revision).await.map(|()| Answer::Done),
    };
    answer.unwrap_or_else(Answer::Failed)
}

async fn write(store: &RaftStore, client: u64, request: u64, txn: Txn) -> Result<Answer, StoreError> {
    let request = Some(RequestId { client: client.into(), seq: request });
    let reply = store.txn(Txn { request, ..txn }).await?;
    Ok(Answer::Wrote { succeeded: reply.succeeded, revision: reply.revision })
}

async fn read(store: &RaftStore, keys: &[Bytes], how: How) -> Result<Answer, StoreError> {
    let at = match how {
        How::Linearizable => ReadAt::Linearizable,
        How::Local => ReadAt::Local,
        How::At(revision) => ReadAt::Revision(revision),
    };
    let [key] = keys else { return read_all(store, keys, at).await };
    let reply = store.get(key, at).await?;
    Ok(Answer::Read { revision: reply.revision, found: vec![reply.kv.map(|kv| (kv.value, kv.mod_revision))] })
}

/// Keys of one prefix.
async fn read_all(store: &RaftStore, keys: &[Bytes], at: ReadAt) -> Result<Answer, StoreError> {
    let reply = store.range(RangeRequest::prefix(b"p/", at)).await?;
    let find = |key: &Bytes| {
        let kv = reply.kvs.iter().find(|kv| kv.key == *key)?;
        Some((kv.value.clone(), kv.mod_revision))
    };
    Ok(Answer::Read { revision: reply.revision, found: keys.iter().map(find).collect() })
}
