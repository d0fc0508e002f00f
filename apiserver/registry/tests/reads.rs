//! Lists, pages and watches.

use std::time::Duration;

use crate::common::{Harness, names, next, refusal};
use api_machinery::fields::FieldSelector;
use api_machinery::labels::Selector;
use api_machinery::{Value, object};
use api_registry::{DeleteOptions, ListOptions, VersionMatch, WatchItem, WatchOptions};
use serde_json::json;

const MAPS: &str = "v1/configmaps";
const PODS: &str = "v1/pods";

fn map(name: &str, color: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"color": color}}})
}

fn labels(text: &str) -> Selector {
    Selector::parse(text).expect("a selector")
}

fn fields(text: &str) -> FieldSelector {
    FieldSelector::parse(text).expect("a selector")
}

async fn ten(h: &Harness) -> u64 {
    let mut last = 0;
    for index in 0..10 {
        let namespace = if index < 7 { "a/" } else { "a-b/" };
        let color = if index % 2 == 0 { "red" } else { "blue" };
        last = h.create(MAPS, namespace, map(&format!("m{index}"), color)).await.expect("created").revision;
    }
    last
}

#[tokio::test]
async fn lists_and_selectors() {
    let h = Harness::new().await;
    let last = ten(&h).await;
    let all = h.list(MAPS, "", ListOptions::default()).await.expect("listed");
    assert_eq!((all.objects.len(), all.revision), (10, last));
    let options = |label: &str, field: &str| ListOptions {
        label_selector: labels(label),
        field_selector: fields(field),
        ..ListOptions::default()
    };
    for (namespace, label, field, expect) in [
        ("a", "color=red", "", vec!["m0", "m2", "m4", "m6"]),
        ("a-b", "", "", vec!["m7", "m8", "m9"]),
        ("", "color in (blue)", "metadata.namespace=a-b", vec!["m7", "m9"]),
        ("a", "", "metadata.name=m3", vec!["m3"]),
        ("a", "color=red", "metadata.name=m3", vec![]),
        ("", "", "metadata.name!=m3,metadata.namespace=a", vec!["m0", "m1", "m2", "m4", "m5", "m6"]),
    ] {
        let list = h.list(MAPS, namespace, options(label, field)).await.expect("listed");
        assert_eq!(names(&list), expect, "{namespace} {label} {field}");
    }
    let refused = refusal(h.list(MAPS, "", options("", "spec.x=1")).await);
    assert_eq!(refused, "400 BadRequest: field label not supported: spec.x");
}

/// Pages are all of one revision, whatever is written between them.
#[tokio::test]
async fn pages_under_writes() {
    let h = Harness::new().await;
    let last = ten(&h).await;
    let mut options = ListOptions { limit: 3, ..ListOptions::default() };
    let (mut seen, mut remaining) = (Vec::new(), Vec::new());
    loop {
        let page = h.list(MAPS, "", options.clone()).await.expect("a page");
        assert_eq!(page.revision, last);
        seen.extend(names(&page));
        remaining.push(page.remaining);
        if page.continue_token.is_empty() {
            break;
        }
        options.continue_token = page.continue_token;
        h.create(MAPS, "a/", map(&format!("m9-{}", seen.len()), "red")).await.expect("created");
        h.delete(MAPS, "a/m5", DeleteOptions::default()).await.ok();
    }
    // The order of the store's keys: `a-b/` comes before `a/`.
    assert_eq!(seen, ["m7", "m8", "m9", "m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    assert_eq!(remaining, [Some(7), Some(4), Some(1), None]);
    // With selectors nobody knows how many remain, and pages are full.
    let options = ListOptions { limit: 2, label_selector: labels("color=blue"), ..ListOptions::default() };
    let page = h.list(MAPS, "", options.clone()).await.expect("a page");
    assert_eq!((names(&page), page.remaining), (vec!["m7".to_owned(), "m9".to_owned()], None));
    let page = h.list(MAPS, "", ListOptions { continue_token: page.continue_token, ..options }).await.expect("a page");
    assert_eq!((names(&page), page.continue_token.as_str()), (vec!["m1".to_owned(), "m3".to_owned()], ""));
}

#[tokio::test]
async fn revisions_of_lists() {
    let h = Harness::new().await;
    let last = ten(&h).await;
    let at = |version, version_match, limit| ListOptions {
        resource_version: Some(version),
        version_match,
        limit,
        ..ListOptions::default()
    };
    let exact = h.list(MAPS, "", at(5, VersionMatch::Exact, 0)).await.expect("listed");
    assert_eq!((names(&exact).len(), exact.revision), (4, 5));
    let legacy = h.list(MAPS, "", at(5, VersionMatch::Unset, 3)).await.expect("listed");
    assert_eq!((names(&legacy).len(), legacy.revision), (3, 5));
    let newer = h.list(MAPS, "", at(5, VersionMatch::NotOlderThan, 0)).await.expect("listed");
    assert_eq!((names(&newer).len(), newer.revision), (10, last));
    let any = h.list(MAPS, "", at(0, VersionMatch::Unset, 3)).await.expect("listed");
    assert_eq!(names(&any).len(), 10, "the limit is ignored, as upstream's cache does");
    let first = h.list(MAPS, "", at(last, VersionMatch::Exact, 3)).await.expect("a page");
    h.create(MAPS, "a/", map("n0", "red")).await.expect("created");
    let now = h.create(MAPS, "a/", map("n1", "red")).await.expect("created").revision;
    h.store.compact_now(now).expect("compacted");
    assert!(refusal(h.list(MAPS, "", at(5, VersionMatch::Exact, 0)).await).starts_with("410 Expired: "));
    let rest = ListOptions { continue_token: first.continue_token, ..ListOptions::default() };
    let Err(expired) = h.list(MAPS, "", rest).await else { panic!("the revision is gone") };
    assert_eq!(expired.code, 410);
    let token = expired.continue_token.clone();
    let rest = h.list(MAPS, "", ListOptions { continue_token: token, ..ListOptions::default() }).await.expect("listed");
    assert_eq!((names(&rest).len(), rest.revision), (9, now));
    let foreign = ListOptions { continue_token: "abc".to_owned(), ..ListOptions::default() };
    assert!(
        refusal(h.list(MAPS, "", foreign).await)
            .starts_with("400 BadRequest: invalid continue token: continue key is not valid")
    );
}

#[tokio::test(start_paused = true)]
async fn the_future_is_refused_after_a_while() {
    let h = Harness::new().await;
    let last = ten(&h).await;
    let options = ListOptions { resource_version: Some(last + 5), ..ListOptions::default() };
    let Err(error) = h.list(MAPS, "", options).await else { panic!("nobody knows the future") };
    let status = error.to_status();
    assert_eq!(status["code"], 504);
    assert_eq!(status["message"], format!("Timeout: Too large resource version: {}, current: {last}", last + 5));
    assert_eq!(
        status["details"],
        json!({"retryAfterSeconds": 1, "causes": [
            {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]})
    );
}

#[tokio::test]
async fn watch_from_everywhere() {
    let h = Harness::new().await;
    ten(&h).await;
    let mut from_now = h.watch(MAPS, "a-b", WatchOptions::default()).await;
    assert_eq!(next(&mut from_now).await, ["ADDED m7@9", "ADDED m8@10", "ADDED m9@11"]);
    let after = WatchOptions { resource_version: Some(9), ..WatchOptions::default() };
    let mut after = h.watch(MAPS, "", after).await;
    assert_eq!(next(&mut after).await, ["ADDED m8@10", "ADDED m9@11"]);
    let initial = WatchOptions { send_initial_events: Some(true), bookmarks: true, ..WatchOptions::default() };
    let mut initial = h.watch(MAPS, "a-b", initial).await;
    assert_eq!(next(&mut initial).await.len(), 3);
    assert_eq!(next(&mut initial).await, ["BOOKMARK @11 true"]);
    h.merge(MAPS, "a-b/m8", json!({"data": {"a": "b"}})).await.expect("patched");
    h.delete(MAPS, "a-b/m8", DeleteOptions::default()).await.expect("deleted");
    for watch in [&mut from_now, &mut after, &mut initial] {
        let mut seen = next(watch).await;
        if seen.len() < 2 {
            seen.extend(next(watch).await);
        }
        assert_eq!(seen, ["MODIFIED m8@12", "DELETED m8@13"]);
    }
}

#[tokio::test]
async fn a_watch_of_the_future_is_silent_until_then() {
    let h = Harness::new().await;
    let last = ten(&h).await;
    let options = WatchOptions { resource_version: Some(last + 1), ..WatchOptions::default() };
    let mut watch = h.watch(MAPS, "", options).await;
    h.create(MAPS, "a/", map("seen", "red")).await.expect("created");
    h.create(MAPS, "a/", map("new", "red")).await.expect("created");
    assert_eq!(next(&mut watch).await, [format!("ADDED new@{}", last + 2)]);
}

#[tokio::test]
async fn without_initial_events_there_are_only_changes() {
    for version in [None, Some(0)] {
        let h = Harness::new().await;
        ten(&h).await;
        h.get(MAPS, "a/m0").await.expect("this replica shows them all");
        let options =
            WatchOptions { send_initial_events: Some(false), resource_version: version, ..WatchOptions::default() };
        let mut watch = h.watch(MAPS, "", options).await;
        let made = h.create(MAPS, "a/", map("new", "red")).await.expect("created");
        assert_eq!(next(&mut watch).await, [format!("ADDED new@{}", made.revision)], "{version:?}");
    }
}

#[tokio::test]
async fn a_watch_may_be_meant_to_last_for_ever() {
    let h = Harness::new().await;
    ten(&h).await;
    let options = WatchOptions { timeout: Some(Duration::from_secs(i64::MAX as u64)), ..WatchOptions::default() };
    let mut watch = h.watch(MAPS, "", options).await;
    assert_eq!(next(&mut watch).await.len(), 10);
}

#[tokio::test]
async fn selectors_turn_changes_into_comings_and_goings() {
    let h = Harness::new().await;
    let red = WatchOptions { label_selector: labels("color=red"), ..WatchOptions::default() };
    let mut red = h.watch(MAPS, "", red).await;
    h.create(MAPS, "a/", map("x", "blue")).await.expect("created");
    h.merge(MAPS, "a/x", json!({"metadata": {"labels": {"color": "red"}}})).await.expect("patched");
    assert_eq!(next(&mut red).await, ["ADDED x@3"]);
    h.merge(MAPS, "a/x", json!({"data": {"a": "b"}})).await.expect("patched");
    assert_eq!(next(&mut red).await, ["MODIFIED x@4"]);
    h.merge(MAPS, "a/x", json!({"metadata": {"labels": {"color": "blue"}}, "data": null})).await.expect("patched");
    let gone = red.next().await.expect("open").remove(0);
    let WatchItem::Deleted(last) = gone else { panic!("it left") };
    // The last state that matched, with the revision at which it left.
    assert_eq!(object::label(&last.value(), "color"), Some("red"));
    assert_eq!(object::resource_version(&last.value()), "5");
    // What never matched is not seen to go.
    h.delete(MAPS, "a/x", DeleteOptions::default()).await.expect("deleted");
    h.create(MAPS, "a/", map("y", "red")).await.expect("created");
    assert_eq!(next(&mut red).await, ["ADDED y@7"]);
}

#[tokio::test]
async fn pods_of_a_node() {
    let h = Harness::new().await;
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for name in ["p", "q"] {
        h.create(PODS, "a/", pod(name)).await.expect("created");
    }
    let on = WatchOptions { field_selector: fields("spec.nodeName=n1"), ..WatchOptions::default() };
    let mut on = h.watch(PODS, "", on).await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    h.create(PODS, "a/p#binding", binding).await.expect("bound");
    assert_eq!(next(&mut on).await, ["ADDED p@4"]);
    let list = ListOptions { field_selector: fields("spec.nodeName=n1"), ..ListOptions::default() };
    assert_eq!(names(&h.list(PODS, "", list.clone()).await.expect("listed")), ["p"]);
    assert_eq!(names(&h.list(PODS, "b", list).await.expect("listed")), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_and_the_end() {
    let h = Harness::new().await;
    let last = ten(&h).await;
    let options = WatchOptions {
        resource_version: Some(last),
        bookmarks: true,
        timeout: Some(Duration::from_secs(100)),
        ..WatchOptions::default()
    };
    let began = tokio::time::Instant::now();
    let mut watch = h.watch("v1/secrets", "", options).await;
    h.create(MAPS, "a/", map("other", "red")).await.expect("created");
    // Nothing of this resource happened; the bookmark says so of the newest revision.
    assert_eq!(next(&mut watch).await, [format!("BOOKMARK @{} false", last + 1)]);
    assert_eq!(began.elapsed().as_secs(), 60);
    h.create(MAPS, "a/", map("another", "red")).await.expect("created");
    assert_eq!(next(&mut watch).await, [format!("BOOKMARK @{} false", last + 2)]);
    assert_eq!(began.elapsed().as_secs(), 98);
    assert_eq!(next(&mut watch).await, [""; 0]);
    assert_eq!(began.elapsed().as_secs(), 100);
}

#[tokio::test]
async fn a_watch_of_what_is_forgotten_says_gone() {
    let h = Harness::new().await;
    for _ in 0..3 {
        ten(&h).await;
        for index in 0..10 {
            let namespace = if index < 7 { "a" } else { "a-b" };
            h.delete(MAPS, &format!("{namespace}/m{index}"), DeleteOptions::default()).await.expect("deleted");
        }
    }
    h.store.compact_now(40).expect("compacted");
    // Another replica that starts now remembers only what the store does.
    let other = Harness::over(h.store.clone()).await;
    let old = WatchOptions { resource_version: Some(5), ..WatchOptions::default() };
    let mut old = other.watch(MAPS, "", old).await;
    assert_eq!(next(&mut old).await, ["410 Expired: too old resource version: 5 (40)"]);
    let new = WatchOptions { resource_version: Some(59), ..WatchOptions::default() };
    let mut new = other.watch(MAPS, "", new).await;
    assert_eq!(next(&mut new).await, ["DELETED m8@60", "DELETED m9@61"]);
}
