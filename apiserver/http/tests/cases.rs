//! Every measured case of a kube-apiserver v1.36 through the whole server: HTTP, admission, defaults, validation,
//! storage. `CASES_DIR` names the folder of the cases, else they are looked for beside the checkout; where they are
//! absent the test says so and passes.

#[path = "../../kinds/tests/common/measured.rs"]
mod measured;

use std::collections::BTreeMap;

use crate::common::{Answer, Running};
use api_admission::Chain;
use api_machinery::Value;
use measured::{delete, expand, folder, set, text};
use serde_json::json;

const STRATEGIC: (&str, &str) = ("content-type", "application/strategic-merge-patch+json");

/// Code, reason, and causes in order of their text.
type Outcome = (u64, String, Vec<String>);

fn outcome(code: u64, reason: &Value, causes: &Value, field: &dyn Fn(&Value) -> String) -> Outcome {
    let mut causes: Vec<String> = causes.as_array().into_iter().flatten().map(field).collect();
    causes.sort();
    (code, text(reason).to_owned(), causes)
}

fn found(answer: &Answer) -> Outcome {
    let body = if answer.code >= 400 { answer.json() } else { Value::Null };
    let text_of = |cause: &Value| format!("{} {}", text(&cause["field"]), text(&cause["reason"]));
    outcome(answer.code.into(), &body["reason"], &body["details"]["causes"], &text_of)
}

async fn server() -> Running {
    let server = Running::admitting(Chain::standard()).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t"}});
    assert_eq!(server.admin.post("/api/v1/namespaces", &namespace).await.code, 201);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    assert_eq!(server.admin.post("/api/v1/namespaces/t/serviceaccounts", &account).await.code, 201);
    server
}

fn made(case: &Value, base: &Value) -> Value {
    let mut value = base["object"].clone();
    for field in ["set", "pre"] {
        for (path, set_to) in case[field].as_object().into_iter().flatten() {
            set(&mut value, path, expand(set_to));
        }
    }
    for path in case["del"].as_array().into_iter().flatten() {
        delete(&mut value, text(path));
    }
    value
}

/// A created object is as it was measured where that is told.
fn differs(case: &Value, object: &Value) -> Option<String> {
    let pointer = |path: &str| format!("/{}", path.replace('.', "/"));
    case["expect"]["result"].as_object().into_iter().flatten().find_map(|(path, wanted)| {
        let found = match path.strip_suffix(".length") {
            Some(path) => object.pointer(&pointer(path)).and_then(Value::as_str).map(|text| text.len().into()),
            None => object.pointer(&pointer(path)).cloned(),
        };
        (found.as_ref() != Some(wanted)).then(|| format!("{path} is {found:?}, not {wanted}"))
    })
}

/// What is different from what was measured; `None` when nothing is.
async fn judge(shared: &Running, case: &Value, base: &Value) -> Option<String> {
    let causes_of = |cause: &Value| format!("{} {}", text(&cause[0]), text(&cause[1]));
    let code = case["expect"]["code"].as_u64().expect("a code");
    let wanted = outcome(code, &case["expect"]["reason"], &case["expect"]["causes"], &causes_of);
    let (path, object) = (text(&base["path"]), made(case, base));
    let answer = if case["op"] == "create" {
        shared.admin.post(&format!("{path}?dryRun=All"), &object).await
    } else {
        // What was changed is in nobody's way: a server of its own.
        let own = server().await;
        let created = own.admin.post(path, &object).await;
        if created.code != 201 {
            return Some(format!("was not made: {}", created.status()));
        }
        let target = format!("{path}/{}", text(&created.json()["metadata"]["name"]));
        let patch = expand(&case["patch"]).to_string();
        own.admin.send(true, "PATCH", &target, &[STRATEGIC], patch).await
    };
    if found(&answer) != wanted {
        return Some(format!("wanted {wanted:?}, found {:?}: {}", found(&answer), answer.status()));
    }
    if answer.code < 400 { differs(case, &answer.json()) } else { None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_through_the_whole_server() {
    let Some(folder) = folder() else { return println!("skipped: the measured cases are not here") };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a readable file");
    let bases: BTreeMap<String, Value> = serde_json::from_str(&read("bases.json")).expect("JSON");
    let shared = server().await;
    let (mut passed, mut failed) = (0, Vec::new());
    for line in read("cases.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let id = text(&case["id"]);
        match judge(&shared, &case, &bases[text(&case["resource"])]).await {
            None => passed += 1,
            Some(what) => failed.push(format!("{id} {}: {what}", text(&case["resource"]))),
        }
    }
    println!("cases: {passed} pass, {} do not", failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
