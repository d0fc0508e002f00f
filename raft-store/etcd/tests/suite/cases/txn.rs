//! Transactions.

use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};

use crate::transcript::Transcript;

impl Transcript {
    pub(crate) async fn txn(&mut self, what: &str, txn: Txn) {
        let result = self.client.txn(txn).await;
        self.outcome(what, result, |t, answer| {
            let header = t.at(answer.header());
            format!("{header} {}", t.branch(&answer, 1))
        });
    }

    fn branch(&mut self, answer: &TxnResponse, depth: usize) -> String {
        let mut text = if answer.succeeded() { "then" } else { "else" }.to_owned();
        for response in answer.op_responses() {
            text.push_str(&format!("\n{}{}", "  ".repeat(depth), self.operation(&response, depth)));
        }
        text
    }

    fn operation(&mut self, response: &TxnOpResponse, depth: usize) -> String {
        match response {
            TxnOpResponse::Put(put) => {
                let previous = put.prev_key().map(|kv| format!(", was {}", self.kv(kv))).unwrap_or_default();
                format!("put {}{previous}", self.at(put.header()))
            }
            TxnOpResponse::Get(get) => {
                let more = if get.more() { " and more" } else { "" };
                let mut text = format!("get {} {}{more}", self.at(get.header()), get.count());
                for kv in get.kvs() {
                    text.push_str(&format!(" [{}]", self.kv(kv)));
                }
                text
            }
            TxnOpResponse::Delete(delete) => {
                let mut text = format!("delete {} {}", self.at(delete.header()), delete.deleted());
                for kv in delete.prev_kvs() {
                    text.push_str(&format!(" [{}]", self.kv(kv)));
                }
                text
            }
            TxnOpResponse::Txn(txn) => format!("txn {} {}", self.at(txn.header()), self.branch(txn, depth + 1)),
        }
    }

    pub(crate) fn put_op(&self, name: &str, value: &str) -> TxnOp {
        TxnOp::put(self.key(name), value, None)
    }

    pub(crate) fn get_op(&self, name: &str) -> TxnOp {
        TxnOp::get(self.key(name), None)
    }

    pub(crate) fn delete_op(&self, name: &str) -> TxnOp {
        TxnOp::delete(self.key(name), None)
    }

    fn all_op(&self) -> TxnOp {
        TxnOp::get(self.key(""), Some(GetOptions::new().with_prefix()))
    }

    fn exists(&self, name: &str) -> Compare {
        Compare::version(self.key(name), CompareOp::Greater, 0)
    }
}

pub(crate) async fn branches(t: &mut Transcript) {
    let txn = Txn::new().when([t.exists("a")]);
    let success = [
        TxnOp::put(t.key("a"), "2", Some(PutOptions::new().with_prev_key())),
        t.put_op("b", "2"),
        TxnOp::delete(t.key("c"), Some(DeleteOptions::new().with_prev_key())),
    ];
    let txn = txn.and_then(success).or_else([t.put_op("a", "1"), t.put_op("c", "1"), t.get_op("a")]);
    t.txn("first", txn.clone()).await;
    t.txn("second", txn.clone()).await;
    t.txn("third", txn).await;
    t.txn("nothing at all", Txn::new()).await;
    t.txn("only reads", Txn::new().and_then([t.get_op("a"), t.all_op(), t.get_op("z")])).await;
    t.txn("deletes nothing", Txn::new().and_then([t.delete_op("z"), t.get_op("a")])).await;
    let twice = Txn::new().and_then([t.delete_op("a"), t.delete_op("a"), t.get_op("a")]);
    t.txn("deletes twice", twice).await;
}

pub(crate) async fn compares(t: &mut Transcript) {
    let lease = t.client.lease_grant(600, None).await.expect("granted").id();
    t.lease(lease);
    t.put("a", "first").await;
    t.put_with("a", "m", Some(PutOptions::new().with_lease(lease))).await;
    let ops = [("=", CompareOp::Equal), ("!=", CompareOp::NotEqual), (">", CompareOp::Greater), ("<", CompareOp::Less)];
    for name in ["a", "absent"] {
        for (sign, op) in ops {
            let key = t.key(name);
            let mut compares = Vec::new();
            for n in [-1, 0, 1, 2, 3] {
                compares.push((format!("version {sign} {n}"), Compare::version(key.clone(), op, n)));
            }
            for n in [0, t.rev(0), t.rev(1), t.rev(2), t.rev(3)] {
                let at = t.relative(n);
                compares.push((format!("create {sign} {at}"), Compare::create_revision(key.clone(), op, n)));
                compares.push((format!("mod {sign} {at}"), Compare::mod_revision(key.clone(), op, n)));
            }
            for value in ["", "l", "m", "n"] {
                compares.push((format!("value {sign} {value:?}"), Compare::value(key.clone(), op, value)));
            }
            if matches!(op, CompareOp::Equal | CompareOp::NotEqual) {
                for (word, id) in [("none", 0), ("L1", lease)] {
                    compares.push((format!("lease {sign} {word}"), Compare::lease(key.clone(), op, id)));
                }
            }
            let mut holds = Vec::new();
            for (what, compare) in compares {
                if t.client.txn(Txn::new().when([compare])).await.expect("a transaction").succeeded() {
                    holds.push(what);
                }
            }
            t.line(format!("{name}: {}", holds.join(", ")));
        }
    }
    t.client.lease_revoke(lease).await.expect("revoked");
}

pub(crate) async fn compare_ranges(t: &mut Transcript) {
    for (name, value) in [("a", "same"), ("b", "same"), ("c", "other")] {
        t.put(name, value).await;
    }
    let to = |name: &str| t.key(name);
    let value = |start: &str, end: &str, op| Compare::value(to(start), op, "same").with_range(to(end));
    let created = |start: &str, end: &str, op| Compare::create_revision(to(start), op, t.rev(1)).with_range(to(end));
    let compares = [
        ("[a, c) = same", value("a", "c", CompareOp::Equal)),
        ("[a, d) = same", value("a", "d", CompareOp::Equal)),
        ("[a, d) != same", value("a", "d", CompareOp::NotEqual)),
        ("[x, z) = same", value("x", "z", CompareOp::Equal)),
        ("[x, z) != same", value("x", "z", CompareOp::NotEqual)),
        ("[c, a) = same", value("c", "a", CompareOp::Equal)),
        ("[b, d) created after +1", created("b", "d", CompareOp::Greater)),
        ("[a, d) created after +1", created("a", "d", CompareOp::Greater)),
        ("prefix created at least once", Compare::version(to(""), CompareOp::Equal, 1).with_prefix()),
        ("nothing there is at version 0", Compare::version(to("x"), CompareOp::Equal, 0).with_range(to("z"))),
    ];
    for (what, compare) in compares {
        t.txn(what, Txn::new().when([compare])).await;
    }
}

pub(crate) async fn nested(t: &mut Transcript) {
    let make = |t: &Transcript, name: &str| {
        Txn::new()
            .when([Compare::version(t.key(name), CompareOp::Equal, 0)])
            .and_then([t.put_op(name, "made"), t.get_op(name)])
            .or_else([TxnOp::delete(t.key(name), Some(DeleteOptions::new().with_prev_key()))])
    };
    let deep = Txn::new()
        .when([t.exists("a")])
        .and_then([TxnOp::txn(make(t, "b")), t.put_op("d", "then")])
        .or_else([TxnOp::txn(make(t, "c"))]);
    let txn = Txn::new().and_then([TxnOp::txn(make(t, "a")), TxnOp::txn(deep), t.all_op()]);
    t.txn("first", txn.clone()).await;
    t.txn("second", txn.clone()).await;
    t.txn("third", txn).await;
    let looks_before = Txn::new()
        .when([Compare::value(t.key("a"), CompareOp::Equal, "made")])
        .and_then([t.put_op("saw", "old")])
        .or_else([t.put_op("saw", "new")]);
    t.txn("compares look before", Txn::new().and_then([t.put_op("a", "new"), TxnOp::txn(looks_before)])).await;
}

pub(crate) async fn own_writes(t: &mut Transcript) {
    for name in ["a", "b", "c"] {
        t.put(name, "1").await;
    }
    let limited = GetOptions::new().with_prefix().with_limit(2);
    let past = GetOptions::new().with_prefix().with_revision(t.rev(2));
    let ops = [
        t.all_op(),
        t.put_op("ab", "2"),
        t.delete_op("b"),
        TxnOp::put(t.key("c"), "", Some(PutOptions::new().with_ignore_value())),
        t.all_op(),
        TxnOp::get(t.key(""), Some(limited)),
        TxnOp::get(t.key(""), Some(GetOptions::new().with_prefix().with_count_only())),
        TxnOp::get(t.key(""), Some(past)),
    ];
    t.txn("reads between writes", Txn::new().and_then(ops)).await;
}

pub(crate) async fn refused(t: &mut Transcript) {
    t.put("a", "1").await;
    let range = |t: &Transcript, start: &str, end: &str| {
        TxnOp::delete(t.key(start), Some(DeleteOptions::new().with_range(t.key(end))))
    };
    let inside = |op: TxnOp| TxnOp::txn(Txn::new().and_then([op]));
    let branches = TxnOp::txn(Txn::new().and_then([t.put_op("k", "1")]).or_else([t.put_op("k", "2")]));
    let missing = PutOptions::new().with_lease(0x7777_7777);
    let future = GetOptions::new().with_revision(t.rev(99));
    let cases = [
        ("puts twice", vec![t.put_op("k", "1"), t.put_op("k", "2")]),
        ("puts and deletes", vec![t.put_op("k", "1"), t.delete_op("k")]),
        ("deletes and puts", vec![t.delete_op("k"), t.put_op("k", "1")]),
        ("puts into what it deletes", vec![t.put_op("k", "1"), range(t, "j", "l")]),
        ("puts beside what it deletes", vec![t.put_op("l", "1"), range(t, "j", "l")]),
        ("puts twice, nested", vec![t.put_op("k", "1"), inside(t.put_op("k", "2"))]),
        ("deletes, puts nested", vec![range(t, "j", "l"), inside(t.put_op("k", "2"))]),
        ("puts the same in both branches", vec![branches]),
        (
            "a key that is not there, kept",
            vec![TxnOp::put(t.key("z"), "", Some(PutOptions::new().with_ignore_value()))],
        ),
        ("a lease that is not there", vec![t.put_op("k", "1"), TxnOp::put(t.key("l"), "1", Some(missing))]),
        ("a value where it is kept", vec![TxnOp::put(t.key("a"), "v", Some(PutOptions::new().with_ignore_value()))]),
        ("a revision to come", vec![t.put_op("k", "1"), TxnOp::get(t.key("a"), Some(future))]),
        ("no key", vec![TxnOp::put("", "v", None)]),
        ("128 operations", vec![t.get_op("a"); 128]),
        ("129 operations", vec![t.get_op("a"); 129]),
    ];
    for (what, ops) in cases {
        let before = t.client.get(t.key("x"), None).await.expect("get").header().expect("a header").revision();
        let result = t.client.txn(Txn::new().and_then(ops)).await;
        t.outcome(what, result, |_, _| "done".into());
        let after = t.client.get(t.key("x"), None).await.expect("get").header().expect("a header").revision();
        t.line(format!("  {} revisions", after - before));
    }
    let compares = vec![t.exists("a"); 129];
    let result = t.client.txn(Txn::new().when(compares)).await;
    t.outcome("129 comparisons", result, |_, _| "done".into());
    t.put("a", "2").await;
    t.compact(t.rev(3), false).await;
    let old = GetOptions::new().with_revision(t.rev(1));
    let result = t.client.txn(Txn::new().and_then([TxnOp::get(t.key("a"), Some(old))])).await;
    t.outcome("a revision that is compacted", result, |_, _| "done".into());
}
