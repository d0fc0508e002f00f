//! Ranges: bounds, limits, sorting, sieves, revisions.

use etcd_client::{GetOptions, SortOrder, SortTarget};

use crate::transcript::Transcript;

/// Keys whose orders by every target differ.
async fn fill(t: &mut Transcript) {
    for (name, value) in [("c", "1"), ("a", "3"), ("b", "2"), ("d", "0"), ("a", "9"), ("a", "4"), ("b", "5")] {
        t.put(name, value).await;
    }
}

fn prefix() -> GetOptions {
    GetOptions::new().with_prefix()
}

pub(crate) async fn bounds(t: &mut Transcript) {
    fill(t).await;
    t.get_with("by prefix", "", Some(prefix())).await;
    let to_d = t.key("d");
    t.get_with("[b, d)", "b", Some(GetOptions::new().with_range(to_d.clone()))).await;
    t.get_with("[d, d)", "d", Some(GetOptions::new().with_range(to_d.clone()))).await;
    t.get_with("[z, d)", "z", Some(GetOptions::new().with_range(to_d))).await;
    t.get_with("limit 2", "", Some(prefix().with_limit(2))).await;
    t.get_with("limit 4", "", Some(prefix().with_limit(4))).await;
    t.get_with("limit -1", "", Some(prefix().with_limit(-1))).await;
    t.get_with("keys only", "", Some(prefix().with_keys_only())).await;
    t.get_with("count only", "", Some(prefix().with_count_only())).await;
    t.get_with("count only, limit 1", "", Some(prefix().with_count_only().with_limit(1))).await;
    t.get_with("serializable", "", Some(prefix().with_serializable().with_limit(1))).await;
    let from = GetOptions::new().with_from_key().with_limit(1);
    let answer = t.client.get(t.key("d"), Some(from)).await;
    t.outcome("from d on", answer, |t, answer| t.kv(&answer.kvs()[0]));
}

pub(crate) async fn sorted(t: &mut Transcript) {
    fill(t).await;
    let targets = [
        ("key", SortTarget::Key),
        ("version", SortTarget::Version),
        ("create", SortTarget::Create),
        ("mod", SortTarget::Mod),
        ("value", SortTarget::Value),
    ];
    let orders = [("none", SortOrder::None), ("up", SortOrder::Ascend), ("down", SortOrder::Descend)];
    for (target_name, target) in targets {
        for (order_name, order) in orders {
            // Versions are alike for some, and etcd promises no order among them.
            if target_name == "version" {
                continue;
            }
            for limit in [0, 2] {
                let what = format!("by {target_name}, {order_name}, limit {limit}");
                let options = prefix().with_sort(target, order).with_limit(limit);
                t.get_with(&what, "", Some(options)).await;
            }
        }
    }
    let options = prefix().with_sort(SortTarget::Value, SortOrder::Ascend).with_keys_only();
    t.get_with("by value, keys only", "", Some(options)).await;
    let options = prefix().with_sort(SortTarget::Version, SortOrder::Descend).with_limit(1);
    t.get_with("the highest version", "", Some(options)).await;
}

pub(crate) async fn sieved(t: &mut Transcript) {
    fill(t).await;
    t.get_with("mod at least +4", "", Some(prefix().with_min_mod_revision(t.rev(4)))).await;
    t.get_with("mod at most +4", "", Some(prefix().with_max_mod_revision(t.rev(4)))).await;
    t.get_with("created at least +2", "", Some(prefix().with_min_create_revision(t.rev(2)))).await;
    t.get_with("created at most +2", "", Some(prefix().with_max_create_revision(t.rev(2)))).await;
    let both = prefix().with_min_create_revision(t.rev(2)).with_max_mod_revision(t.rev(6));
    t.get_with("both", "", Some(both.clone())).await;
    t.get_with("both, limit 1", "", Some(both.with_limit(1))).await;
    let single = GetOptions::new().with_min_mod_revision(t.rev(5));
    t.get_with("one key that is too old", "c", Some(single)).await;
}

pub(crate) async fn revisions(t: &mut Transcript) {
    fill(t).await;
    t.delete_with("delete a", "a", None).await;
    for after in 0..=8 {
        let options = prefix().with_revision(t.rev(after)).with_limit(3);
        t.get_with(&format!("at {after:+}"), "", Some(options)).await;
    }
    t.get_with("a at +6", "a", Some(GetOptions::new().with_revision(t.rev(6)))).await;
    t.get_with("a at +8", "a", Some(GetOptions::new().with_revision(t.rev(8)))).await;
    t.get_with("in the future", "a", Some(GetOptions::new().with_revision(t.rev(9)))).await;
    let local = GetOptions::new().with_revision(t.rev(9)).with_serializable();
    t.get_with("in the future, serializable", "a", Some(local)).await;
    t.get_with("at -1", "b", Some(GetOptions::new().with_revision(-1))).await;
}
