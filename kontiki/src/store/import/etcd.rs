//! The etcd whose keys are copied, as any client of it reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use kontiki_proto::etcd::kv_client::KvClient;
use kontiki_proto::etcd::{KeyValue, RangeRequest, RangeResponse};
use tokio::sync::mpsc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::Page;
use crate::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One page at most.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Keys of one page: with etcd's largest values still a few hundred MiB.
const PAGE_KEYS: i64 = 200;
/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 30;

/// What a client shows, and whom it trusts; of no use without TLS.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) ca: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// The moment that is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) revision: u64,
    pub(super) keys: u64,
}

pub(super) struct Etcd {
    pub(super) url: String,
    client: KvClient<Channel>,
    first: Bytes,
    end: Bytes,
}

impl Etcd {
    /// The first of these that answers.
    pub(super) async fn connect(urls: &[String], access: &Access, prefix: &[u8]) -> Result<Self, Failure> {
        let mut last = Failure::from("no endpoint is named");
        for url in urls {
            match channel(url, access).await {
                Ok(channel) => {
                    let client = KvClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
                    let (first, end) = bounds(prefix);
                    return Ok(Self { url: url.clone(), client, first, end });
                }
                Err(error) => last = format!("{url}: {error}").into(),
            }
        }
        Err(last)
    }

    async fn range(&mut self, request: RangeRequest) -> Result<RangeResponse, Failure> {
        let range_end = self.end.clone();
        let answer = self.client.range(RangeRequest { range_end, ..request }).await;
        Ok(answer.map_err(|status| format!("{}: {}", self.url, status.message()))?.into_inner())
    }

    /// How many keys there are now, and the revision that is.
    pub(super) async fn look(&mut self) -> Result<Cut, Failure> {
        let request = RangeRequest { key: self.first.clone(), count_only: true, ..RangeRequest::default() };
        let answer = self.range(request).await?;
        let revision = answer.header.map(|header| header.revision).ok_or("etcd's answer has no header")?;
        Ok(Cut { revision: u64::try_from(revision)?, keys: u64::try_from(answer.count)? })
    }

    /// All keys at a revision, page by page, until the end, an error, or nobody who takes them.
    pub(super) async fn fetch(&mut self, revision: u64, pages: &mpsc::Sender<Page>) {
        let mut from = Some(self.first.clone());
        while let Some(key) = from.take() {
            let page = self.page(key, revision).await;
            let page = page.map(|(kvs, next)| {
                from = next;
                kvs
            });
            if pages.send(page).await.is_err() {
                return;
            }
        }
    }

    /// And where the next one begins.
    async fn page(&mut self, key: Bytes, revision: u64) -> Result<(Vec<KeyValue>, Option<Bytes>), Failure> {
        let revision = i64::try_from(revision)?;
        let request = RangeRequest { key, revision, limit: PAGE_KEYS, ..RangeRequest::default() };
        let answer = self.range(request).await?;
        let next = answer.kvs.last().filter(|_| answer.more).map(|last| Bytes::from([&last.key[..], &[0]].concat()));
        Ok((answer.kvs, next))
    }
}

/// First key, and the one after the last, in etcd's words: zero is the end of all keys.
fn bounds(prefix: &[u8]) -> (Bytes, Bytes) {
    let or_zero = |key: Bytes| if key.is_empty() { Bytes::from_static(&[0]) } else { key };
    (or_zero(Bytes::copy_from_slice(prefix)), or_zero(store_api::prefix_end(prefix)))
}

async fn channel(url: &str, access: &Access) -> Result<Channel, Failure> {
    let mut endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(CONNECT_TIMEOUT).timeout(PAGE_TIMEOUT);
    if url.starts_with("https://") {
        endpoint = endpoint.tls_config(tls(access)?)?;
    }
    Ok(endpoint.connect().await?)
}

fn tls(access: &Access) -> Result<ClientTlsConfig, Failure> {
    let read = |file: &Path| std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()));
    let ca = access.ca.as_deref().ok_or("an https:// endpoint wants the CA of its certificate: --cacert FILE")?;
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    if let (Some(certificate), Some(key)) = (&access.certificate, &access.key) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range() {
        let of = |prefix: &str| bounds(prefix.as_bytes());
        assert_eq!(of(""), (Bytes::from_static(&[0]), Bytes::from_static(&[0])));
        assert_eq!(of("/registry/"), ("/registry/".into(), "/registry0".into()));
    }
}
