//! The API over real connections: verbs, shapes, discovery, identity, watches, the stop.

use std::time::Duration;

use crate::common::{Answer, Client, Running, pod};
use api_admission::Chain;
use base64::Engine;
use futures::StreamExt;
use http::HeaderValue;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pki::authority::Authority;
use serde_json::{Value, json};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const PODS: &str = "/api/v1/namespaces/default/pods";
const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbs_and_shapes() {
    let server = Running::start().await;
    let admin = &server.admin;

    let created = admin.post(PODS, &pod("a")).await;
    assert_eq!(created.code, 201, "{}", created.text());
    assert_eq!(created.json()["metadata"]["namespace"], "default");
    assert_eq!(created.header("cache-control"), "no-cache, private");
    assert!(!created.header("audit-id").is_empty());
    assert_eq!(admin.post(PODS, &pod("a")).await.status(), "409 AlreadyExists: pods \"a\" already exists");
    assert_eq!(admin.post(PODS, &pod("b")).await.code, 201);

    let got = admin.get(&format!("{PODS}/a")).await;
    assert_eq!((got.code, &got.json()["kind"], &got.json()["apiVersion"]), (200, &json!("Pod"), &json!("v1")));
    assert_eq!(got.json()["metadata"]["resourceVersion"], created.json()["metadata"]["resourceVersion"]);

    let list = admin.get(PODS).await;
    let value = list.json();
    assert_eq!((&value["kind"], value["items"].as_array().map(Vec::len)), (&json!("PodList"), Some(2)));
    assert!(value["items"][0].get("kind").is_none() && value["items"][0]["metadata"]["name"] == "a", "{value}");
    assert_eq!(list.header("content-length"), list.body.len().to_string());
    let selected =
        admin.get("/api/v1/pods?labelSelector=app%3Db&fieldSelector=metadata.namespace%3Ddefault").await.json();
    assert_eq!(selected["items"][0]["metadata"]["name"], "b");
    assert_eq!(selected["items"].as_array().map(Vec::len), Some(1));

    let first = admin.get(&format!("{PODS}?limit=1")).await.json();
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let second = admin.get(&format!("{PODS}?limit=1&continue={token}")).await.json();
    assert_eq!((&second["items"][0]["metadata"]["name"], second["metadata"].get("continue")), (&json!("b"), None));

    let table = admin.with(PODS, &[TABLE]).await.json();
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(&columns[..5], ["Name", "Ready", "Status", "Restarts", "Age"]);
    assert_eq!(table["rows"][0]["cells"].as_array().map(Vec::len), Some(columns.len()));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(admin.post(deployments, &deployment).await.code, 201);
    let scale = admin.with(&format!("{deployments}/d/scale"), &[TABLE]).await.json();
    assert_eq!((&scale["kind"], &scale["rows"][0]["cells"][1]), (&json!("Table"), &json!(3)), "{scale}");
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = admin.with(PODS, &[("accept", partial)]).await.json();
    assert_eq!((&partial["kind"], partial["items"][0].get("spec")), (&json!("PartialObjectMetadataList"), None));

    let yaml = admin.with(&format!("{PODS}/a"), &[("accept", "application/yaml")]).await;
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(yaml.text().contains("\nkind: Pod\n"), "{}", yaml.text());
    let pretty = admin.get(&format!("{PODS}/a?pretty=true")).await;
    assert!(pretty.text().starts_with("{\n  \"apiVersion\""), "{}", pretty.text());

    let patch = [("content-type", "application/strategic-merge-patch+json")];
    let patched = admin.send(true, "PATCH", &format!("{PODS}/a"), &patch, r#"{"metadata":{"labels":{"x":"y"}}}"#).await;
    assert_eq!((patched.code, &patched.json()["metadata"]["labels"]["x"]), (200, &json!("y")));
    let mut value = patched.json();
    value["metadata"]["labels"]["x"] = json!("z");
    let put = admin.send(true, "PUT", &format!("{PODS}/a"), &[], value.to_string()).await;
    assert_eq!((put.code, &put.json()["metadata"]["labels"]["x"]), (200, &json!("z")), "{}", put.text());
    let stale = admin.send(true, "PUT", &format!("{PODS}/a"), &[], value.to_string()).await;
    assert!(
        stale.status().starts_with("409 Conflict: Operation cannot be fulfilled on pods \"a\""),
        "{}",
        stale.status()
    );

    let body = r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}"#;
    let deleted = admin.send(true, "DELETE", &format!("{PODS}/a"), &[], body).await;
    assert_eq!(deleted.code, 200, "{}", deleted.text());
    assert_eq!(admin.get(&format!("{PODS}/a")).await.status(), "404 NotFound: pods \"a\" not found");
    assert_eq!(admin.send(true, "DELETE", &format!("{PODS}?gracePeriodSeconds=0"), &[], "").await.code, 200);
    assert_eq!(admin.get(PODS).await.json()["items"], json!([]));

    // What waits for its dependents is still there: 202 says so, where that was asked for.
    for (name, options, code) in [
        ("c", "propagationPolicy=Foreground", 202),
        ("d", "orphanDependents=false", 202),
        ("e", "propagationPolicy=Background", 200),
        ("f", "gracePeriodSeconds=0&orphanDependents=false", 200),
    ] {
        assert_eq!(admin.post(PODS, &pod(name)).await.code, 201);
        let patch = r#"{"metadata":{"finalizers":["example.com/wait"]}}"#;
        if code == 202 {
            assert_eq!(
                admin
                    .send(
                        true,
                        "PATCH",
                        &format!("{PODS}/{name}"),
                        &[("content-type", "application/merge-patch+json")],
                        patch
                    )
                    .await
                    .code,
                200
            );
        }
        let deleted = admin.send(true, "DELETE", &format!("{PODS}/{name}?{options}"), &[], "").await;
        assert_eq!(deleted.code, code, "{options}: {}", deleted.text());
    }

    for (target, code) in [("/api/v1/endpoints", 200), ("/api/v1/namespaces/default/endpoints/none", 404)] {
        let old = admin.get(target).await;
        let warning = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
        assert_eq!((old.code, old.header("warning")), (code, warning), "{target}");
    }
    assert_eq!(admin.get(PODS).await.header("warning"), "");

    for (target, code) in [("/api/v1/namespaces/default", 405), ("/api/v1/nothing/x", 404), ("/version", 200)] {
        let head = admin.send(false, "HEAD", target, &[], "").await;
        assert_eq!((head.code, head.body.len()), (code, 0), "{target}");
    }
}

/// The texts of all `Warning` headers.
fn warnings(answer: &Answer) -> Vec<String> {
    let text = |value: &HeaderValue| {
        let value = value.to_str().expect("ASCII");
        let text = value.strip_prefix("299 - \"").and_then(|text| text.strip_suffix('"')).expect("a text in quotes");
        text.replace("\\\"", "\"")
    };
    answer.headers.get_all("warning").iter().map(text).collect()
}

/// What was found until something is refused is told with the refusal, in the order in which it was found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_come_with_warnings() {
    let server = Running::admitting(Chain::standard()).await;
    let admin = &server.admin;
    let labels = json!({"pod-security.kubernetes.io/warn": "baseline"});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "w", "labels": labels}});
    assert_eq!(admin.post("/api/v1/namespaces", &namespace).await.code, 201);
    let env = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    let pods = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "env": env}]});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pods});
    let deployment = |replicas: i32, version: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "resourceVersion": version},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template}, "speck": {}})
    };
    let at = "/apis/apps/v1/namespaces/w/deployments";
    let place = format!("{at}/d");
    let put = async |body: Value| admin.send(true, "PUT", &place, &[], body.to_string()).await;
    let unknown = r#"unknown field "speck""#;
    let all = [
        unknown,
        r#"spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply"#,
        r#"would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)"#,
    ];
    let said = |answer: &Answer| (answer.code, warnings(answer));
    let told = |code: u16, texts: &[&str]| (code, texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());

    let strict = admin.post(&format!("{at}?fieldValidation=Strict"), &deployment(1, "")).await;
    assert_eq!(said(&strict), told(400, &[]));
    assert_eq!(said(&admin.post(at, &deployment(-1, "")).await), told(422, &[unknown]), "not valid");
    assert_eq!(said(&admin.post(at, &deployment(1, "")).await), told(201, &all));
    assert_eq!(said(&admin.post(at, &deployment(1, "")).await), told(409, &all), "is there");
    assert_eq!(said(&put(deployment(1, "1")).await), told(409, &[unknown]), "of another version");
    assert_eq!(said(&put(deployment(-1, "")).await), told(422, &[unknown]), "not valid");
    let merge = [("content-type", "application/merge-patch+json")];
    let patched = admin.send(true, "PATCH", &place, &merge, r#"{"speck":1,"spec":{"replicas":-1}}"#).await;
    assert_eq!(said(&patched), told(422, &[unknown]), "not valid");

    let old = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "A_"}, "speck": {}});
    let deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
    let answer = admin.post("/api/v1/namespaces/w/endpoints", &old).await;
    assert_eq!(said(&answer), told(422, &[deprecated, unknown]));
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {},
        "speck": {}});
    let answer = admin.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
    assert_eq!(said(&answer), told(422, &[unknown]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_expired_says_where_to_go_on() {
    let server = Running::start().await;
    let admin = &server.admin;
    for name in ["a", "b", "c"] {
        assert_eq!(admin.post(PODS, &pod(name)).await.code, 201);
    }
    let first = admin.get(&format!("{PODS}?limit=1")).await.json();
    let token = first["metadata"]["continue"].as_str().expect("a token");
    assert_eq!(admin.post(PODS, &pod("d")).await.code, 201);
    server.store.compact_now(server.registry.store.applied_revision()).expect("compacted");
    let gone = admin.get(&format!("{PODS}?limit=1&continue={token}")).await;
    assert!(gone.status().starts_with("410 Expired: The provided continue parameter is too old"), "{}", gone.text());
    let status = gone.json();
    let token = status["metadata"]["continue"].as_str().expect("a token to go on with");
    let rest = admin.get(&format!("{PODS}?continue={token}")).await.json();
    let names: Vec<&Value> =
        rest["items"].as_array().expect("items").iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["b", "c", "d"]);
    assert_eq!(status.get("details"), None, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_versions_of_stored_objects() {
    let server = Running::start().await;
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i", "action": "a",
        "reason": "r", "note": "hello", "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}});
    let created = server.admin.post("/apis/events.k8s.io/v1/namespaces/default/events", &event).await;
    assert_eq!((created.code, &created.json()["note"]), (201, &json!("hello")), "{}", created.text());
    let core = server.admin.get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp").await.json();
    assert_eq!(core["items"][0]["message"], "hello");
    let new = server.admin.get("/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dp").await.json();
    assert_eq!((&new["kind"], &new["items"][0]["regarding"]["name"]), (&json!("EventList"), &json!("p")));
    let table = server.admin.with("/apis/events.k8s.io/v1/events", &[TABLE]).await.json();
    assert!(table["rows"][0]["cells"].as_array().is_some_and(|cells| cells.contains(&json!("hello"))), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_are_switched_on() {
    const EARLY: &str = "/apis/networking.k8s.io/v1beta1/servicecidrs";
    const STABLE: &str = "/apis/networking.k8s.io/v1/servicecidrs";
    let range = json!({"metadata": {"name": "r"}, "spec": {"cidrs": ["10.9.0.0/24"]}});
    let server = Running::start().await;
    assert_eq!(server.admin.post(EARLY, &range).await.code, 404);

    let server = Running::serving("networking.k8s.io/v1beta1=true").await;
    let admin = &server.admin;
    let made = admin.post(EARLY, &range).await;
    assert_eq!((made.code, &made.json()["apiVersion"]), (201, &json!("networking.k8s.io/v1beta1")), "{}", made.text());
    let stable = admin.get(&format!("{STABLE}/r")).await.json();
    assert_eq!((&stable["apiVersion"], &stable["spec"]), (&json!("networking.k8s.io/v1"), &range["spec"]));
    let list = admin.get(EARLY).await.json();
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["metadata"]["name"]),
        (&json!("networking.k8s.io/v1beta1"), &json!("r"))
    );
    let patch = json!({"metadata": {"labels": {"a": "b"}}}).to_string();
    let headers = [("content-type", "application/merge-patch+json")];
    let patched = admin.send(true, "PATCH", &format!("{EARLY}/r"), &headers, patch).await.json();
    assert_eq!(
        (&patched["apiVersion"], &patched["metadata"]["labels"]["a"]),
        (&json!("networking.k8s.io/v1beta1"), &json!("b"))
    );
    let mut lines = watch(admin, &format!("{EARLY}?watch=1"), &[]).await;
    assert_eq!(lines.next().await.expect("ADDED")["object"]["apiVersion"], "networking.k8s.io/v1beta1");
    let group = admin.get("/apis/networking.k8s.io").await.json();
    assert_eq!(
        (&group["versions"][1]["version"], &group["preferredVersion"]["version"]),
        (&json!("v1beta1"), &json!("v1"))
    );
    let documents = admin.get("/openapi/v3").await.json();
    assert!(documents["paths"].get("apis/networking.k8s.io/v1beta1").is_some());
    let wrong = json!({"metadata": {"name": "w"}, "spec": {"cidrs": ["x"]}});
    assert_eq!(admin.post(EARLY, &wrong).await.code, 422);
}

/// Reads JSON lines of a watch.
struct Lines(Incoming, Vec<u8>);
impl Lines {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.1.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.1.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a JSON line"));
            }
            let frame =
                tokio::time::timeout(Duration::from_secs(20), self.0.frame()).await.expect("a frame in time")?;
            self.1.extend_from_slice(&frame.expect("a good frame").into_data().expect("data"));
        }
    }
}

async fn watch(client: &Client, target: &str, headers: &[(&str, &str)]) -> Lines {
    let response = client.open(true, client.request("GET", target, headers, "")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    Lines(response.into_body(), Vec::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches() {
    let server = Running::start().await;
    let admin = &server.admin;
    admin.post(PODS, &pod("a")).await;
    let list = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut lines = watch(admin, &format!("{PODS}?{list}"), &[]).await;
    let added = lines.next().await.expect("the initial event");
    assert_eq!(
        (&added["type"], &added["object"]["kind"], &added["object"]["metadata"]["name"]),
        (&json!("ADDED"), &json!("Pod"), &json!("a"))
    );
    let bookmark = lines.next().await.expect("the bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let after = bookmark["object"]["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();

    let mut tables = watch(admin, &format!("{PODS}?watch=1&resourceVersion={after}"), &[TABLE]).await;
    let mut resumed =
        watch(admin, &format!("/api/v1/watch/namespaces/default/pods/b?resourceVersion={after}"), &[]).await;
    admin.post(PODS, &pod("b")).await;
    admin.send(true, "DELETE", &format!("{PODS}/b?gracePeriodSeconds=0"), &[], "").await;
    for lines in [&mut lines, &mut resumed] {
        let kinds = [lines.next().await.expect("ADDED"), lines.next().await.expect("DELETED")];
        assert_eq!(kinds.map(|event| event["type"].clone()), [json!("ADDED"), json!("DELETED")]);
    }
    let (first, second) = (tables.next().await.expect("ADDED"), tables.next().await.expect("DELETED"));
    assert_eq!(first["object"]["kind"], "Table");
    assert!(first["object"]["columnDefinitions"].as_array().is_some_and(|columns| !columns.is_empty()));
    assert_eq!(second["object"]["columnDefinitions"], json!([]));

    let mut short = watch(admin, &format!("{PODS}?watch=1&timeoutSeconds=1&resourceVersion={after}"), &[]).await;
    while short.next().await.is_some() {}

    // A stop ends watches cleanly, and the server with them.
    server.stop.cancel();
    assert_eq!(lines.next().await, None);
    let served = tokio::time::timeout(Duration::from_secs(10), server.served).await.expect("it stops");
    served.expect("no panic").expect("no error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_over_a_websocket() {
    let server = Running::start().await;
    server.admin.post(PODS, &pod("a")).await;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode("reader");
    let open = async |token: &str| {
        let mut request =
            format!("wss://{}{PODS}?watch=true", server.address).into_client_request().expect("a request");
        let protocols = format!("base64url.bearer.authorization.k8s.io.{token}, base64.binary.k8s.io");
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().expect("a value"));
        client_async(request, server.stranger().connect(false).await).await
    };
    let (mut socket, response) = open(&token).await.expect("switches");
    assert_eq!(response.headers()["sec-websocket-protocol"], "base64.binary.k8s.io");
    let mut next = async || loop {
        match tokio::time::timeout(Duration::from_secs(10), socket.next()).await.expect("in time") {
            Some(Ok(Message::Text(text))) => return Some(serde_json::from_str::<Value>(&text).expect("an event")),
            Some(Ok(Message::Close(_))) | None => return None,
            other => assert!(matches!(other, Some(Ok(_))), "{other:?}"),
        }
    };
    let event = next().await.expect("the initial event");
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a")));
    for name in ["b", "c"] {
        server.admin.post(PODS, &pod(name)).await;
    }
    for name in ["b", "c"] {
        assert_eq!(next().await.expect("an event")["object"]["metadata"]["name"], name);
    }
    let refused = open("bm9ib2R5").await.expect_err("nobody's token");
    assert!(refused.to_string().contains("401"), "{refused}");
    server.stop.cancel();
    assert_eq!(next().await, None, "the stop ends it cleanly");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identity() {
    let server = Running::start().await;
    let stranger = server.stranger();
    let bearer = |token: &str| format!("Bearer {token}");
    let get = async |target: &str, headers: &[(&str, &str)]| stranger.with(target, headers).await.status();
    assert_eq!(
        get(PODS, &[]).await,
        "403 Forbidden: pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(get(PODS, &[("authorization", "Bearer nobody")]).await, "401 Unauthorized: Unauthorized");
    assert_eq!(
        get("/metrics", &[]).await,
        "403 Forbidden: forbidden: User \"system:anonymous\" cannot get path \"/metrics\""
    );
    assert_eq!(stranger.get("/readyz").await.text(), "ok");
    let reader = bearer("reader");
    assert_eq!(stranger.with(PODS, &[("authorization", &reader)]).await.code, 200);
    assert_eq!(stranger.with("/api/v1/pods", &[("authorization", &reader)]).await.code, 403);
    // What does not exist is refused the same way as what does: no oracle.
    let secret = get("/api/v1/namespaces/default/secrets/x", &[("authorization", &reader)]).await;
    let nothing = get("/api/v1/namespaces/default/nothings/x", &[("authorization", &reader)]).await;
    assert!(secret.starts_with("403") && nothing.starts_with("403"), "{secret} {nothing}");

    let impersonator = bearer("impersonator");
    let acting = |user: &'static str| [("authorization", impersonator.clone()), ("impersonate-user", user.to_owned())];
    for (user, code) in [("reader", 200), ("admin", 403)] {
        let headers = acting(user);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(stranger.with(PODS, &headers).await.code, code, "{user}");
    }

    // GET with only `get` on pods/exec runs nothing: `create` is needed.
    let exec = get(&format!("{PODS}/a/exec?command=sh"), &[("authorization", &bearer("runner"))]).await;
    assert!(exec.contains("cannot create resource \"pods/exec\""), "{exec}");

    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "default"}}});
    let answer = server.admin.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
    assert_eq!((answer.code, &answer.json()["status"]["allowed"]), (201, &json!(true)), "{}", answer.text());
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "reader", "resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "default"}}});
    let answer = server.admin.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
    assert_eq!(answer.json()["status"]["allowed"], false);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = server.admin.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await;
    assert_eq!(answer.json()["status"]["userInfo"]["username"], "admin", "{}", answer.text());
    // There are none to look at.
    let reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    assert_eq!(server.admin.get(&format!("{reviews}/x")).await.code, 404);
    assert_eq!(server.admin.get(reviews).await.code, 405);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "reader"}});
    let answer = server.admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(answer.json()["status"]["user"]["username"], "reader", "{}", answer.text());
    assert_eq!(answer.json()["status"]["audiences"], json!(["https://kubernetes.default.svc"]));
    // This token names no audience: it is for this server, and for nobody else.
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": "reader", "audiences": ["vault"]}});
    let answer = server.admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(answer.json()["status"]["authenticated"], Value::Null, "{}", answer.text());

    // One's own namespace is asked about, whether it is said twice or not; and nothing but resources.
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let asked = |attributes: Value| {
        let mut spec = json!({"user": "reader"});
        spec.as_object_mut().expect("an object").extend(attributes.as_object().expect("an object").clone());
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview", "spec": spec})
    };
    for (attributes, code) in [
        (json!({"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}), 201),
        (json!({"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "other"}}), 422),
        (json!({"nonResourceAttributes": {"verb": "get", "path": "/healthz"}}), 422),
    ] {
        let answer = server.admin.post(local, &asked(attributes)).await;
        assert_eq!(answer.code, code, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_certificate_is_answered() {
    let server = Running::start().await;
    let dir = server.dir.path();
    let day = std::time::Duration::from_secs(24 * 3600);
    let other = Authority::create("other-ca", crate::common::now()).expect("a CA");
    for (name, authority, issued) in
        [("foreign", &other, crate::common::now()), ("expired", &server.ca, crate::common::now() - 3 * day)]
    {
        let request = pki::authority::Request {
            common_name: "admin".to_owned(),
            organizations: vec!["system:masters".to_owned()],
            client: true,
            days: 1,
            ..pki::authority::Request::default()
        };
        authority.issue(&request, issued).expect("a certificate").write(dir, name).expect("written");
        let identity = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        let client = Client::new(server.address, &dir.join("ca.crt"), Some((&identity.0, &identity.1)));
        for h2 in [true, false] {
            let get = async |headers: &[(&str, &str)]| client.send(h2, "GET", PODS, headers, "").await.status();
            assert_eq!(get(&[]).await, "401 Unauthorized: Unauthorized", "{name}: neither admin nor anonymous");
            assert_eq!(get(&[("authorization", "Bearer nobody")]).await, "401 Unauthorized: Unauthorized", "{name}");
            let good = get(&[("authorization", "Bearer reader")]).await;
            assert!(good.starts_with("200"), "{name}: a good token beside it counts: {good}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_and_health() {
    let server = Running::start().await;
    let admin = &server.admin;
    assert_eq!(admin.get("/api").await.json()["versions"], json!(["v1"]));
    assert_eq!(admin.get("/apis/").await.json()["kind"], "APIGroupList");
    let apps = admin.get("/apis/apps/v1").await;
    let scale = apps.json()["resources"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|entry| entry["name"] == "deployments/scale")
        .cloned();
    assert_eq!(
        scale.map(|entry| (entry["group"].clone(), entry["version"].clone(), entry["kind"].clone())),
        Some((json!("autoscaling"), json!("v1"), json!("Scale")))
    );
    let etag = apps.header("etag").to_owned();
    assert_eq!(admin.with("/apis/apps/v1", &[("if-none-match", &etag)]).await.code, 304);
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    for (path, group) in [("/api", Value::Null), ("/apis", json!("apps"))] {
        let answer = admin.with(path, &[("accept", accept)]).await;
        assert_eq!(
            answer.header("content-type"),
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        let items = answer.json()["items"].as_array().cloned().unwrap_or_default();
        assert!(items.iter().any(|item| item["metadata"].get("name").cloned().unwrap_or_default() == group), "{path}");
    }
    let version = admin.get("/version").await.json();
    assert!(version["gitVersion"].as_str().is_some_and(|text| text.starts_with("v1.36.")), "{version}");
    // Go clients ask for protobuf, and for nothing else.
    let packed = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = admin.with("/openapi/v2", &[("accept", packed)]).await;
    assert_eq!(
        (answer.code, answer.header("content-type")),
        (200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
    );
    assert!(answer.body.starts_with(b"\x0a\x032.0"));
    let etag = answer.header("etag").to_owned();
    assert_eq!(admin.with("/openapi/v2", &[("accept", packed), ("if-none-match", &etag)]).await.code, 304);
    assert_eq!(admin.get("/openapi/v2").await.json()["swagger"], "2.0");
    assert_eq!(admin.with("/openapi/v2", &[("accept", "text/html")]).await.code, 406);
    assert!(admin.get("/readyz?verbose").await.text().ends_with("[+]shutdown ok\nreadyz check passed\n"));
    assert_eq!(admin.get("/livez/etcd").await.text(), "ok");
    assert_eq!(admin.get("/healthz/etcd").await.text(), "ok");
    let slis = admin.get("/metrics/slis").await.text();
    assert!(
        slis.contains("kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"livez\"} 1\n"),
        "{slis}"
    );
    let page = admin.get("/statusz").await;
    assert!(page.header("content-type").starts_with("text/plain") && page.text().contains("Up: 0 hr 00 min "));
    assert!(admin.get("/flagz").await.text().ends_with("\n\nallowPrivileged=false\n"));
    let accept = |kind: &str| format!("application/json;v=v1beta1;g=config.k8s.io;as={kind}");
    let page = admin.with("/flagz", &[("accept", &accept("Flagz"))]).await.json();
    assert_eq!(
        page,
        json!({"kind": "Flagz", "apiVersion": "config.k8s.io/v1beta1",
        "metadata": {"name": "kube-apiserver"}, "flags": {"allowPrivileged": "false"}})
    );
    let page = admin.with("/statusz", &[("accept", &accept("Statusz"))]).await.json();
    assert_eq!((&page["kind"], &page["emulationVersion"]), (&json!("Statusz"), &json!("1.36")));
    assert_eq!(admin.with("/statusz", &[("accept", "application/json")]).await.code, 406);
    assert_eq!(admin.post("/statusz", &json!({})).await.code, 405);
    assert_eq!(admin.get("/livez/other").await.code, 404);
    assert_eq!(admin.get("/configz").await.code, 404);
    assert_eq!(admin.get("/metrics").await.text(), "up 1\n");
    assert_eq!(admin.get("/kontiki/v1/status").await.json(), json!({"replicas": []}));
    assert!(
        admin.get("/").await.json()["paths"].as_array().is_some_and(|paths| paths.contains(&json!("/apis/apps/v1")))
    );
    assert!(admin.get("/openid/v1/jwks").await.json()["keys"].is_array());

    let index = admin.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a link").to_owned();
    let document = admin.with(&url, &[("accept-encoding", "gzip")]).await;
    assert!(document.header("cache-control").contains("immutable"), "{:?}", document.headers);
    assert_eq!((document.header("content-encoding"), document.header("etag").is_empty()), ("gzip", false));
    let etag = document.header("etag").to_owned();
    assert_eq!(admin.with(&url, &[("if-none-match", &etag)]).await.code, 304);
    assert_eq!(admin.get("/openapi/v3/apis/apps/v1?hash=old").await.header("location"), url);
    let document = admin.get(&url).await.json();
    assert!(document["components"]["schemas"].get("io.k8s.api.apps.v1.Deployment").is_some());
    assert_eq!(admin.get("/openapi/v3/apis/nothing/v1").await.code, 404);
    assert_eq!(admin.get("/openapi/v2").await.json()["swagger"], "2.0");
}
