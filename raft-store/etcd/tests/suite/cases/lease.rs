//! Leases.

use etcd_client::{LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, WatchOptions};

use crate::transcript::Transcript;

/// An id that nobody else chooses.
const CHOSEN: i64 = 0x7000_0000_0000_0001;

impl Transcript {
    async fn grant(&mut self, ttl: i64, id: Option<i64>) -> i64 {
        let options = id.map(|id| LeaseGrantOptions::new().with_id(id));
        let result = self.client.lease_grant(ttl, options).await;
        let granted = result.as_ref().map_or(0, |answer| answer.id());
        self.outcome(&format!("grant {ttl} s"), result, |t, answer| {
            format!("{} {} for {} s{}", t.at(answer.header()), t.lease(answer.id()), answer.ttl(), answer.error())
        });
        granted
    }

    async fn time_to_live(&mut self, id: i64, keys: bool) {
        let options = keys.then(|| LeaseTimeToLiveOptions::new().with_keys());
        let result = self.client.lease_time_to_live(id, options).await;
        let what = format!("time to live of {}", self.lease(id));
        self.outcome(&what, result, |t, answer| {
            let remaining = match answer.ttl() {
                -1 => "ended".to_owned(),
                left if left <= answer.granted_ttl() && left > answer.granted_ttl() - 10 => {
                    "most of it left".to_owned()
                }
                left => format!("{left} s left"),
            };
            let mut keys: Vec<String> = answer.keys().iter().map(|key| t.name(key)).collect();
            // etcd has no order for them.
            keys.sort();
            format!("{} of {} s, keys {keys:?}", remaining, answer.granted_ttl())
        });
    }

    async fn revoke(&mut self, id: i64) {
        let result = self.client.lease_revoke(id).await;
        let what = format!("revoke {}", self.lease(id));
        self.outcome(&what, result, |t, answer| t.at(answer.header()));
    }

    async fn ours(&mut self, ids: &[i64]) {
        let leases = self.client.leases().await.expect("leases");
        let found: Vec<i64> = leases.leases().iter().map(|lease| lease.id()).filter(|id| ids.contains(id)).collect();
        let mut names: Vec<String> = found.into_iter().map(|id| self.lease(id)).collect();
        names.sort();
        self.line(format!("leases: {}", names.join(", ")));
    }
}

pub(crate) async fn life(t: &mut Transcript) {
    let one = t.grant(600, None).await;
    let two = t.grant(900, Some(CHOSEN)).await;
    t.grant(900, Some(CHOSEN)).await;
    for (name, lease) in [("a", one), ("b", one), ("c", two), ("d", one)] {
        t.put_with(name, "v", Some(PutOptions::new().with_lease(lease))).await;
    }
    t.put("d", "free").await;
    t.put_with("b", "moved", Some(PutOptions::new().with_lease(two))).await;
    t.time_to_live(one, true).await;
    t.time_to_live(two, true).await;
    t.time_to_live(two, false).await;
    t.ours(&[one, two]).await;
    let (mut keeper, mut answers) = t.client.lease_keep_alive(one).await.expect("kept alive");
    keeper.keep_alive().await.expect("sent");
    let answer = answers.message().await.expect("an answer").expect("one");
    let line = format!("kept alive {} for {} s", t.lease(answer.id()), answer.ttl());
    t.line(line);
    let mut watch = t.client.watch(t.key(""), Some(WatchOptions::new().with_prefix())).await.expect("watched");
    t.notice(&mut watch).await;
    t.revoke(two).await;
    t.events(&mut watch, 2).await;
    t.revoke(one).await;
    t.events(&mut watch, 1).await;
    t.revoke(one).await;
    t.time_to_live(one, true).await;
    t.ours(&[one, two]).await;
    t.grant(600, Some(CHOSEN)).await;
    t.revoke(CHOSEN).await;
    t.get("d").await;
}

pub(crate) async fn expires(t: &mut Transcript) {
    let short = t.grant(1, None).await;
    let mut watch = t.client.watch(t.key("a"), None).await.expect("watched");
    t.notice(&mut watch).await;
    t.put_with("a", "v", Some(PutOptions::new().with_lease(short))).await;
    t.events(&mut watch, 2).await;
    t.time_to_live(short, false).await;
    t.get("a").await;
}

pub(crate) async fn refused(t: &mut Transcript) {
    let unknown = 0x7777_7777;
    t.revoke(unknown).await;
    t.time_to_live(unknown, true).await;
    let kept = t.client.lease_keep_alive(unknown).await;
    t.outcome("keep alive", kept, |_, _| "done".into());
    t.grant(9_000_000_001, None).await;
    for ttl in [0, -5, 1, 2] {
        let granted = t.grant(ttl, None).await;
        t.revoke(granted).await;
    }
    let negative = t.grant(600, Some(-7)).await;
    t.put_with("a", "v", Some(PutOptions::new().with_lease(negative))).await;
    t.get("a").await;
    t.revoke(negative).await;
}
