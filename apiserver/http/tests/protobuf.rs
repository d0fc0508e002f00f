//! Clients that speak protobuf: what they send and get is what JSON clients do.

use std::time::Duration;

use crate::common::{Answer, Client, Running, pod};
use api_codec::decode::{FieldValidation, conform};
use api_codec::protobuf;
use api_machinery::{GroupVersion, GroupVersionKind, Value};
use api_schema::Schema;
use http_body_util::BodyExt;
use serde_json::json;

const TYPE: &str = "application/vnd.kubernetes.protobuf";
const ACCEPT: (&str, &str) = ("accept", "application/vnd.kubernetes.protobuf,application/json");
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Reads an object as a client does.
fn read(bytes: &[u8]) -> Value {
    let (_, value) = protobuf::decode(Schema::builtin(), bytes).expect("an object in protobuf");
    without_zeros(value)
}

/// Without the zero values that JSON leaves out.
fn without_zeros(mut value: Value) -> Value {
    let schema = Schema::builtin();
    let text = |field: &str| value[field].as_str().unwrap_or("").to_owned();
    let gv = GroupVersion::parse(&text("apiVersion"));
    let gvk = GroupVersionKind { group: gv.group, version: gv.version, kind: text("kind").as_str().into() };
    if let Some(id) = schema.type_of_kind(&gvk) {
        conform(schema, id, &mut value, Vec::new(), FieldValidation::Strict).expect("conforms");
    }
    value
}

fn answer(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), TYPE, "{}", answer.text());
    read(&answer.body)
}

async fn send(client: &Client, method: &str, target: &str, body: &Value) -> Answer {
    let body = protobuf::encode(Schema::builtin(), body).expect("is encoded");
    client.send(true, method, target, &[("content-type", TYPE), ACCEPT], body).await
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "d"}}, "template": {"metadata": {"labels": {"app": "d"}},
        "spec": {"containers": [{"name": "c", "image": "busybox", "resources": {"limits": {"cpu": "100m"}},
            "livenessProbe": {"httpGet": {"port": "http", "path": "/"}}}]}}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_lists_and_errors() {
    let server = Running::start().await;
    let admin = &server.admin;
    let created = send(admin, "POST", DEPLOYMENTS, &deployment()).await;
    assert_eq!(created.code, 201, "{}", created.text());
    let mut value = answer(&created);
    assert_eq!(value, admin.get(&format!("{DEPLOYMENTS}/d")).await.json(), "as JSON has it, defaults and all");
    assert_eq!(value["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");

    value["metadata"]["labels"] = json!({"x": "y"});
    let updated = answer(&send(admin, "PUT", &format!("{DEPLOYMENTS}/d"), &value).await);
    assert_eq!(updated["metadata"]["labels"]["x"], "y");
    assert_eq!(answer(&admin.with(&format!("{DEPLOYMENTS}/d"), &[ACCEPT]).await), updated);

    let scale = answer(&admin.with(&format!("{DEPLOYMENTS}/d/scale"), &[ACCEPT]).await);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": "d", "namespace": "default"}, "spec": {"replicas": 3}});
    assert_eq!(answer(&send(admin, "PUT", &format!("{DEPLOYMENTS}/d/scale"), &scale).await)["spec"]["replicas"], 3);

    for name in ["a", "b", "c"] {
        assert_eq!(send(admin, "POST", PODS, &pod(name)).await.code, 201);
    }
    for target in
        [PODS.to_owned(), format!("{PODS}?limit=2"), format!("{PODS}?labelSelector=none"), "/api/v1/nodes".into()]
    {
        let list = admin.with(&target, &[ACCEPT]).await;
        assert_eq!(list.header("content-length"), list.body.len().to_string());
        let mut wanted = admin.get(&target).await.json();
        if wanted["items"].as_array().is_some_and(Vec::is_empty) {
            wanted.as_object_mut().expect("a list").remove("items");
        }
        let mut list = answer(&list);
        if let Some(token) = list["metadata"].get("continue").cloned() {
            // Tokens may differ from one answer to the next.
            wanted["metadata"]["continue"] = token;
        }
        assert_eq!(list.as_object_mut(), wanted.as_object_mut(), "{target}");
    }

    let missing = admin.with(&format!("{PODS}/none"), &[ACCEPT]).await;
    assert_eq!(missing.code, 404);
    assert_eq!(answer(&missing)["message"], "pods \"none\" not found");
    let table = admin.with(PODS, &[("accept", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io")]).await;
    assert_eq!(table.json()["kind"], "Table");
    let version = admin.with("/version", &[ACCEPT]).await;
    assert!(version.json()["gitVersion"].is_string(), "what has no message is JSON");

    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    assert_eq!(answer(&send(admin, "DELETE", &format!("{PODS}/a"), &options).await)["reason"], "Conflict");
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    assert_eq!(send(admin, "DELETE", &format!("{PODS}/a"), &options).await.code, 200);
    assert_eq!(admin.get(&format!("{PODS}/a")).await.code, 404);

    let wrong = send(admin, "POST", PODS, &deployment()).await;
    assert_eq!((wrong.code, answer(&wrong)["reason"].as_str()), (400, Some("BadRequest")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acting_subresources_and_reviews() {
    let server = Running::start().await;
    let admin = &server.admin;
    assert_eq!(send(admin, "POST", PODS, &pod("a")).await.code, 201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a", "namespace": "default"},
        "target": {"kind": "Node", "name": "n"}});
    let bound = send(admin, "POST", &format!("{PODS}/a/binding"), &binding).await;
    assert_eq!((bound.code, &answer(&bound)["status"]), (201, &json!("Success")));
    assert_eq!(admin.get(&format!("{PODS}/a")).await.json()["spec"]["nodeName"], "n");
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a", "namespace": "default"}});
    let evicted = send(admin, "POST", &format!("{PODS}/a/eviction"), &eviction).await;
    assert_eq!((evicted.code, &answer(&evicted)["kind"]), (201, &json!("Status")), "{}", evicted.text());

    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let review = answer(&send(admin, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await);
    assert_eq!(review["status"]["allowed"], true);

    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}});
    assert_eq!(send(admin, "POST", "/api/v1/namespaces/default/serviceaccounts", &account).await.code, 201);
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": 3600}});
    let token = send(admin, "POST", "/api/v1/namespaces/default/serviceaccounts/s/token", &request).await;
    assert_eq!(token.code, 201, "{}", token.text());
    assert!(answer(&token)["status"]["token"].as_str().is_some_and(|token| token.len() > 20));
}

/// Frames of a watch: a length in four bytes, then `WatchEvent { type = 1, object = 2 { raw = 1 } }`.
struct Frames {
    body: hyper::body::Incoming,
    buffer: Vec<u8>,
}

impl Frames {
    async fn open(client: &Client, target: &str, accept: &str) -> Self {
        let request = client.request("GET", target, &[("accept", accept)], "");
        let response = client.open(true, request).await;
        assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    async fn next(&mut self) -> (String, Value) {
        loop {
            let length = self.buffer.first_chunk().map(|length| u32::from_be_bytes(*length) as usize + 4);
            if let Some(length) = length.filter(|length| self.buffer.len() >= *length) {
                let frame: Vec<u8> = self.buffer.drain(..length).collect();
                return event(&frame[4..]);
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await;
            let data = frame.expect("in time").expect("not the end").expect("a frame").into_data();
            self.buffer.extend_from_slice(&data.expect("data"));
        }
    }
}

/// The event is in no envelope of its own, so it is put into one to be read.
pub(crate) fn event(message: &[u8]) -> (String, Value) {
    let length = message.len();
    assert!(length < 1 << 21);
    let mut envelope = b"k8s\0\x0a\x10\x0a\x02v1\x12\x0aWatchEvent\x12".to_vec();
    envelope.extend([length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8]);
    envelope.extend_from_slice(message);
    let (_, value) = protobuf::decode(Schema::builtin(), &envelope).expect("an event");
    (value["type"].as_str().expect("a type").to_owned(), without_zeros(value["object"].clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_and_metadata() {
    let server = Running::start().await;
    let admin = &server.admin;
    assert_eq!(send(admin, "POST", PODS, &pod("a")).await.code, 201);
    let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let query = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut pods = Frames::open(admin, &format!("{PODS}?{query}"), ACCEPT.1).await;
    let mut metadata = Frames::open(admin, &format!("{PODS}?{query}"), partial).await;
    for (frames, kind) in [(&mut pods, "Pod"), (&mut metadata, "PartialObjectMetadata")] {
        let (event, object) = frames.next().await;
        assert_eq!((event.as_str(), &object["kind"]), ("ADDED", &json!(kind)));
        assert_eq!(object["metadata"]["name"], "a");
        let (event, object) = frames.next().await;
        assert_eq!((event.as_str(), &object["kind"]), ("BOOKMARK", &json!(kind)));
        assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    }
    assert_eq!(send(admin, "POST", PODS, &pod("b")).await.code, 201);
    assert_eq!(pods.next().await.1["spec"]["containers"][0]["image"], "busybox");
    let (_, object) = metadata.next().await;
    assert_eq!((&object["metadata"]["labels"]["app"], object.get("spec")), (&json!("b"), None));

    let future = format!("{PODS}?{query}&resourceVersion=999999999");
    let (event, status) = Frames::open(admin, &future, ACCEPT.1).await.next().await;
    assert_eq!((event.as_str(), &status["kind"]), ("ERROR", &json!("Status")));

    let list = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = answer(&admin.with(PODS, &[("accept", list)]).await);
    assert_eq!(
        (&list["kind"], &list["items"][1]["metadata"]["name"]),
        (&json!("PartialObjectMetadataList"), &json!("b"))
    );
    let one = answer(&admin.with(&format!("{PODS}/b"), &[("accept", partial)]).await);
    assert_eq!((&one["kind"], &one["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("b")));
}

/// More than is kept between measuring and sending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_lists() {
    let server = Running::start().await;
    let admin = &server.admin;
    let path = "/api/v1/namespaces/default/configmaps";
    for index in 0..30 {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{index:02}")},
            "data": {"text": index.to_string().repeat(100_000)}});
        assert_eq!(admin.post(path, &map).await.code, 201);
    }
    let packed = admin.with(path, &[ACCEPT]).await;
    assert_eq!(packed.header("content-length"), packed.body.len().to_string());
    let (packed, plain) = (answer(&packed), admin.get(path).await.json());
    let shown = |list: &Value| {
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| (item["metadata"]["name"].clone(), item["data"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(shown(&packed), shown(&plain));
    assert_eq!(shown(&packed).len(), 30);
}
