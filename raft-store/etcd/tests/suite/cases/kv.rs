//! Single keys: put, delete, what is refused, compaction.

use etcd_client::{CompactionOptions, DeleteOptions, GetOptions, PutOptions};

use crate::transcript::Transcript;

impl Transcript {
    pub(crate) async fn put(&mut self, name: &str, value: &str) {
        self.put_with(name, value, None).await;
    }

    pub(crate) async fn put_with(&mut self, name: &str, value: &str, options: Option<PutOptions>) {
        let result = self.client.put(self.key(name), value, options).await;
        self.outcome(&format!("put {name} {value}"), result, |t, answer| {
            let previous = answer.prev_key().map(|kv| format!(", was {}", t.kv(kv))).unwrap_or_default();
            format!("{}{previous}", t.at(answer.header()))
        });
    }

    pub(crate) async fn get(&mut self, name: &str) {
        self.get_with(&format!("get {name}"), name, None).await;
    }

    pub(crate) async fn get_with(&mut self, what: &str, name: &str, options: Option<GetOptions>) {
        let result = self.client.get(self.key(name), options).await;
        self.outcome(what, result, |t, answer| {
            let more = if answer.more() { " and more" } else { "" };
            let mut text = format!("{} {}{more}", t.at(answer.header()), answer.count());
            for kv in answer.kvs() {
                text.push_str(&format!("\n  {}", t.kv(kv)));
            }
            text
        });
    }

    pub(crate) async fn delete_with(&mut self, what: &str, name: &str, options: Option<DeleteOptions>) {
        let result = self.client.delete(self.key(name), options).await;
        self.outcome(what, result, |t, answer| {
            let mut text = format!("{} {}", t.at(answer.header()), answer.deleted());
            for kv in answer.prev_kvs() {
                text.push_str(&format!("\n  {}", t.kv(kv)));
            }
            text
        });
    }

    pub(crate) async fn compact(&mut self, revision: i64, physical: bool) {
        let options = if physical { CompactionOptions::new().with_physical() } else { CompactionOptions::new() };
        let result = self.client.compact(revision, Some(options)).await;
        let what = format!("compact {}{}", self.relative(revision), if physical { " physically" } else { "" });
        self.outcome(&what, result, |t, answer| t.at(answer.header()));
    }
}

pub(crate) async fn puts(t: &mut Transcript) {
    t.get("a").await;
    t.put("a", "1").await;
    t.get("a").await;
    t.put_with("a", "2", Some(PutOptions::new().with_prev_key())).await;
    t.put_with("b", "1", Some(PutOptions::new().with_prev_key())).await;
    t.put("a", "2").await;
    t.get("a").await;
    t.put("empty", "").await;
    t.get("empty").await;
    t.put("\0zero\0", "binary").await;
    t.get("\0zero\0").await;
    t.get_with("get a, serializable", "a", Some(GetOptions::new().with_serializable())).await;
    t.get_with("get a, keys only", "a", Some(GetOptions::new().with_keys_only())).await;
    t.get_with("get a, count only", "a", Some(GetOptions::new().with_count_only())).await;
}

pub(crate) async fn deletes(t: &mut Transcript) {
    for name in ["a", "aa", "b", "c", "d"] {
        t.put(name, "1").await;
    }
    t.delete_with("delete b", "b", None).await;
    t.delete_with("delete b again", "b", Some(DeleteOptions::new().with_prev_key())).await;
    t.delete_with("delete c, previous", "c", Some(DeleteOptions::new().with_prev_key())).await;
    let range = DeleteOptions::new().with_range(t.key("b")).with_prev_key();
    t.delete_with("delete [a, b), previous", "a", Some(range)).await;
    let backwards = DeleteOptions::new().with_range(t.key("a"));
    t.delete_with("delete [z, a)", "z", Some(backwards)).await;
    t.put("b", "again").await;
    t.get("b").await;
    t.delete_with("delete by prefix", "", Some(DeleteOptions::new().with_prefix())).await;
    t.get_with("get by prefix", "", Some(GetOptions::new().with_prefix())).await;
}

pub(crate) async fn keeps(t: &mut Transcript) {
    let lease = t.client.lease_grant(600, None).await.expect("granted").id();
    t.lease(lease);
    t.put_with("a", "", Some(PutOptions::new().with_ignore_value())).await;
    t.put_with("a", "1", Some(PutOptions::new().with_ignore_lease())).await;
    t.put_with("a", "1", Some(PutOptions::new().with_lease(lease))).await;
    t.put_with("a", "2", Some(PutOptions::new().with_ignore_lease().with_prev_key())).await;
    t.get("a").await;
    t.put_with("a", "", Some(PutOptions::new().with_ignore_value())).await;
    t.get("a").await;
    t.put_with("a", "", Some(PutOptions::new().with_ignore_value().with_lease(lease))).await;
    t.get("a").await;
    t.put_with("a", "", Some(PutOptions::new().with_ignore_value().with_ignore_lease())).await;
    t.get("a").await;
    t.put_with("a", "x", Some(PutOptions::new().with_ignore_value())).await;
    t.put_with("a", "", Some(PutOptions::new().with_ignore_lease().with_lease(lease))).await;
    t.client.lease_revoke(lease).await.expect("revoked");
    t.get("a").await;
}

pub(crate) async fn refused(t: &mut Transcript) {
    let put = t.client.put("", "v", None).await;
    t.outcome("put without a key", put, |_, _| "done".into());
    let get = t.client.get("", None).await;
    t.outcome("get without a key", get, |_, _| "done".into());
    let delete = t.client.delete("", None).await;
    t.outcome("delete without a key", delete, |_, _| "done".into());
    t.put_with("a", "v", Some(PutOptions::new().with_lease(0x7777_7777))).await;
    t.get("a").await;
}

/// One and a half MiB fit a request; a message of more than two is not even read.
pub(crate) async fn too_large(t: &mut Transcript) {
    for (what, bytes) in [("1.4 MiB", 1_468_006), ("1.6 MiB", 1_677_722), ("3 MiB", 3 << 20)] {
        let result = t.client.put(t.key("large"), vec![b'v'; bytes], None).await;
        // Numbers follow in some texts.
        let words = |text: String| text.split(" (").next().unwrap_or_default().to_owned();
        let line = match result {
            Ok(answer) => t.at(answer.header()),
            Err(error) => words(crate::transcript::refusal(&error)),
        };
        t.line(format!("put {what}: {line}"));
    }
    t.delete_with("delete", "large", None).await;
}

pub(crate) async fn compaction(t: &mut Transcript) {
    for n in 1..=5 {
        t.put("a", &n.to_string()).await;
    }
    t.delete_with("delete a", "a", None).await;
    t.put("a", "again").await;
    t.compact(t.rev(100), false).await;
    t.compact(t.rev(3), false).await;
    t.compact(t.rev(3), false).await;
    t.compact(t.rev(2), true).await;
    t.compact(-1, false).await;
    for after in 2..=7 {
        let options = GetOptions::new().with_revision(t.rev(after));
        t.get_with(&format!("get a at {after:+}"), "a", Some(options)).await;
    }
    t.compact(t.rev(6), true).await;
    let options = GetOptions::new().with_revision(t.rev(6));
    t.get_with("get a at +6", "a", Some(options)).await;
    t.get("a").await;
}
