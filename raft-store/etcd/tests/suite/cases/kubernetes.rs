//! What a kube-apiserver asks of its etcd, in the shapes in which it asks.

use etcd_client::{Compare, CompareOp, GetOptions, LeaseTimeToLiveOptions, PutOptions, Txn, TxnOp, WatchOptions};
use etcd_client::{GetResponse, WatchStream};

use crate::transcript::Transcript;

impl Transcript {
    /// Creates where nothing is expected, updates the version that was read; what is there comes with a refusal.
    fn put_if(&self, name: &str, value: &str, expected: i64) -> Txn {
        self.unchanged(name, expected).and_then([self.put_op(name, value)]).or_else([self.get_op(name)])
    }

    fn delete_if(&self, name: &str, expected: i64) -> Txn {
        self.unchanged(name, expected).and_then([self.delete_op(name)]).or_else([self.get_op(name)])
    }

    fn unchanged(&self, name: &str, expected: i64) -> Txn {
        Txn::new().when([Compare::mod_revision(self.key(name), CompareOp::Equal, expected)])
    }

    async fn list(&mut self, what: &str, from: &str, options: GetOptions) -> Option<GetResponse> {
        self.get_with(what, from, Some(options.clone())).await;
        self.client.get(self.key(from), Some(options)).await.ok()
    }

    /// A watch as the cache of an API server opens it.
    async fn follow(&mut self, name: &str, from: i64) -> WatchStream {
        let options = WatchOptions::new().with_prefix().with_prev_key().with_start_revision(from);
        self.watch(&format!("{name} from {}", self.relative(from)), name, options.with_progress_notify()).await
    }

    /// Until the client was told, by this watch or (-1) by all of the stream, that there was nothing up to a revision.
    async fn bookmark(&mut self, stream: &mut WatchStream, watch_id: i64, upto: i64) {
        loop {
            if watch_id == -1 {
                stream.request_progress().await.expect("sent");
            }
            let response = self.next(stream).await;
            assert!(response.events().is_empty() && !response.canceled(), "{response:?}");
            let told = response.header().expect("a header").revision();
            assert!(told <= upto, "nothing was written after {upto}, and {told} is told");
            if response.watch_id() == watch_id && told == upto {
                let upto = self.relative(upto);
                return self.line(format!("  watch {watch_id}: nothing else up to {upto}"));
            }
        }
    }
}

pub(crate) async fn writes(t: &mut Transcript) {
    t.txn("create", t.put_if("pods/a", "1", 0)).await;
    t.txn("create again", t.put_if("pods/a", "2", 0)).await;
    let silent = t.unchanged("pods/a", 0).and_then([t.put_op("pods/a", "2")]);
    t.txn("create again, not asking what is there", silent).await;
    t.txn("update", t.put_if("pods/a", "2", t.rev(1))).await;
    t.txn("update an old version", t.put_if("pods/a", "3", t.rev(1))).await;
    t.txn("update what is not there", t.put_if("pods/b", "1", t.rev(1))).await;
    t.txn("delete an old version", t.delete_if("pods/a", t.rev(1))).await;
    t.txn("delete", t.delete_if("pods/a", t.rev(2))).await;
    t.txn("delete again", t.delete_if("pods/a", t.rev(2))).await;
    t.txn("create anew", t.put_if("pods/a", "4", 0)).await;
    t.get_with("get", "pods/a", Some(GetOptions::new().with_limit(1))).await;
    t.get_with("get an old version", "pods/a", Some(GetOptions::new().with_limit(1).with_revision(t.rev(1)))).await;
    t.get_with("ask whether it is well", "health", None).await;
}

/// Page after page at the revision of the first one, while objects come and go.
pub(crate) async fn lists(t: &mut Transcript) {
    for name in ["nodes/z", "pods/b/1", "pods/a/1", "pods/a/2", "pods/c/1", "pods/b/2", "podsandmore/x"] {
        t.txn(&format!("create {name}"), t.put_if(name, "1", 0)).await;
    }
    let (end, revision) = (t.key("pods0"), t.rev(7));
    let page = |from: &str| (from.to_owned(), GetOptions::new().with_range(end.clone()).with_limit(2));
    let (mut from, mut options) = page("pods/");
    let mut number = 1;
    while let Some(answer) = t.list(&format!("page {number}"), &from, options).await {
        assert_eq!(answer.more(), answer.count() > answer.kvs().len() as i64);
        let Some(last) = answer.kvs().last().filter(|_| answer.more()) else { break };
        let (last, revision_of_last) = (t.name(last.key()), last.mod_revision());
        t.txn(&format!("delete {last}"), t.delete_if(&last, revision_of_last)).await;
        (from, options) = page(&format!("{last}\0"));
        (options, number) = (options.with_revision(revision), number + 1);
    }
    let prefix = || GetOptions::new().with_prefix();
    t.get_with("count", "pods/", Some(prefix().with_count_only())).await;
    t.get_with("keys", "pods/", Some(prefix().with_keys_only())).await;
    t.get_with("keys, as they were", "pods/", Some(prefix().with_keys_only().with_revision(revision))).await;
    t.get_with("more than there are", "pods/", Some(prefix().with_limit(500))).await;
    t.get_with("none", "deployments/", Some(prefix().with_limit(500))).await;
    t.get_with("in the future", "pods/", Some(prefix().with_revision(t.rev(1000)))).await;
}

pub(crate) async fn watches(t: &mut Transcript) {
    t.txn("create", t.put_if("pods/a", "1", 0)).await;
    let mut stream = t.follow("pods/", t.rev(2)).await;
    t.txn("update", t.put_if("pods/a", "2", t.rev(1))).await;
    t.txn("create another", t.put_if("pods/b", "1", 0)).await;
    t.txn("refused", t.put_if("pods/b", "2", 0)).await;
    t.txn("delete", t.delete_if("pods/a", t.rev(2))).await;
    t.txn("something else", t.put_if("nodes/a", "1", 0)).await;
    t.events(&mut stream, 3).await;
    t.line("told by itself");
    t.bookmark(&mut stream, 0, t.rev(5)).await;
    t.txn("something else again", t.put_if("nodes/a", "2", t.rev(5))).await;
    t.line("told when asked");
    t.bookmark(&mut stream, -1, t.rev(6)).await;
    t.txn("create anew", t.put_if("pods/a", "3", 0)).await;
    t.events(&mut stream, 1).await;
    let mut resumed = t.follow("pods/", t.rev(4)).await;
    t.events(&mut resumed, 2).await;
}

/// Two API servers take turns: who raises the version of a key compacts to the revision that it last saw.
pub(crate) async fn compaction(t: &mut Transcript) {
    let turn = |t: &Transcript, version: i64, revision: i64| {
        let value = t.relative(revision);
        Txn::new()
            .when([Compare::version(t.key("compact_rev_key"), CompareOp::Equal, version)])
            .and_then([t.put_op("compact_rev_key", &value)])
            .or_else([t.get_op("compact_rev_key")])
    };
    t.txn("the first begins", turn(t, 0, 0)).await;
    t.txn("the second comes too late", turn(t, 0, 0)).await;
    for n in 1..=3 {
        t.put("pods/a", &n.to_string()).await;
    }
    t.txn("the first's turn", turn(t, 1, t.rev(2))).await;
    t.compact(t.rev(2), false).await;
    t.txn("the second comes too late again", turn(t, 1, t.rev(2))).await;
    t.txn("the second's turn", turn(t, 2, t.rev(4))).await;
    t.compact(t.rev(4), false).await;
    t.get_with("a list that is too old", "pods/", Some(GetOptions::new().with_prefix().with_revision(t.rev(3)))).await;
    t.get_with("the oldest", "pods/", Some(GetOptions::new().with_prefix().with_revision(t.rev(4)))).await;
    let mut old = t.follow("pods/", t.rev(3)).await;
    t.notice(&mut old).await;
    let mut oldest = t.follow("pods/", t.rev(5)).await;
    t.put("pods/a", "4").await;
    t.events(&mut oldest, 1).await;
}

/// Events share leases.
pub(crate) async fn events(t: &mut Transcript) {
    let lease = t.client.lease_grant(3600, None).await.expect("granted").id();
    t.lease(lease);
    for name in ["events/a", "events/b"] {
        let put = TxnOp::put(t.key(name), "1", Some(PutOptions::new().with_lease(lease)));
        t.txn(&format!("create {name}"), t.unchanged(name, 0).and_then([put]).or_else([t.get_op(name)])).await;
    }
    t.get("events/b").await;
    let keys = LeaseTimeToLiveOptions::new().with_keys();
    let info = t.client.lease_time_to_live(lease, Some(keys)).await.expect("a lease");
    let mut names: Vec<String> = info.keys().iter().map(|key| t.name(key)).collect();
    names.sort();
    t.line(format!("the lease of {names:?} lasts {} s", info.granted_ttl()));
    t.txn("delete one", t.delete_if("events/a", t.rev(1))).await;
    let mut stream = t.follow("events/", t.rev(2)).await;
    t.client.lease_revoke(lease).await.expect("revoked");
    t.events(&mut stream, 3).await;
}
