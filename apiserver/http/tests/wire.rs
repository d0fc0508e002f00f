//! What HTTP itself has to say: methods, spellings of paths, negotiation, caching, bodies and connections, as upstream's
//! server, router and handlers have it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{Answer, Client, Running, pod};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/openapi/v3/apis/apps/v1";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const OPENAPI_V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
];

/// All values of a header.
fn header(answer: &Answer, name: &str) -> String {
    let values = answer.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_method_is_told_the_others() {
    let server = Running::start().await;
    assert_eq!(server.admin.post(PODS, &pod("a")).await.code, 201);
    let (one, status, eviction) = (format!("{PODS}/a"), format!("{PODS}/a/status"), format!("{PODS}/a/eviction"));
    let review = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let rows: [(&str, &str, &str); 25] = [
        ("HEAD", PODS, "GET, POST, DELETE"),
        ("PUT", PODS, "GET, POST, DELETE"),
        ("PATCH", PODS, "GET, POST, DELETE"),
        ("OPTIONS", PODS, "GET, POST, DELETE"),
        ("TRACE", PODS, "GET, POST, DELETE"),
        ("FROB", PODS, "GET, POST, DELETE"),
        ("FROB", "/api/v1/namespaces/default/pods/", "GET, POST, DELETE"),
        ("HEAD", &one, "GET, PUT, PATCH, DELETE"),
        ("POST", &one, "GET, PUT, PATCH, DELETE"),
        ("OPTIONS", &one, "GET, PUT, PATCH, DELETE"),
        ("DELETE", &status, "GET, PUT, PATCH"),
        ("GET", &eviction, "POST"),
        ("POST", "/api/v1/pods", "GET"),
        ("DELETE", "/api/v1/pods", "GET"),
        ("POST", "/api/v1/watch/pods", "GET"),
        ("DELETE", "/api/v1/watch/namespaces/default/pods/a", "GET"),
        ("DELETE", "/api/v1/namespaces", "GET, POST"),
        ("GET", "/api/v1/namespaces/default/bindings", "POST"),
        ("GET", review, "POST"),
        ("POST", "/apis", "GET, HEAD"),
        ("OPTIONS", "/apis/apps/v1", "GET, HEAD"),
        ("PUT", "/version", "GET, HEAD"),
        ("POST", "/openapi/v2", "GET, HEAD"),
        ("POST", "/kontiki/v1/status", "GET"),
        ("POST", "/", "GET, HEAD"),
    ];
    for (method, target, allowed) in rows {
        let answer = server.admin.send(true, method, target, &[], "").await;
        assert_eq!((answer.code, header(&answer, "allow").as_str()), (405, allowed), "{method} {target}");
        if method != "HEAD" {
            let told = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 405,
                "message": "the server does not allow this method on the requested resource",
                "reason": "MethodNotAllowed", "details": {}});
            assert_eq!(answer.json(), told, "{method} {target}");
        }
    }
    println!("{} methods were refused", rows.len());
    // Who may not ask is not told what could be asked, and what is not there takes no method.
    let stranger = server.stranger().send(true, "FROB", PODS, &[], "").await;
    assert_eq!((stranger.code, header(&stranger, "allow")), (403, String::new()));
    for target in ["/api/v1/nothings", "/apis/none.example/v1/things", "/nothing", "/apis/apps/v9"] {
        let answer = server.admin.send(true, "POST", target, &[], "{}").await;
        assert_eq!((answer.code, header(&answer, "allow")), (404, String::new()), "{target}");
    }
    let asked = server.admin.send(true, "POST", "/api/v1/watch/pods", &[], "").await;
    assert_eq!(asked.code, 405, "a watch is a GET");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_is_get_without_a_body() {
    let server = Running::start().await;
    for target in ["/", "/version", "/healthz", "/api", "/apis", "/api/v1", "/openapi/v2", DEPLOYMENTS] {
        for h2 in [true, false] {
            let get = server.admin.send(h2, "GET", target, &[], "").await;
            let head = server.admin.send(h2, "HEAD", target, &[], "").await;
            assert_eq!((head.code, head.body.len()), (200, 0), "{target}");
            for name in ["content-type", "etag", "vary", "cache-control"] {
                assert_eq!(header(&head, name), header(&get, name), "{name} of {target}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spellings_of_paths() {
    let server = Running::start().await;
    assert_eq!(server.admin.post(MAPS, &json!({"metadata": {"name": "a.b"}})).await.code, 201);
    let ask = async |target: &str| {
        let answer = server.admin.get(target).await;
        let kind = serde_json::from_slice::<Value>(&answer.body).ok();
        (answer.code, kind.and_then(|value| Some(value["kind"].as_str()?.to_owned())).unwrap_or_default())
    };
    for (target, code, kind) in [
        // One slash at the end says nothing.
        ("/api/v1/pods/", 200, "PodList"),
        ("/api/v1/namespaces/default/configmaps/a.b/", 200, "ConfigMap"),
        ("/api/v1/namespaces/default/", 200, "Namespace"),
        ("/api/", 200, "APIVersions"),
        ("/apis/", 200, "APIGroupList"),
        ("/apis/apps/", 200, "APIGroup"),
        ("/apis/apps/v1/", 200, "APIResourceList"),
        ("/version/", 200, ""),
        // An escape that need not be is what it stands for.
        ("/api/v1/namespaces/default/configmaps/a%2Eb", 200, "ConfigMap"),
        ("/api/v1/namespaces/default/config%6daps/a.b", 200, "ConfigMap"),
        // Parameters of a segment are part of its name.
        ("/api/v1/namespaces/default/configmaps/a.b;v=1", 404, "Status"),
        ("/api/v1/namespaces/default/configmaps;v=1/a.b", 404, "Status"),
        // Upstream finds nothing where a segment is empty, or reads another path than was written.
        ("/api/v1//pods", 400, "Status"),
        ("/api/v1/pods//", 400, "Status"),
        ("//api/v1/pods", 400, "Status"),
        ("/api/v1/namespaces/default/configmaps%2Fa.b", 400, "Status"),
        ("/api/v1/namespaces/default/configmaps/%zz", 400, "Status"),
    ] {
        assert_eq!(ask(target).await, (code, kind.to_owned()), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepts() {
    let server = Running::start().await;
    assert_eq!(server.admin.post(MAPS, &json!({"metadata": {"name": "a"}})).await.code, 201);
    let one = format!("{MAPS}/a");
    let (json, yaml) = ("application/json", "application/yaml");
    for (target, accept, code, kind) in [
        (one.as_str(), "application/json; charset=utf-8", 200, json),
        (&one, "application/yaml;q=0.5, application/json;q=0.4", 200, yaml),
        (&one, "application/json;q=0.4,application/yaml ; q=0.5", 200, yaml),
        // The particular before the general, whatever it weighs.
        (&one, "*/*, application/yaml;q=0.1", 200, yaml),
        (&one, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 200, json),
        (&one, "application/json;q=0", 200, json),
        (&one, "text/plain;q=1, application/json;q=0.1", 200, json),
        (&one, "text/plain", 406, json),
        (&one, "nonsense", 406, json),
        ("/version", "application/yaml, */*", 200, json),
        ("/version", "application/yaml", 406, json),
        ("/", "text/html", 200, json),
        ("/api/v1", "application/yaml", 200, yaml),
        ("/api/v1", "text/html", 406, json),
        ("/healthz", "application/json", 200, "text/plain; charset=utf-8"),
    ] {
        let answer = server.admin.with(target, &[("accept", accept)]).await;
        let kind = if code == 406 && answer.header("content-type") == yaml { yaml } else { kind };
        assert_eq!((answer.code, answer.header("content-type")), (code, kind), "{target} as {accept}");
    }
    // For people, as upstream writes it.
    for target in ["/", "/version"] {
        let text = server.admin.get(target).await.text();
        assert!(text.starts_with("{\n  \"") && text.ends_with("\n}"), "{text}");
    }
    for (query, agent, pretty) in [
        ("", "kubectl/v1.36", false),
        ("", "curl/8", true),
        ("?pretty=", "curl/8", true),
        ("?pretty=false", "curl/8", false),
        ("?pretty=no", "curl/8", false),
        ("?pretty=yes", "kubectl/v1.36", false),
        ("?pretty=true", "kubectl/v1.36", true),
        ("?pretty=t", "kubectl/v1.36", true),
    ] {
        let answer = server.admin.with(&format!("{one}{query}"), &[("user-agent", agent)]).await;
        assert_eq!(answer.text().starts_with("{\n"), pretty, "{query} by {agent}");
    }
    let asked = [("accept", "application/json;pretty=1")];
    assert!(server.admin.with(&format!("{one}?pretty=false"), &asked).await.text().starts_with("{\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_of_bodies() {
    let server = Running::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}).to_string();
    let target = format!("{MAPS}?dryRun=All");
    for (kind, code) in [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("application/json;charset=\"UTF-8\"", 201),
        ("Application/JSON", 201),
        ("application/json ; charset=utf-8", 201),
        ("application/yaml;charset=utf-8", 201),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json, text/plain", 415),
        ("application/cbor", 415),
    ] {
        let answer = server.admin.send(true, "POST", &target, &[("content-type", kind)], map.clone()).await;
        assert_eq!(answer.code, code, "{kind}: {}", answer.status());
        if code == 415 {
            assert_eq!(answer.json()["reason"], "UnsupportedMediaType");
        }
    }
    assert_eq!(server.admin.send(true, "POST", &target, &[], map.clone()).await.code, 201, "JSON if nothing is said");
    assert_eq!(server.admin.send(true, "POST", MAPS, &[], map.clone()).await.code, 201);
    let one = format!("{MAPS}/a");
    for (kind, code) in [
        ("application/merge-patch+json", 200),
        ("application/merge-patch+json; charset=utf-8", 200),
        ("application/strategic-merge-patch+json;charset=utf-8", 200),
        ("application/json", 415),
        ("Application/Merge-Patch+JSON", 415),
        ("", 415),
    ] {
        let answer = server.admin.send(true, "PATCH", &one, &[("content-type", kind)], "{}").await;
        assert_eq!(answer.code, code, "{kind}: {}", answer.status());
    }
    // What of options is in another format than it says, and what is in none.
    let options = r#"{"gracePeriodSeconds":0}"#;
    for (kind, code) in [("text/plain", 415), ("application/json; charset=utf-8", 200)] {
        let answer = server.admin.send(true, "DELETE", &one, &[("content-type", kind)], options).await;
        assert_eq!(answer.code, code, "{kind}: {}", answer.status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_bodies() {
    let server = Running::start().await;
    let admin = &server.admin;
    let map = json!({"metadata": {"name": "a"}});
    assert_eq!(admin.post(MAPS, &map).await.code, 201);
    let one = format!("{MAPS}/a");
    let unreadable = "400 BadRequest: the object provided is unrecognized (must be of type ConfigMap): couldn't get \
                      version/kind; json parse error: unexpected end of JSON input (<empty>)";
    let patch = "400 BadRequest: error decoding patch: unexpected end of JSON input";
    for (method, target, kind, told) in [
        ("POST", MAPS, "application/json", unreadable),
        ("PUT", &one, "application/json", unreadable),
        ("PATCH", &one, "application/merge-patch+json", patch),
        ("PATCH", &one, "application/json-patch+json", patch),
        ("PATCH", &one, "application/strategic-merge-patch+json", "400 BadRequest: unexpected end of JSON input"),
    ] {
        for h2 in [true, false] {
            let answer = admin.send(h2, method, target, &[("content-type", kind)], "").await;
            assert_eq!(answer.status(), told, "{method} {kind}");
        }
    }
    // Nothing is no options, whatever it says it is.
    assert_eq!(admin.send(true, "DELETE", &one, &[("content-type", "text/plain")], "").await.code, 200);
    assert_eq!(admin.send(false, "DELETE", MAPS, &[], "").await.code, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caching() {
    let server = Running::start().await;
    for (target, accept, vary, cached) in [
        ("/api", AGGREGATED, "Accept", "public"),
        ("/apis", AGGREGATED, "Accept", "public"),
        ("/openapi/v2", "application/json", "Accept, Accept-Encoding", "no-cache, private"),
        ("/openapi/v3", "application/json", "Accept, Accept-Encoding", "no-cache, private"),
        (DEPLOYMENTS, "application/json", "Accept, Accept-Encoding", "no-cache, private"),
        (DEPLOYMENTS, OPENAPI_V3[0], "Accept, Accept-Encoding", "no-cache, private"),
    ] {
        for encoding in ["identity", "gzip"] {
            let headers = [("accept", accept), ("accept-encoding", encoding)];
            let first = server.admin.with(target, &headers).await;
            let tag = first.header("etag").to_owned();
            assert_eq!((first.code, header(&first, "vary").as_str()), (200, vary), "{target} as {accept}");
            assert_eq!(first.header("cache-control"), cached, "{target}");
            for known in [tag.as_str(), &format!("W/{tag}"), "*"] {
                let again = server.admin.with(target, &[headers[0], headers[1], ("if-none-match", known)]).await;
                assert_eq!((again.code, again.body.len(), again.header("etag")), (304, 0, tag.as_str()), "{target}");
                assert_eq!(header(&again, "vary"), vary, "{target}");
                assert_eq!(again.header("cache-control"), cached, "{target}");
                assert_eq!((header(&again, "content-type"), header(&again, "content-encoding")), Default::default());
            }
        }
    }
    // Of what is no document there is no tag.
    for target in [PODS, "/version", "/healthz"] {
        let answer = server.admin.with(target, &[("if-none-match", "*")]).await;
        assert_eq!((answer.code, answer.header("etag")), (200, ""), "{target}");
    }
}

/// Both forms of a version's document have the hash of its JSON.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_v3_in_protobuf() {
    let server = Running::start().await;
    let index = server.admin.get("/openapi/v3").await.json();
    let hashed = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a URL").to_owned();
    let plain = server.admin.get(DEPLOYMENTS).await;
    for accept in [
        OPENAPI_V3[0].to_owned(),
        OPENAPI_V3[1].to_owned(),
        format!("{}, application/json;q=0.5", OPENAPI_V3[0]),
        format!("*/*, {}", OPENAPI_V3[1]),
    ] {
        let packed = server.admin.with(&hashed, &[("accept", &accept)]).await;
        assert_eq!((packed.code, packed.header("content-type")), (200, OPENAPI_V3[1]), "{accept}");
        assert_eq!(packed.header("etag"), plain.header("etag"));
        assert!(packed.header("cache-control").starts_with("public, immutable"));
        // The first field is the version of the specification.
        assert!(packed.body.starts_with(b"\x0a\x053.0.0"), "{accept}");
        assert!(packed.body.len() > 100_000 && packed.body.len() < plain.body.len());
    }
    for accept in ["application/json", "*/*", "application/*", "application/json, application/com.github.x+protobuf"] {
        let answer = server.admin.with(&hashed, &[("accept", accept)]).await;
        assert_eq!((answer.code, answer.header("content-type")), (200, "application/json"), "{accept}");
    }
    let moved = server.admin.with(&format!("{DEPLOYMENTS}?hash=0"), &[("accept", OPENAPI_V3[0])]).await;
    assert_eq!((moved.code, moved.header("location"), moved.header("vary")), (301, hashed.as_str(), "Accept"));
    let other = server.admin.with(&format!("{DEPLOYMENTS}?hash=0"), &[("accept", "text/html")]).await;
    assert_eq!(other.code, 406);
}

/// The codes of all that is answered on a connection.
fn codes(read: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(read).into_owned();
    let lines = text.split("HTTP/1.").skip(1);
    lines.filter_map(|answer| answer.get(2..5)?.parse().ok()).collect()
}

/// The codes of all answers to these parts, each of which is sent when the one before it is answered, and whether the
/// connection ended then.
async fn over_one_connection(client: &Client, parts: &[&str]) -> (Vec<u16>, bool) {
    let (mut stream, mut read) = (client.connect(false).await, Vec::new());
    for (before, part) in parts.iter().enumerate() {
        stream.write_all(part.as_bytes()).await.expect("the server reads");
        let answered = async {
            // Up to the end of a head.
            while codes(&read).len() <= before || !String::from_utf8_lossy(&read).contains("\r\n\r\n") {
                if stream.read_buf(&mut read).await.expect("the server writes") == 0 {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answered).await.expect("an answer in time");
    }
    let ended = tokio::time::timeout(Duration::from_millis(500), stream.read_to_end(&mut read)).await;
    (codes(&read), ended.is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections() {
    let server = Running::start().await;
    let get = |version: &str, more: &str| format!("GET /healthz HTTP/{version}\r\n{more}\r\n");
    let twice = async |first: String| {
        let second = first.replacen("/healthz", "/readyz", 1);
        over_one_connection(&server.admin, &[&first, &second]).await
    };
    let once = async |text: String| over_one_connection(&server.admin, &[&text]).await;
    assert_eq!(twice(get("1.1", "host: x\r\n")).await, (vec![200, 200], false), "HTTP/1.1 goes on");
    assert_eq!(once(get("1.1", "host: x\r\nconnection: close\r\n")).await, (vec![200], true));
    assert_eq!(once(get("1.0", "")).await, (vec![200], true), "HTTP/1.0 ends");
    assert_eq!(
        twice(get("1.0", "connection: keep-alive\r\n")).await,
        (vec![200, 200], false),
        "unless it is asked not to"
    );
    assert_eq!(once(get("1.1", "")).await, (vec![400], true), "nobody is asked");
    assert_eq!(once(get("1.1", "host: x\r\nhost: y\r\n")).await, (vec![400], true), "two are asked");
    let told = server.admin.raw(&get("1.1", "")).await;
    assert!(told.ends_with("400 Bad Request: missing required Host header"), "{told}");
    // What is made while it is sent has no length that HTTP/1.0 could be told: it ends where the connection does.
    let list = server.admin.raw("GET /api/v1/namespaces HTTP/1.0\r\naccept: application/yaml\r\n\r\n").await;
    assert!(list.contains("200 OK") && list.contains("NamespaceList") && !list.contains("chunked"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_sent_when_it_is_wanted() {
    let server = Running::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}).to_string();
    let head = |target: &str, kind: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            map.len()
        )
    };
    let wanted = over_one_connection(&server.admin, &[&head(MAPS, "application/json"), &map]).await;
    assert_eq!(wanted, (vec![100, 201], false));
    // Who is refused before has not sent it.
    for (target, kind, code) in [(MAPS, "text/plain", 415), ("/api/v1/configmaps", "application/json", 405)] {
        let refused = over_one_connection(&server.admin, &[&head(target, kind)]).await;
        assert_eq!(refused.0, [code], "{target} {kind}");
    }
}
