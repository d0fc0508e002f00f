//! Sealing again what was sealed otherwise: page by page, each page by itself, so that it may be broken off anywhere.

use bytes::Bytes;
use store_api::{Compare, KeyValue, Op, RangeRequest, ReadAt, StoreError, Txn};

use crate::store::{SealedStore, entropy, learn};
use crate::transformers::Transformers;

/// Keys looked at by one call.
const PAGE: usize = 200;

/// What one call came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub looked_at: usize,
    pub rewritten: usize,
    /// Keys whose values no key at hand opens; they stay as they are.
    pub unreadable: Vec<String>,
    /// Where to go on; `None`: all is done.
    pub next: Option<String>,
}

/// Looks at the objects after a key (at first: the empty one) and rewrites those that are sealed otherwise than the
/// configuration has it now. Whoever writes an object meanwhile writes it right: that one is left alone.
pub async fn rotate(store: &SealedStore, after: &str) -> Result<Page, StoreError> {
    let transformers = store.transformers();
    let mut request = RangeRequest::prefix(api_machinery::resource::REGISTRY_PREFIX.as_bytes(), ReadAt::Linearizable);
    if !after.is_empty() {
        request.start = [after.as_bytes(), &[0]].concat().into();
    }
    (request.limit, request.count) = (PAGE, false);
    let reply = store.inner().range(request).await?;
    let mut page = Page { looked_at: reply.kvs.len(), ..Page::default() };
    learn(&transformers, reply.kvs.iter()).await;
    for kv in &reply.kvs {
        rewrite(store, &transformers, kv, &mut page).await?;
    }
    let last = reply.kvs.last().filter(|_| reply.more);
    page.next = last.map(|kv| String::from_utf8_lossy(&kv.key).into_owned());
    Ok(page)
}

async fn rewrite(
    store: &SealedStore,
    transformers: &Transformers,
    kv: &KeyValue,
    page: &mut Page,
) -> Result<(), StoreError> {
    let opened = match transformers.open(&kv.key, &kv.value) {
        Some(Ok(opened)) if opened.stale => opened,
        Some(Err(_)) => {
            page.unreadable.push(String::from_utf8_lossy(&kv.key).into_owned());
            return Ok(());
        }
        _ => return Ok(()),
    };
    let sealed = match transformers.seal(&kv.key, &opened.plain, &entropy()) {
        Some(sealed) => sealed.map_err(|error| StoreError::Invalid(error.to_string()))?,
        // The configuration says now that it is not to be sealed.
        None => opened.plain,
    };
    let put = Op::Put { key: kv.key.clone(), value: Bytes::from(sealed), lease: kv.lease };
    let unchanged = Compare::unchanged_since(kv.key.clone(), kv.mod_revision);
    let txn = Txn { compare: vec![unchanged], success: vec![put], ..Txn::default() };
    page.rewritten += usize::from(store.inner().txn(txn).await?.succeeded);
    Ok(())
}

#[cfg(test)]
mod tests {
    use store_api::Store as _;
    use store_api::mem::MemStore;

    use super::*;
    use crate::transformers::tests::secrets_under;

    fn key(number: usize) -> String {
        format!("/registry/core/secrets/default/s{number:04}")
    }

    async fn prefixes(store: &SealedStore) -> Vec<String> {
        let all = RangeRequest::prefix(b"/registry/core/secrets/", ReadAt::Local);
        let kvs = store.inner().range(all).await.expect("read").kvs;
        let mut found: Vec<String> =
            kvs.iter().map(|kv| String::from_utf8_lossy(&kv.value[..kv.value.len().min(23)]).into_owned()).collect();
        found.sort();
        found.dedup();
        found
    }

    #[tokio::test]
    async fn goes_through_everything_and_may_be_broken_off() {
        const SECRETS: usize = 2 * PAGE + 50;
        let store = SealedStore::new(MemStore::new().into_dyn(), secrets_under(&["identity", "aesgcm/0"]));
        for number in 0..SECRETS {
            store.txn(Txn::put(key(number), format!("{{\"n\":{number}}}"))).await.expect("written");
        }
        store.txn(Txn::put("/registry/core/pods/default/p", "{}")).await.expect("written");
        store.set(secrets_under(&["aesgcm/0", "identity"]));
        // Broken off after the first page, and begun again from the start.
        let first = rotate(&store, "").await.expect("a page");
        assert!((first.looked_at, first.next.is_some()) == (PAGE, true) && first.rewritten >= PAGE - 1);
        let (mut after, mut rewritten) = (String::new(), first.rewritten);
        loop {
            let page = rotate(&store, &after).await.expect("a page");
            rewritten += page.rewritten;
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(rewritten, SECRETS, "each once");
        assert_eq!(prefixes(&store).await, ["k8s:enc:aesgcm:v1:key0:"]);
        let revision = store.applied_revision();
        assert_eq!(rotate(&store, "").await.expect("a page").rewritten, 0);
        assert_eq!(store.applied_revision(), revision, "nothing is written when all is right");
        let value = store.get(key(7).as_bytes(), ReadAt::Local).await.expect("read").kv.expect("there").value;
        assert_eq!(value, "{\"n\":7}");
    }

    #[tokio::test]
    async fn says_what_it_cannot_read() {
        let store = SealedStore::new(MemStore::new().into_dyn(), secrets_under(&["aesgcm/0"]));
        store.txn(Txn::put(key(1), "{}")).await.expect("written");
        store.set(secrets_under(&["aesgcm/1"]));
        let page = rotate(&store, "").await.expect("a page");
        assert_eq!((page.rewritten, page.unreadable), (0, vec![key(1)]));
    }
}
