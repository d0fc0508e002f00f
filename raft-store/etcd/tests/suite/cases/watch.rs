//! Watches.

use etcd_client::{PutOptions, Txn, TxnOp, WatchFilterType, WatchOptions, WatchStream};

use crate::transcript::Transcript;

fn prefix() -> WatchOptions {
    WatchOptions::new().with_prefix()
}

impl Transcript {
    pub(crate) async fn watch(&mut self, what: &str, name: &str, options: WatchOptions) -> WatchStream {
        let mut stream = self.client.watch(self.key(name), Some(options)).await.expect("a stream");
        self.line(format!("watch {what}"));
        self.notice(&mut stream).await;
        stream
    }

    /// Puts, updates, deletes, a transaction: events at +1 to +5.
    async fn write(&mut self) {
        self.put("a", "1").await;
        self.put("a", "2").await;
        self.put("b", "1").await;
        let ops = [TxnOp::delete(self.key("a"), None), TxnOp::put(self.key("c"), "4", None)];
        self.client.txn(Txn::new().and_then(ops)).await.expect("a transaction");
        self.delete_with("delete b", "b", None).await;
    }
}

pub(crate) async fn events(t: &mut Transcript) {
    let from_now = prefix();
    let mut plain = t.watch("the prefix", "", from_now.clone()).await;
    let mut previous = t.watch("the prefix, previous", "", from_now.clone().with_prev_key()).await;
    let mut one = t.watch("b alone", "b", WatchOptions::new()).await;
    let to_c = t.key("c");
    let mut range = t.watch("[a, c)", "a", WatchOptions::new().with_range(to_c)).await;
    let no_puts = from_now.clone().with_filters([WatchFilterType::NoPut]);
    let mut deletes = t.watch("deletes", "", no_puts).await;
    let no_deletes = from_now.with_filters([WatchFilterType::NoDelete]);
    let mut puts = t.watch("puts", "", no_deletes).await;
    t.write().await;
    for (what, stream, count) in [
        ("the prefix", &mut plain, 6),
        ("the prefix, previous", &mut previous, 6),
        ("b alone", &mut one, 2),
        ("[a, c)", &mut range, 5),
        ("deletes", &mut deletes, 2),
        ("puts", &mut puts, 4),
    ] {
        t.line(format!("told of {what}"));
        t.events(stream, count).await;
    }
}

pub(crate) async fn resumes(t: &mut Transcript) {
    t.write().await;
    for (after, count) in [(1, 6), (3, 4), (4, 3), (5, 1)] {
        let options = prefix().with_start_revision(t.rev(after)).with_prev_key();
        let mut stream = t.watch(&format!("from {after:+}"), "", options).await;
        t.events(&mut stream, count).await;
    }
    let mut future = t.watch("from +8", "", prefix().with_start_revision(t.rev(8))).await;
    for n in 6..=8 {
        t.put("d", &n.to_string()).await;
    }
    t.events(&mut future, 1).await;
}

pub(crate) async fn compacted(t: &mut Transcript) {
    t.write().await;
    t.compact(t.rev(4), false).await;
    for after in [1, 3] {
        let options = prefix().with_start_revision(t.rev(after));
        let mut stream = t.watch(&format!("from {after:+}"), "", options).await;
        t.notice(&mut stream).await;
    }
    let mut stream = t.watch("from +4", "", prefix().with_start_revision(t.rev(4))).await;
    t.events(&mut stream, 3).await;
    t.compact(t.rev(5), true).await;
    let mut stream = t.watch("from +5", "", prefix().with_start_revision(t.rev(5))).await;
    t.events(&mut stream, 1).await;
}

pub(crate) async fn many_on_one_stream(t: &mut Transcript) {
    let mut stream = t.watch("a", "a", WatchOptions::new()).await;
    let (b, c, d) = (t.key("b"), t.key("c"), t.key("d"));
    stream.watch(b.clone(), None).await.expect("sent");
    t.notice(&mut stream).await;
    stream.watch(c, Some(WatchOptions::new().with_watch_id(7))).await.expect("sent");
    t.notice(&mut stream).await;
    stream.watch(d, None).await.expect("sent");
    t.notice(&mut stream).await;
    t.line("an id that is taken");
    stream.watch(b, Some(WatchOptions::new().with_watch_id(7))).await.expect("sent");
    t.notice(&mut stream).await;
    for name in ["a", "b", "c", "d"] {
        t.put(name, "1").await;
        t.events(&mut stream, 1).await;
    }
    t.line("cancel 1, and 1 again");
    stream.cancel(1).await.expect("sent");
    t.notice(&mut stream).await;
    stream.cancel(1).await.expect("sent");
    t.put("b", "2").await;
    t.put("c", "2").await;
    t.events(&mut stream, 1).await;
    t.line("an id that is free again");
    let b = t.key("b");
    stream.watch(b, Some(WatchOptions::new().with_watch_id(1))).await.expect("sent");
    t.notice(&mut stream).await;
    t.put("b", "3").await;
    t.events(&mut stream, 1).await;
}

pub(crate) async fn refused(t: &mut Transcript) {
    let to_a = t.key("a");
    let mut stream = t.watch("[b, a)", "b", WatchOptions::new().with_range(to_a)).await;
    t.line("the stream goes on");
    let a = t.key("a");
    stream.watch(a, None).await.expect("sent");
    t.notice(&mut stream).await;
    t.put("a", "1").await;
    t.events(&mut stream, 1).await;
}

/// One revision whose events, with what was before, are larger than a message.
pub(crate) async fn fragments(t: &mut Transcript) {
    let value = |letter: u8| vec![letter; 140_000];
    let write = |t: &Transcript, letter| {
        let ops: Vec<TxnOp> = (0..10).map(|n| TxnOp::put(t.key(&n.to_string()), value(letter), None)).collect();
        Txn::new().and_then(ops)
    };
    t.client.txn(write(t, b'a')).await.expect("a transaction");
    t.client.txn(write(t, b'b')).await.expect("a transaction");
    let options = prefix().with_prev_key().with_fragment().with_start_revision(t.rev(2));
    let mut stream = t.watch("in fragments", "", options).await;
    t.events(&mut stream, 10).await;
    t.delete_with("delete", "", Some(etcd_client::DeleteOptions::new().with_prefix())).await;
}

pub(crate) async fn progress(t: &mut Transcript) {
    let mut stream = t.watch("a", "a", WatchOptions::new()).await;
    t.put("a", "1").await;
    t.events(&mut stream, 1).await;
    t.put_with("b", "1", Some(PutOptions::new())).await;
    // The question is answered when every watch of the stream is as far as the store.
    let mut told = t.rev(0);
    while told < t.rev(2) {
        stream.request_progress().await.expect("sent");
        let response = t.next(&mut stream).await;
        assert!(response.events().is_empty() && response.watch_id() == -1, "{response:?}");
        told = response.header().expect("a header").revision();
    }
    t.line(format!("all was told up to {}", t.relative(told)));
}
