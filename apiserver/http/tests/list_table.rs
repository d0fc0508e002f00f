//! The whole tables of `resourceVersion`, `resourceVersionMatch`, `continue` and `limit` (KEP-2340, 36 rows) of lists,
//! and of `resourceVersion`, `resourceVersionMatch` and `sendInitialEvents` (27 rows) of watches, as served.
//!
//! Five objects exist. `N` is the revision at which there were three, `token` goes on after the second of those.

use crate::common::Running;
use http_body_util::BodyExt;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

const NEEDS_VERSION: &str = "422 resourceVersionMatch is forbidden unless resourceVersion is provided";
const NEEDS_VERSION_AND_NO_TOKEN: &str = "422 resourceVersionMatch is forbidden unless resourceVersion is provided; \
                                          resourceVersionMatch is forbidden when continue is provided";
const NO_TOKEN: &str = "422 resourceVersionMatch is forbidden when continue is provided";
const NOT_EXACT_ZERO: &str = "422 resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
const NOT_EXACT_ZERO_NOR_TOKEN: &str = "422 resourceVersionMatch is forbidden when continue is provided; \
                                        resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
const NO_VERSION_WITH_TOKEN: &str = "400 specifying resource version is not allowed when using continue";

/// Version, match, then what is answered: without token and limit, with a limit, with a token, with both.
const LISTS: [(&str, &str, [&str; 4]); 9] = [
    ("", "", ["5 now", "2 now, more", "1 at N", "1 at N"]),
    ("", "Exact", [NEEDS_VERSION, NEEDS_VERSION, NEEDS_VERSION_AND_NO_TOKEN, NEEDS_VERSION_AND_NO_TOKEN]),
    ("", "NotOlderThan", [NEEDS_VERSION, NEEDS_VERSION, NEEDS_VERSION_AND_NO_TOKEN, NEEDS_VERSION_AND_NO_TOKEN]),
    // What any state answers is answered whole: the limit is ignored.
    ("0", "", ["5 now", "5 now", "1 at N", "1 at N"]),
    ("0", "Exact", [NOT_EXACT_ZERO, NOT_EXACT_ZERO, NOT_EXACT_ZERO_NOR_TOKEN, NOT_EXACT_ZERO_NOR_TOKEN]),
    ("0", "NotOlderThan", ["5 now", "5 now", NO_TOKEN, NO_TOKEN]),
    // A version with a limit is exact, as it was before there was a match.
    ("N", "", ["5 now", "2 at N, more", NO_VERSION_WITH_TOKEN, NO_VERSION_WITH_TOKEN]),
    ("N", "Exact", ["3 at N", "2 at N, more", NO_TOKEN, NO_TOKEN]),
    ("N", "NotOlderThan", ["5 now", "2 now, more", NO_TOKEN, NO_TOKEN]),
];

struct State {
    server: Running,
    /// When there were three, and now.
    three: String,
    now: String,
    token: String,
}

async fn state() -> State {
    let server = Running::start().await;
    let mut versions = Vec::new();
    let mut token = String::new();
    for index in 0..5 {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{index}")}});
        let made = server.admin.post(MAPS, &map).await;
        assert_eq!(made.code, 201, "{}", made.text());
        versions.push(text(&made.json()["metadata"]["resourceVersion"]));
        if index == 2 {
            token = text(&server.admin.get(&format!("{MAPS}?limit=2")).await.json()["metadata"]["continue"]);
        }
    }
    State { three: versions[2].clone(), now: versions[4].clone(), token, server }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

impl State {
    fn version(&self, version: &str) -> String {
        if version == "N" { self.three.clone() } else { version.to_owned() }
    }

    async fn list(&self, version: &str, matched: &str, token: bool, limit: bool) -> String {
        let mut target = format!("{MAPS}?resourceVersion={}&resourceVersionMatch={matched}", self.version(version));
        if token {
            target.push_str(&format!("&continue={}", self.token));
        }
        if limit {
            target.push_str("&limit=2");
        }
        let answer = self.server.admin.get(&target).await;
        let value = answer.json();
        if answer.code != 200 {
            return refusal(u64::from(answer.code), &value);
        }
        let at = match value["metadata"]["resourceVersion"].as_str() {
            Some(at) if at == self.three => "at N",
            Some(at) if at == self.now => "now",
            other => panic!("of another time: {other:?}"),
        };
        let more = if value["metadata"].get("continue").is_some() { ", more" } else { "" };
        format!("{} {at}{more}", value["items"].as_array().map_or(0, Vec::len))
    }

    /// What a watch says in its first second: how many objects, and whether it says that these were all.
    async fn watch(&self, version: &str, matched: &str, initial: &str) -> String {
        let mut target = format!("{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1");
        target.push_str(&format!("&resourceVersion={}&resourceVersionMatch={matched}", self.version(version)));
        if !initial.is_empty() {
            target.push_str(&format!("&sendInitialEvents={initial}"));
        }
        let admin = &self.server.admin;
        let response = admin.open(true, admin.request("GET", &target, &[], "")).await;
        let code = u64::from(response.status().as_u16());
        let body = response.into_body().collect().await.expect("it ends cleanly").to_bytes();
        if code != 200 {
            return refusal(code, &serde_json::from_slice(&body).expect("a Status"));
        }
        let events: Vec<Value> =
            serde_json::Deserializer::from_slice(&body).into_iter().collect::<Result<_, _>>().expect("events");
        let added = events.iter().filter(|event| event["type"] == "ADDED").count();
        let synced = events.iter().any(|event| {
            event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
                && event["object"]["metadata"]["resourceVersion"] == self.now.as_str()
        });
        format!("{added}{}", if synced { ", all" } else { "" })
    }
}

fn refusal(code: u64, status: &Value) -> String {
    let causes = status["details"]["causes"].as_array();
    let said: Vec<&str> = match causes {
        Some(causes) => causes.iter().filter_map(|cause| cause["message"].as_str()).collect(),
        None => vec![status["message"].as_str().expect("a message")],
    };
    let said: Vec<&str> = said.iter().map(|text| text.trim_start_matches("Forbidden: ")).collect();
    format!("{code} {}", said.join("; "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_table_of_lists() {
    let state = state().await;
    let mut rows = 0;
    for (version, matched, answers) in LISTS {
        for (index, expected) in answers.into_iter().enumerate() {
            let (token, limit) = (index >= 2, index % 2 == 1);
            let found = state.list(version, matched, token, limit).await;
            assert_eq!(found, expected, "version {version:?}, match {matched:?}, token {token}, limit {limit}");
            rows += 1;
        }
    }
    assert_eq!(rows, 36);
    println!("{rows} rows of lists hold");
}

const FOR_LISTS: &str = "422 resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
const EXACT_FOR_LISTS: &str = "422 resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided; \
                               Unsupported value: \"Exact\": supported values: \"NotOlderThan\"";
const NEEDS_MATCH: &str = "422 sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
const NEEDS_OTHER_MATCH: &str = "422 sendInitialEvents requires setting resourceVersionMatch to NotOlderThan; \
                                 Unsupported value: \"Exact\": supported values: \"NotOlderThan\"";

/// Match, then what is answered: by default, with initial events, and without.
const WATCHES: [(&str, [&str; 3]); 3] = [
    ("", ["the old way", NEEDS_MATCH, NEEDS_MATCH]),
    ("Exact", [EXACT_FOR_LISTS, NEEDS_OTHER_MATCH, NEEDS_OTHER_MATCH]),
    ("NotOlderThan", [FOR_LISTS, "5, all", "changes"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_table_of_watches() {
    let state = state().await;
    let mut rows = 0;
    // What there is first without being asked, and which changes follow.
    for (version, first, changes) in [("", "5", "0"), ("0", "5", "0"), ("N", "2", "2")] {
        for (matched, answers) in WATCHES {
            for (initial, expected) in ["", "true", "false"].into_iter().zip(answers) {
                let expected = match expected {
                    "the old way" => first,
                    "changes" => changes,
                    other => other,
                };
                let found = state.watch(version, matched, initial).await;
                assert_eq!(found, expected, "version {version:?}, match {matched:?}, initial events {initial:?}");
                rows += 1;
            }
        }
    }
    assert_eq!(rows, 27);
    println!("{rows} rows of watches hold");
}
