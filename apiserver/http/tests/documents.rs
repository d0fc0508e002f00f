//! What large answers are compressed, and which documents need not be sent again.

use std::io::Read;
use std::time::Duration;

use api_codec::protobuf;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::common::{Answer, Running};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const GZIP: (&str, &str) = ("accept-encoding", "gzip");
/// As upstream: what is smaller is not worth the time.
const LARGE_BYTES: usize = 128 * 1024;

fn unpacked(answer: &Answer) -> Vec<u8> {
    let mut whole = Vec::new();
    flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut whole).expect("is gzip");
    whole
}

/// Rows of Tables tell how old an object is, which changes from one answer to the next.
fn ageless(body: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return body.to_vec() };
    let Some(rows) = value.get_mut("rows").and_then(Value::as_array_mut) else { return body.to_vec() };
    rows.iter_mut().for_each(|row| row["cells"] = Value::Null);
    value.to_string().into_bytes()
}

async fn make(server: &Running, name: &str, bytes: usize) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"size": name}},
        "data": {"text": "word ".repeat(bytes / 5)}});
    assert_eq!(server.admin.post(MAPS, &map).await.code, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_are_compressed() {
    let server = Running::start().await;
    make(&server, "small", LARGE_BYTES - 10_000).await;
    make(&server, "large", LARGE_BYTES).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (mut packed, mut plain) = (0, 0);
    for accept in ["application/json", "application/yaml", protobuf::MEDIA_TYPE, table] {
        let target = |name: &str| format!("{MAPS}/{name}");
        let listed = |name: &str| format!("{MAPS}?labelSelector=size%3D{name}");
        for (target, wanted) in [
            (target("small"), false),
            (listed("small"), false),
            (target("large"), accept != table),
            (listed("large"), accept != table),
            (MAPS.to_owned(), accept != table),
            (format!("{}&includeObject=Object", listed("large")), true),
        ] {
            let answer = server.admin.with(&target, &[("accept", accept), GZIP]).await;
            let whole = server.admin.with(&target, &[("accept", accept)]).await;
            let what = format!("{target} as {accept}: {} bytes", whole.body.len());
            assert_eq!((answer.code, whole.header("content-encoding")), (200, ""), "{what}");
            assert_eq!(answer.header("content-encoding"), if wanted { "gzip" } else { "" }, "{what}");
            assert_eq!(answer.header("content-type"), whole.header("content-type"), "{what}");
            if wanted {
                packed += 1;
                assert_eq!(answer.header("vary"), "Accept-Encoding", "{what}");
                assert!(answer.body.len() < whole.body.len() / 10, "{what}");
                assert!(ageless(&unpacked(&answer)) == ageless(&whole.body), "{what}");
            } else {
                plain += 1;
                assert!(ageless(&answer.body) == ageless(&whole.body), "{what}");
            }
        }
        let other = server.admin.with(MAPS, &[("accept", accept), ("accept-encoding", "deflate, br")]).await;
        assert_eq!(other.header("content-encoding"), "");
    }
    println!("gzip: {packed} large answers packed, {plain} small ones sent as they are");
}

/// A watch goes on for ever, and each of its events has to be seen when it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_are_not_compressed() {
    let server = Running::start().await;
    make(&server, "large", 2 * LARGE_BYTES).await;
    for accept in ["application/json", protobuf::MEDIA_TYPE] {
        let request = server.admin.request("GET", &format!("{MAPS}?watch=1"), &[("accept", accept), GZIP], "");
        let response = server.admin.open(true, request).await;
        assert_eq!((response.status().as_u16(), response.headers().get("content-encoding")), (200, None));
        let (mut body, mut read) = (response.into_body(), 0);
        while read < 2 * LARGE_BYTES {
            let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await;
            let data = frame.expect("in time").expect("more").expect("a frame").into_data().expect("data");
            read += data.len();
        }
    }
}

/// Discovery in both forms and OpenAPI: the tag of what is sent answers for it, until the tag is another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_is_not_sent_again() {
    let server = Running::start().await;
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let packed = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let mut tags = Vec::new();
    for (target, accept) in [
        ("/api", aggregated),
        ("/apis", aggregated),
        ("/openapi/v2", "application/json"),
        ("/openapi/v2", packed),
        ("/openapi/v3", "*/*"),
        ("/openapi/v3/api/v1", "application/json"),
        ("/openapi/v3/apis/apps/v1", "application/json"),
    ] {
        let ask = async |tag: &str| server.admin.with(target, &[("accept", accept), ("if-none-match", tag)]).await;
        let first = server.admin.with(target, &[("accept", accept)]).await;
        let tag = first.header("etag").to_owned();
        assert_eq!((first.code, tag.starts_with('"') && tag.ends_with('"')), (200, true), "{target} {accept}: {tag}");
        for known in [tag.clone(), format!("\"other\", {tag}")] {
            let again = ask(&known).await;
            assert_eq!(
                (again.code, again.body.len(), again.header("etag")),
                (304, 0, tag.as_str()),
                "{target} {known}"
            );
        }
        let other = ask("\"other\"").await;
        assert_eq!((other.code, other.body == first.body), (200, true), "{target}");
        tags.push(tag);
    }
    println!("tags: {} documents answered 304 to theirs and 200 to another", tags.len());
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 7, "each document has its own");
}

/// The index is the same whatever is asked for; its documents are negotiated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_accepts() {
    let server = Running::start().await;
    let with = async |target: &str, accept: &str| server.admin.with(target, &[("accept", accept)]).await;
    let index = server.admin.get("/openapi/v3").await;
    for accept in ["text/html", "application/yaml", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"] {
        let answer = with("/openapi/v3", accept).await;
        assert_eq!((answer.code, answer.header("content-type")), (200, "application/json"), "{accept}");
        assert!(answer.body == index.body, "{accept}");
    }
    let url = |index: &Value, path: &str| index["paths"][path]["serverRelativeURL"].as_str().expect("a URL").to_owned();
    let hashed = url(&index.json(), "apis/apps/v1");
    let kept = server.admin.get(&hashed).await;
    assert_eq!(kept.code, 200);
    assert!(kept.header("cache-control").starts_with("public, immutable"), "{}", kept.header("cache-control"));
    assert_eq!(kept.header("vary"), "Accept");
    let moved = server.admin.get("/openapi/v3/apis/apps/v1?hash=0").await;
    assert_eq!((moved.code, moved.header("location")), (301, hashed.as_str()));
    for target in ["/openapi/v2", "/openapi/v3/apis/apps/v1"] {
        assert_eq!(with(target, "text/html").await.code, 406, "{target}");
        let wanted = with(target, "text/html;q=1, application/json;q=0.1").await;
        assert_eq!((wanted.code, wanted.header("content-type")), (200, "application/json"), "{target}");
    }
    assert_eq!(server.admin.get("/openapi/v3/apis/none.example/v1").await.code, 404);
}
