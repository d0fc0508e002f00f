//! What clients may not send: each request with the Status it is answered with. Nothing of it is stored.

use crate::common::{Running, pod};
use expect_test::expect_file;

struct Case {
    name: &'static str,
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");

fn case(
    name: &'static str,
    method: &'static str,
    target: &str,
    headers: &[(&'static str, &'static str)],
    body: impl Into<Vec<u8>>,
) -> Case {
    Case { name, method, target: target.to_owned(), headers: headers.to_vec(), body: body.into() }
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{{\"spec\":{}{}}}", open.repeat(depth), close.repeat(depth))
}

fn with(field: &str, value: &str) -> String {
    let mut text = pod("bad").to_string();
    text.insert_str(1, &format!("\"{field}\":{value},"));
    text
}

fn bodies() -> Vec<Case> {
    let yaml_bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
        d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
        g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    let many_operations = format!("[{}]", vec![r#"{"op":"test","path":"/kind","value":"Pod"}"#; 10_001].join(","));
    let unknown_spec = pod("bad").to_string().replacen("\"spec\":{", "\"spec\":{\"replicaz\":1,", 1);
    let twice = pod("bad").to_string().replacen("\"spec\":{", "\"spec\":{\"nodeName\":\"a\",\"nodeName\":\"b\",", 1);
    let wrong_type = pod("bad").to_string().replacen("\"image\":\"busybox\"", "\"image\":7", 1);
    let wrong_list = pod("bad").to_string().replacen("\"containers\":[", "\"containers\":{},\"x\":[", 1);
    vec![
        case("empty body", "POST", PODS, &[JSON], ""),
        case("not JSON", "POST", PODS, &[JSON], "{"),
        case("trailing bytes", "POST", PODS, &[JSON], format!("{} x", pod("bad"))),
        case("an array", "POST", PODS, &[JSON], "[]"),
        case("a number", "POST", PODS, &[JSON], "1"),
        case("null", "POST", PODS, &[JSON], "null"),
        case("not UTF-8", "POST", PODS, &[JSON], b"{\"kind\":\"\xff\"}".to_vec()),
        case("too large", "POST", PODS, &[JSON], with("x", &format!("\"{}\"", "y".repeat(3 * 1024 * 1024)))),
        case("deep arrays", "POST", PODS, &[JSON], nested("[", "]", 20_000)),
        case("deep objects", "POST", PODS, &[JSON], nested("{\"a\":", "1}", 20_000).replace("1}1}", "}}")),
        case("protobuf", "POST", PODS, &[("content-type", "application/vnd.kubernetes.protobuf")], b"k8s\0".to_vec()),
        case("text", "POST", PODS, &[("content-type", "text/plain")], "hello"),
        case("yaml bomb", "POST", PODS, &[("content-type", "application/yaml")], yaml_bomb),
        case("yaml tab", "POST", PODS, &[("content-type", "application/yaml")], "a:\n\tb: 1\n"),
        case("wrong kind", "POST", PODS, &[JSON], r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"}}"#),
        case("wrong version", "POST", PODS, &[JSON], r#"{"apiVersion":"v2","kind":"Pod","metadata":{"name":"x"}}"#),
        case("wrong type", "POST", PODS, &[JSON], wrong_type),
        case("object for list", "POST", PODS, &[JSON], wrong_list),
        case("unknown field, strict", "POST", &format!("{PODS}?fieldValidation=Strict"), &[JSON], unknown_spec),
        case("duplicate field, strict", "POST", &format!("{PODS}?fieldValidation=Strict"), &[JSON], twice),
        case(
            "no name",
            "POST",
            PODS,
            &[JSON],
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{},"spec":{"containers":[{"name":"c","image":"i"}]}}"#,
        ),
        case("bad name", "POST", PODS, &[JSON], pod("Bad_Name").to_string()),
        case(
            "other namespace",
            "POST",
            PODS,
            &[JSON],
            with("metadata2", "1").replacen("\"name\":\"bad\"", "\"name\":\"bad\",\"namespace\":\"other\"", 1),
        ),
        case(
            "no containers",
            "POST",
            PODS,
            &[JSON],
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{}}"#,
        ),
        case("patch without type", "PATCH", &format!("{PODS}/good"), &[], "{}"),
        case(
            "apply patch",
            "PATCH",
            &format!("{PODS}/good"),
            &[("content-type", "application/apply-patch+yaml")],
            "{}",
        ),
        case("patch not JSON", "PATCH", &format!("{PODS}/good"), &[MERGE], "{"),
        case("patch of nothing", "PATCH", &format!("{PODS}/absent"), &[MERGE], "{}"),
        case("JSON patch: not a list", "PATCH", &format!("{PODS}/good"), &[JSON_PATCH], "{}"),
        case(
            "JSON patch: no such path",
            "PATCH",
            &format!("{PODS}/good"),
            &[JSON_PATCH],
            r#"[{"op":"remove","path":"/nope"}]"#,
        ),
        case(
            "JSON patch: test fails",
            "PATCH",
            &format!("{PODS}/good"),
            &[JSON_PATCH],
            r#"[{"op":"test","path":"/kind","value":"x"}]"#,
        ),
        case("JSON patch: too many operations", "PATCH", &format!("{PODS}/good"), &[JSON_PATCH], many_operations),
        case("patch changes the name", "PATCH", &format!("{PODS}/good"), &[MERGE], r#"{"metadata":{"name":"other"}}"#),
        case("patch of an immutable field", "PATCH", &format!("{PODS}/good"), &[MERGE], r#"{"spec":{"nodeName":"x"}}"#),
        case(
            "stale patch",
            "PATCH",
            &format!("{PODS}/good"),
            &[MERGE],
            r#"{"metadata":{"resourceVersion":"1","labels":{"a":"b"}}}"#,
        ),
        case("PUT with another name", "PUT", &format!("{PODS}/good"), &[JSON], pod("other").to_string()),
        case("DELETE with a bad body", "DELETE", &format!("{PODS}/good"), &[JSON], "{"),
        case(
            "DELETE with a bad precondition",
            "DELETE",
            &format!("{PODS}/good"),
            &[JSON],
            r#"{"preconditions":{"uid":"nope"}}"#,
        ),
        case("DELETE with a bad policy", "DELETE", &format!("{PODS}/good?propagationPolicy=Sideways"), &[], ""),
    ]
}

fn targets() -> Vec<Case> {
    let get = |name, target: &str| case(name, "GET", target, &[], "");
    vec![
        get("no such resource", "/api/v1/namespaces/default/nothings"),
        get("no such group", "/apis/nothing.example/v1/things"),
        get("no such version", "/apis/apps/v9/deployments"),
        get("group under api", "/api/apps/v1/deployments"),
        get("core under apis", "/apis/v1/pods"),
        get("no such subresource", &format!("{PODS}/good/nothing")),
        get("too long a path", &format!("{PODS}/good/status/more")),
        get("cluster resource in a namespace", "/api/v1/namespaces/default/nodes"),
        get("namespaced name without namespace", "/api/v1/pods/good"),
        get("namespace ..", "/api/v1/namespaces/%2e%2e/pods"),
        get("encoded slash", "/api/v1/namespaces/default%2fpods/x"),
        get("double slash", "/api//v1/pods"),
        get("bad limit", &format!("{PODS}?limit=many")),
        get("bad continue", &format!("{PODS}?continue=xyz")),
        get("bad resourceVersion", &format!("{PODS}?resourceVersion=new")),
        get("future resourceVersion", &format!("{PODS}/good?resourceVersion=99999999")),
        get("bad label selector", &format!("{PODS}?labelSelector=a%3D%3D%3Db%21")),
        get("bad field selector", &format!("{PODS}?fieldSelector=a")),
        get("unsupported field", &format!("{PODS}?fieldSelector=spec.containers%3Dx")),
        get("unsupported generic field", "/api/v1/configmaps?fieldSelector=data%3Dx"),
        get("bad match", &format!("{PODS}?resourceVersionMatch=Exact")),
        get("bad watch options", &format!("{PODS}?watch=1&sendInitialEvents=true")),
        get("bad escape", &format!("{PODS}?labelSelector=%zz")),
        case("bad includeObject", "GET", &format!("{PODS}?includeObject=All"), &[TABLE], ""),
        get("bad timeout", &format!("{PODS}?timeout=soon")),
        get("exec without upgrade", &format!("{PODS}/good/exec?command=sh")),
        get("log of an unknown container", &format!("{PODS}/good/log?container=x")),
        get("log with a bad tail", &format!("{PODS}/good/log?tailLines=-1")),
        get("proxy to a pod without address", &format!("{PODS}/good/proxy/")),
        get("proxy climbing out", &format!("{PODS}/good/proxy/%2e%2e/%2e%2e/secrets")),
        case("not acceptable", "GET", PODS, &[("accept", "application/cbor")], ""),
        case("watch as CBOR", "GET", &format!("{PODS}?watch=1"), &[("accept", "application/cbor;stream=watch")], ""),
        case("POST to a name", "POST", &format!("{PODS}/good"), &[JSON], "{}"),
        case("POST without namespace", "POST", "/api/v1/pods", &[JSON], "{}"),
        case("PUT to a collection", "PUT", PODS, &[JSON], "{}"),
        case("DELETE of all namespaces", "DELETE", "/api/v1/pods", &[], ""),
        case("DELETE of namespaces", "DELETE", "/api/v1/namespaces", &[], ""),
        case("PATCH of a review", "PATCH", "/apis/authorization.k8s.io/v1/subjectaccessreviews", &[MERGE], "{}"),
        case("GET of a review", "GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews", &[], ""),
        case(
            "review of nothing",
            "POST",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            &[JSON],
            r#"{"spec":{}}"#,
        ),
        case(
            "token review of nothing",
            "POST",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            &[JSON],
            r#"{"spec":{}}"#,
        ),
        case("bad dryRun", "POST", &format!("{PODS}?dryRun=Maybe"), &[JSON], pod("bad").to_string()),
        case("bad fieldValidation", "POST", &format!("{PODS}?fieldValidation=Loose"), &[JSON], pod("bad").to_string()),
        case("OPTIONS", "OPTIONS", PODS, &[], ""),
        case("TRACE", "TRACE", "/", &[], ""),
        case("POST to discovery", "POST", "/apis", &[JSON], "{}"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table() {
    let server = Running::start().await;
    assert_eq!(server.admin.post(PODS, &pod("good")).await.code, 201);
    let before = server.admin.get("/api/v1/pods").await.json();
    let mut out = String::new();
    // Of bodies, code and reason: the words are the codec's and the kinds', and tested there.
    let bodies = bodies().into_iter().map(|case| (case, false));
    for (case, with_message) in bodies.chain(targets().into_iter().map(|case| (case, true))) {
        let answer = server.admin.send(true, case.method, &case.target, &case.headers, case.body).await;
        let status = answer.status();
        let shown = if with_message { &status } else { status.split(':').next().unwrap_or("") };
        out.push_str(&format!("{}: {shown}\n", case.name));
        assert!((400..600).contains(&answer.code), "{} was accepted: {status}", case.name);
    }
    let after = server.admin.get("/api/v1/pods").await.json();
    assert_eq!(before["items"], after["items"], "nothing of it is stored");
    expect_file!["bad_input.txt"].assert_eq(&out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_http() {
    let server = Running::start().await;
    let admin = &server.admin;
    for (name, text) in [
        ("no HTTP", "hello\r\n\r\n".to_owned()),
        (
            "length and chunks",
            "POST /api/v1/pods HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
        ),
        (
            "two lengths",
            "POST /api/v1/pods HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde".to_owned(),
        ),
        ("folded header", "GET /version HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n".to_owned()),
        ("NUL in a header", "GET /version HTTP/1.1\r\nhost: x\r\na: b\0\r\n\r\n".to_owned()),
        ("huge headers", format!("GET /version HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(1 << 20))),
        ("many headers", format!("GET /version HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(2000))),
        (
            "bad chunk",
            "POST /api/v1/namespaces/default/pods HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
                .to_owned(),
        ),
        (
            "declared too large",
            "POST /api/v1/namespaces/default/pods HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n".to_owned(),
        ),
    ] {
        let answer = admin.raw(&text).await;
        let line = answer.lines().next().unwrap_or("").to_owned();
        let refused = line.is_empty() || line.starts_with("HTTP/1.1 4");
        assert!(refused, "{name}: {line}");
    }
    assert_eq!(admin.get("/readyz").await.text(), "ok");
    assert_eq!(admin.get(&format!("{PODS}/bad")).await.code, 404);
}
