//! The list of cases.

mod auth;
mod cluster;
mod kubernetes;
mod kv;
mod lease;
mod maintenance;
mod range;
mod txn;
mod watch;

use std::pin::Pin;

use crate::transcript::Transcript;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a mut Transcript) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

macro_rules! cases {
    ($($module:ident: $($name:ident),+;)+) => {
        vec![$($(Case {
            name: concat!(stringify!($module), "_", stringify!($name)),
            run: |transcript| Box::pin($module::$name(transcript)),
        }),+),+]
    };
}

pub(crate) fn all() -> Vec<Case> {
    cases! {
        kv: puts, deletes, keeps, refused, too_large, compaction;
        range: bounds, sorted, sieved, revisions;
        txn: branches, compares, compare_ranges, nested, own_writes, refused;
        watch: events, resumes, compacted, many_on_one_stream, refused, fragments, progress;
        lease: life, expires, refused;
        cluster: members, refused;
        maintenance: status, hashes, snapshot;
        auth: not_enabled;
        kubernetes: writes, lists, watches, compaction, events;
    }
}
