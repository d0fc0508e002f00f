//! Server-side apply and `managedFields`, through the verbs of the registry.

use std::sync::Arc;

use crate::common::{Harness, refusal, target};
use api_auth::authz::{Authorizer, AuthzAttributes, Decision};
use api_codec::decode::{FieldValidation, Format};
use api_codec::patch::PatchKind;
use api_machinery::{ApiError, UserInfo, Value, object};
use api_registry::{Authority, Body, RequestInfo, Written};
use expect_test::{Expect, expect};
use serde_json::json;

const MAPS: &str = "v1/configmaps";
const PODS: &str = "v1/pods";
const DEPLOYMENTS: &str = "apps/v1/deployments";

fn by(manager: &str) -> RequestInfo {
    RequestInfo { field_manager: manager.to_owned(), ..Harness::info() }
}

async fn apply_as(
    h: &Harness,
    info: &RequestInfo,
    (path, place): (&str, &str),
    config: Value,
    force: bool,
) -> Result<Written, ApiError> {
    h.registry.apply(info, &target(path, place), Body::Value(config), force).await
}

async fn apply(h: &Harness, manager: &str, at: (&str, &str), config: Value) -> Result<Written, ApiError> {
    apply_as(h, &by(manager), at, config, false).await
}

async fn merge(h: &Harness, manager: &str, (path, place): (&str, &str), patch: Value) -> Written {
    let patched = h.registry.patch(&by(manager), &target(path, place), PatchKind::Merge, Body::Value(patch)).await;
    patched.expect("patched")
}

async fn update(h: &Harness, manager: &str, (path, place): (&str, &str), object: Value) -> Written {
    h.registry.update(&by(manager), &target(path, place), Body::Value(object)).await.expect("updated")
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data})
}

const MAP: (&str, &str) = (MAPS, "default/x");

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

const DEPLOYMENT: (&str, &str) = (DEPLOYMENTS, "default/web");

fn web(image: &str) -> Value {
    deployment(json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]},
        },
    }))
}

/// The paths of `fieldsV1`, one a line.
fn paths(fields: &Value, at: &str, out: &mut Vec<String>) {
    let map = fields.as_object().expect("a set of fields");
    if map.is_empty() {
        out.push(at.to_owned());
    }
    for (name, inside) in map {
        paths(inside, &format!("{at}{}{name}", if at.is_empty() { "" } else { " " }), out);
    }
}

/// Every manager with what it manages.
fn managers(object: &Value) -> String {
    let mut out = String::new();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
        let subresource = entry["subresource"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
        out.push_str(&format!(
            "{} {} {}{subresource} {}\n",
            text("manager"),
            text("operation"),
            text("apiVersion"),
            text("time").trim_start_matches("2027-01-15T").trim_end_matches('Z')
        ));
        let mut fields = Vec::new();
        paths(&entry["fieldsV1"], "", &mut fields);
        fields.into_iter().for_each(|path| out.push_str(&format!("  {path}\n")));
    }
    out
}

async fn managed(h: &Harness, (path, place): (&str, &str), expect: Expect) {
    expect.assert_eq(&managers(&h.get(path, place).await.expect("there")));
}

#[tokio::test]
async fn every_writer_owns_what_it_writes() {
    let h = Harness::new().await;
    h.registry
        .create(&by("creator"), &target(DEPLOYMENTS, "default/"), Body::Value(web("a:1")))
        .await
        .expect("created");
    h.clock.advance(60);
    merge(&h, "editor", DEPLOYMENT, json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 3}})).await;
    h.clock.advance(60);
    let at_status = (DEPLOYMENTS, "default/web#status");
    merge(&h, "reporter", at_status, json!({"status": {"replicas": 3}, "spec": {"replicas": 9}})).await;
    h.clock.advance(60);
    apply(&h, "applier", DEPLOYMENT, deployment(json!({"paused": true}))).await.expect("applied");
    h.clock.advance(60);
    let at_scale = (DEPLOYMENTS, "default/web#scale");
    merge(&h, "scaler", at_scale, json!({"spec": {"replicas": 4}})).await;
    managed(&h, DEPLOYMENT, expect![[r#"
        applier Apply apps/v1 08:03:00
          f:spec f:paused
        creator Update apps/v1 08:00:00
          f:spec f:progressDeadlineSeconds
          f:spec f:revisionHistoryLimit
          f:spec f:selector
          f:spec f:strategy f:rollingUpdate .
          f:spec f:strategy f:rollingUpdate f:maxSurge
          f:spec f:strategy f:rollingUpdate f:maxUnavailable
          f:spec f:strategy f:type
          f:spec f:template f:metadata f:labels .
          f:spec f:template f:metadata f:labels f:app
          f:spec f:template f:spec f:containers k:{"name":"web"} .
          f:spec f:template f:spec f:containers k:{"name":"web"} f:image
          f:spec f:template f:spec f:containers k:{"name":"web"} f:imagePullPolicy
          f:spec f:template f:spec f:containers k:{"name":"web"} f:name
          f:spec f:template f:spec f:containers k:{"name":"web"} f:ports .
          f:spec f:template f:spec f:containers k:{"name":"web"} f:ports k:{"containerPort":80,"protocol":"TCP"} .
          f:spec f:template f:spec f:containers k:{"name":"web"} f:ports k:{"containerPort":80,"protocol":"TCP"} f:containerPort
          f:spec f:template f:spec f:containers k:{"name":"web"} f:ports k:{"containerPort":80,"protocol":"TCP"} f:protocol
          f:spec f:template f:spec f:containers k:{"name":"web"} f:resources
          f:spec f:template f:spec f:containers k:{"name":"web"} f:terminationMessagePath
          f:spec f:template f:spec f:containers k:{"name":"web"} f:terminationMessagePolicy
          f:spec f:template f:spec f:dnsPolicy
          f:spec f:template f:spec f:restartPolicy
          f:spec f:template f:spec f:schedulerName
          f:spec f:template f:spec f:securityContext
          f:spec f:template f:spec f:terminationGracePeriodSeconds
        editor Update apps/v1 08:01:00
          f:metadata f:labels .
          f:metadata f:labels f:a
        reporter Update apps/v1 status 08:02:00
          f:status f:replicas
        scaler Update apps/v1 scale 08:04:00
          f:spec f:replicas
    "#]]).await;
}

#[tokio::test]
async fn a_pod_is_owned_as_upstream_shows_it() {
    let h = Harness::new().await;
    let pod = json!({"metadata": {"name": "p", "labels": {"run": "p"}}, "spec": {
        "containers": [{
            "name": "c", "image": "i", "env": [{"name": "A", "value": "1"}],
            "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
        }],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }});
    h.registry.create(&by("kubectl-run"), &target(PODS, "default/"), Body::Value(pod)).await.expect("created");
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    merge(&h, "kubelet", (PODS, "default/p#status"), ready).await;
    managed(
        &h,
        (PODS, "default/p"),
        expect![[r#"
            kubectl-run Update v1 08:00:00
              f:metadata f:labels .
              f:metadata f:labels f:run
              f:spec f:containers k:{"name":"c"} .
              f:spec f:containers k:{"name":"c"} f:env .
              f:spec f:containers k:{"name":"c"} f:env k:{"name":"A"} .
              f:spec f:containers k:{"name":"c"} f:env k:{"name":"A"} f:name
              f:spec f:containers k:{"name":"c"} f:env k:{"name":"A"} f:value
              f:spec f:containers k:{"name":"c"} f:image
              f:spec f:containers k:{"name":"c"} f:imagePullPolicy
              f:spec f:containers k:{"name":"c"} f:livenessProbe .
              f:spec f:containers k:{"name":"c"} f:livenessProbe f:failureThreshold
              f:spec f:containers k:{"name":"c"} f:livenessProbe f:httpGet .
              f:spec f:containers k:{"name":"c"} f:livenessProbe f:httpGet f:path
              f:spec f:containers k:{"name":"c"} f:livenessProbe f:httpGet f:port
              f:spec f:containers k:{"name":"c"} f:livenessProbe f:httpGet f:scheme
              f:spec f:containers k:{"name":"c"} f:livenessProbe f:periodSeconds
              f:spec f:containers k:{"name":"c"} f:livenessProbe f:successThreshold
              f:spec f:containers k:{"name":"c"} f:livenessProbe f:timeoutSeconds
              f:spec f:containers k:{"name":"c"} f:name
              f:spec f:containers k:{"name":"c"} f:resources
              f:spec f:containers k:{"name":"c"} f:terminationMessagePath
              f:spec f:containers k:{"name":"c"} f:terminationMessagePolicy
              f:spec f:dnsPolicy
              f:spec f:enableServiceLinks
              f:spec f:restartPolicy
              f:spec f:schedulerName
              f:spec f:securityContext
              f:spec f:terminationGracePeriodSeconds
              f:spec f:volumes .
              f:spec f:volumes k:{"name":"v"} .
              f:spec f:volumes k:{"name":"v"} f:emptyDir
              f:spec f:volumes k:{"name":"v"} f:name
            kubelet Update v1 status 08:00:00
              f:status f:conditions .
              f:status f:conditions k:{"type":"Ready"} .
              f:status f:conditions k:{"type":"Ready"} f:lastProbeTime
              f:status f:conditions k:{"type":"Ready"} f:lastTransitionTime
              f:status f:conditions k:{"type":"Ready"} f:status
              f:status f:conditions k:{"type":"Ready"} f:type
              f:status f:phase
        "#]],
    )
    .await;
}

#[tokio::test]
async fn apply_creates_and_then_merges() {
    let h = Harness::new().await;
    let made = apply(&h, "one", MAP, map(json!({"a": "1", "b": "2"}))).await.expect("created");
    assert!(made.created);
    assert_eq!(made.object["metadata"]["namespace"], "default");
    h.clock.advance(5);
    let again = apply(&h, "one", MAP, map(json!({"a": "1", "b": "2"}))).await.expect("applied");
    assert_eq!((again.created, again.revision), (false, made.revision), "nothing changed, nothing is written");
    assert_eq!(again.object, made.object);
    apply(&h, "two", MAP, map(json!({"b": "2", "c": "3"}))).await.expect("shares b");
    h.clock.advance(5);
    apply(&h, "one", MAP, map(json!({"a": "9"}))).await.expect("gives up b");
    let object = h.get(MAPS, "default/x").await.expect("there");
    assert_eq!(object["data"], json!({"a": "9", "b": "2", "c": "3"}));
    managed(
        &h,
        MAP,
        expect![[r#"
        two Apply v1 08:00:05
          f:data f:b
          f:data f:c
        one Apply v1 08:00:10
          f:data f:a
    "#]],
    )
    .await;
    apply(&h, "two", MAP, map(json!({}))).await.expect("gives up everything");
    assert_eq!(h.get(MAPS, "default/x").await.expect("there")["data"], json!({"a": "9"}));
}

#[tokio::test]
async fn conflicts_and_force() {
    let h = Harness::new().await;
    apply(&h, "one", MAP, map(json!({"a": "1", "b": "2"}))).await.expect("created");
    merge(&h, "edit", MAP, json!({"data": {"c": "3"}})).await;
    let refused = apply(&h, "two", MAP, map(json!({"a": "9", "c": "9"}))).await.expect_err("a conflict");
    assert_eq!(
        refused.message,
        "Apply failed with 2 conflicts: conflicts with \"edit\" using v1:\n- .data.c\nconflicts with \"one\":\n- .data.a"
    );
    let details = refused.to_status()["details"].clone();
    assert_eq!(
        details["causes"][1],
        json!({
        "reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.a"})
    );
    let one = apply(&h, "two", MAP, map(json!({"a": "9"}))).await;
    assert_eq!(refusal(one), "409 Conflict: Apply failed with 1 conflict: conflict with \"one\": .data.a");
    apply_as(&h, &by("two"), MAP, map(json!({"a": "9", "c": "9"})), true).await.expect("forced");
    assert_eq!(h.get(MAPS, "default/x").await.expect("there")["data"], json!({"a": "9", "b": "2", "c": "9"}));
    managed(
        &h,
        MAP,
        expect![[r#"
        one Apply v1 08:00:00
          f:data f:b
        two Apply v1 08:00:00
          f:data f:a
          f:data f:c
    "#]],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_applied() {
    let h = Harness::new().await;
    let refused = async |at: (&str, &str), config: Value| refusal(apply(&h, "me", at, config).await);
    let pod = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec});
    let at_pod = (PODS, "default/x");
    let with = |field: &str, value: Value| {
        let mut map = map(json!({"a": "1"}));
        map["metadata"][field] = value;
        map
    };
    let mut out = String::new();
    for (what, at, config) in [
        ("no type", MAP, json!({"metadata": {"name": "x"}})),
        ("another version", DEPLOYMENT, json!({"apiVersion": "apps/v1beta1", "kind": "Deployment"})),
        ("another kind", MAP, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}})),
        ("managers", MAP, with("managedFields", json!([]))),
        ("another name", MAP, with("name", json!("y"))),
        ("no name", MAP, json!({"apiVersion": "v1", "kind": "ConfigMap"})),
        ("another namespace", MAP, with("namespace", json!("y"))),
        ("a uid", MAP, with("uid", json!("u"))),
        ("an unknown field", at_pod, pod(json!({"containers": [{"name": "a", "imaeg": "i"}]}))),
        (
            "several",
            MAP,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "dta": 1, "data": {"a": 1}, "immutable": "no"}),
        ),
        ("a number as text", DEPLOYMENT, deployment(json!({"replicas": "3"}))),
        ("text as a list", at_pod, pod(json!({"containers": "c"}))),
        ("one key twice", at_pod, pod(json!({"containers": [{"name": "a"}, {"name": "a"}]}))),
        ("no key", at_pod, pod(json!({"containers": [{"image": "a"}]}))),
        ("too large a number", DEPLOYMENT, deployment(json!({"replicas": 3_000_000_000_u64}))),
        ("not valid", at_pod, pod(json!({"containers": [{"name": "A"}]}))),
        ("a status of nothing", (DEPLOYMENTS, "default/web#status"), deployment(json!({}))),
    ] {
        out.push_str(&format!("{what}: {}\n", refused(at, config).await));
    }
    expect![[r#"
        no type: 400 BadRequest: invalid object type: /, Kind=
        another version: 400 BadRequest: invalid object type: apps/v1beta1, Kind=Deployment
        another kind: 400 BadRequest: invalid object type: /v1, Kind=Secret
        managers: 400 BadRequest: metadata.managedFields must be nil
        another name: 400 BadRequest: the name of the object (y) does not match the name on the URL (x)
        no name: 400 BadRequest: the name of the object (x based on URL) was undeterminable: name must be provided
        another namespace: 400 BadRequest: the namespace of the provided object does not match the namespace sent on the request
        a uid: 409 Conflict: Operation cannot be fulfilled on configmaps "x": uid mismatch: the provided object specified uid u, and no existing object was found
        an unknown field: 500 : failed to create typed patch object (/x; /v1, Kind=Pod): .spec.containers[name="a"].imaeg: field not declared in schema
        several: 500 : failed to create typed patch object (/; /v1, Kind=ConfigMap): errors:
          .data.a: expected string, got &value.valueUnstructured{Value:1}
          .dta: field not declared in schema
          .immutable: expected boolean, got &{no}
        a number as text: 500 : failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.replicas: expected numeric (int or float), got string
        text as a list: 500 : failed to create typed patch object (/x; /v1, Kind=Pod): .spec.containers: expected list, got &{c}
        one key twice: 500 : failed to create typed patch object (/x; /v1, Kind=Pod): .spec.containers: duplicate entries for key [name="a"]
        no key: 422 Invalid: Pod "x" is invalid: spec.containers[0].name: Required value
        too large a number: 422 Invalid: Deployment.apps "web" is invalid: [spec.replicas: Invalid value: -1294967296: must be greater than or equal to 0, spec.selector: Required value, spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`, spec.template.spec.containers: Required value]
        not valid: 422 Invalid: Pod "x" is invalid: [spec.containers[0].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), spec.containers[0].image: Required value]
        a status of nothing: 404 NotFound: deployments.apps "web" not found
    "#]].assert_eq(&out);
    assert_eq!(refusal(h.get(MAPS, "default/x").await), "404 NotFound: configmaps \"x\" not found");
}

#[tokio::test]
async fn documents_are_yaml_or_json() {
    let h = Harness::new().await;
    let apply = async |validation: FieldValidation, text: &str| {
        let info = RequestInfo { field_validation: validation, ..by("me") };
        let body = Body::Bytes { format: Format::Yaml, bytes: text.to_owned().into() };
        h.registry.apply(&info, &target(MAPS, "default/x"), body, false).await
    };
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: \"1\"\n  a: \"2\"\n";
    let refused = refusal(apply(FieldValidation::Strict, yaml).await);
    assert_eq!(refused, "400 BadRequest: error strict decoding YAML: duplicate field \"data.a\"");
    let written = apply(FieldValidation::Warn, yaml).await.expect("applied");
    assert_eq!(written.warnings, ["duplicate field \"data.a\""]);
    let json = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"3"}}"#;
    let written = apply(FieldValidation::Strict, json).await.expect("applied");
    assert_eq!((&written.object["data"], written.warnings.len()), (&json!({"a": "3"}), 0));
    for (text, expect) in [
        ("", "400 BadRequest: invalid object type: /, Kind="),
        (
            "[1]",
            "400 BadRequest: error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal \
             array into Go value of type map[string]interface {}",
        ),
    ] {
        assert_eq!(refusal(apply(FieldValidation::Strict, text).await), expect);
    }
    let broken = refusal(apply(FieldValidation::Strict, "a: [").await);
    assert!(
        broken.starts_with("400 BadRequest: error decoding YAML: error converting YAML to JSON: yaml: "),
        "{broken}"
    );
}

#[tokio::test]
async fn a_version_in_the_configuration_is_a_precondition() {
    let h = Harness::new().await;
    let made = apply(&h, "one", MAP, map(json!({"a": "1"}))).await.expect("created");
    let based = |version: String, data: Value| {
        let mut map = map(data);
        map["metadata"]["resourceVersion"] = version.into();
        map
    };
    let version = object::resource_version(&made.object).to_owned();
    apply(&h, "one", MAP, based(version.clone(), json!({"a": "2"}))).await.expect("that is the version");
    let stale = refusal(apply(&h, "one", MAP, based(version, json!({"a": "3"}))).await);
    assert!(stale.starts_with("409 Conflict: Operation cannot be fulfilled on configmaps \"x\""), "{stale}");
}

struct May(Vec<&'static str>);

#[async_trait::async_trait]
impl Authorizer for May {
    async fn authorize(&self, asked: &AuthzAttributes) -> Decision {
        match self.0.contains(&asked.verb.as_str()) {
            true => Decision::Allow { reason: String::new() },
            false => Decision::NoOpinion { reason: String::new() },
        }
    }
    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> (Vec<Value>, Vec<Value>) {
        (Vec::new(), Vec::new())
    }
}

#[tokio::test]
async fn making_by_apply_needs_the_right_to_create() {
    let h = Harness::new().await;
    let may = |verbs: &[&'static str]| {
        let user = UserInfo { name: "ann".to_owned(), ..UserInfo::default() };
        RequestInfo { user, authority: Some(Authority(Arc::new(May(verbs.to_vec())))), ..by("me") }
    };
    let refused = refusal(apply_as(&h, &may(&["patch"]), MAP, map(json!({"a": "1"})), false).await);
    assert_eq!(
        refused,
        "403 Forbidden: configmaps \"x\" is forbidden: User \"ann\" cannot create resource \"configmaps\" in API group \
         \"\" in the namespace \"default\""
    );
    apply_as(&h, &may(&["create"]), MAP, map(json!({"a": "1"})), false).await.expect("created");
    apply_as(&h, &may(&["patch"]), MAP, map(json!({"a": "2"})), false).await.expect("changed");
}

#[tokio::test]
async fn dry_runs_show_and_keep_nothing() {
    let h = Harness::new().await;
    let dry = RequestInfo { dry_run: true, ..by("one") };
    let shown = apply_as(&h, &dry, MAP, map(json!({"a": "1"})), false).await.expect("shown");
    assert!(shown.created);
    assert_eq!(shown.object["metadata"]["managedFields"][0]["manager"], "one");
    assert_eq!(refusal(h.get(MAPS, "default/x").await), "404 NotFound: configmaps \"x\" not found");
    let made = apply(&h, "one", MAP, map(json!({"a": "1"}))).await.expect("created");
    let shown = apply_as(&h, &dry, MAP, map(json!({"a": "2"})), false).await.expect("shown");
    assert_eq!(shown.object["data"], json!({"a": "2"}));
    assert_eq!(h.get(MAPS, "default/x").await.expect("there"), made.object);
    let dry = RequestInfo { dry_run: true, ..by("two") };
    let refused = refusal(apply_as(&h, &dry, MAP, map(json!({"a": "2"})), false).await);
    assert_eq!(refused, "409 Conflict: Apply failed with 1 conflict: conflict with \"one\": .data.a");
}

#[tokio::test]
async fn lists_of_every_kind() {
    let h = Harness::new().await;
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}});
    let at = ("v1/services", "default/s");
    // The protocol is part of the key, and has a default.
    apply(&h, "one", at, service(json!([{"port": 80, "name": "a"}]))).await.expect("created");
    apply(&h, "two", at, service(json!([{"port": 81, "name": "b", "protocol": "TCP"}]))).await.expect("another port");
    let refused = refusal(apply(&h, "two", at, service(json!([{"port": 80, "protocol": "TCP", "name": "c"}]))).await);
    assert_eq!(
        refused,
        "409 Conflict: Apply failed with 1 conflict: conflict with \"one\": .spec.ports[port=80,protocol=\"TCP\"].name"
    );
    apply(&h, "one", at, service(json!([{"port": 82, "name": "d"}]))).await.expect("80 goes, 82 comes");
    let ports = h.get("v1/services", "default/s").await.expect("there")["spec"]["ports"].clone();
    let of = |ports: &Value| -> Vec<(i64, String)> {
        let ports = ports.as_array().expect("ports");
        ports.iter().map(|port| (port["port"].as_i64().unwrap_or(0), port["name"].to_string())).collect()
    };
    assert_eq!(of(&ports), [(81, "\"b\"".to_owned()), (82, "\"d\"".to_owned())]);
    // A set, an atomic list, a map of maps.
    let with = |finalizers: &[&str], labels: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "x", "finalizers": finalizers, "labels": labels}})
    };
    apply(&h, "one", MAP, with(&["e.x/a", "e.x/b"], json!({"a": "1"}))).await.expect("created");
    apply(&h, "two", MAP, with(&["e.x/b", "e.x/c"], json!({"b": "1"}))).await.expect("more");
    apply(&h, "one", MAP, with(&["e.x/a"], json!({"a": "2"}))).await.expect("fewer");
    let object = h.get(MAPS, "default/x").await.expect("there");
    let mut finalizers = object::finalizers(&object);
    finalizers.sort_unstable();
    assert_eq!(
        (finalizers, &object["metadata"]["labels"]),
        (vec!["e.x/a", "e.x/b", "e.x/c"], &json!({"a": "2", "b": "1"}))
    );
    managed(
        &h,
        MAP,
        expect![[r#"
        one Apply v1 08:00:00
          f:metadata f:finalizers v:"e.x/a"
          f:metadata f:labels f:a
        two Apply v1 08:00:00
          f:metadata f:finalizers v:"e.x/b"
          f:metadata f:finalizers v:"e.x/c"
          f:metadata f:labels f:b
    "#]],
    )
    .await;
}

#[tokio::test]
async fn scales_carry_the_managers_of_replicas() {
    let h = Harness::new().await;
    let mut first = web("a:1");
    first["spec"]["replicas"] = json!(2);
    apply(&h, "one", DEPLOYMENT, first.clone()).await.expect("created");
    let scale = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
    let at = (DEPLOYMENTS, "default/web#scale");
    let refused = refusal(apply(&h, "two", at, scale(3)).await);
    assert_eq!(refused, "409 Conflict: Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    let same = apply(&h, "two", at, scale(2)).await.expect("shared");
    assert_eq!((same.object["kind"].as_str(), &same.object["spec"]), (Some("Scale"), &json!({"replicas": 2})));
    h.clock.advance(5);
    let forced = apply_as(&h, &by("three"), at, scale(5), true).await.expect("forced");
    assert_eq!(forced.object["spec"], json!({"replicas": 5}));
    let refused = refusal(apply(&h, "one", DEPLOYMENT, first).await);
    assert_eq!(
        refused,
        "409 Conflict: Apply failed with 1 conflict: conflict with \"three\" with subresource \"scale\": .spec.replicas"
    );
    h.clock.advance(5);
    merge(&h, "kubectl", at, json!({"spec": {"replicas": 6}})).await;
    let entry = |object: &Value| {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.into_iter().filter(|entry| entry["subresource"] == "scale").collect::<Vec<_>>()
    };
    let object = h.get(DEPLOYMENTS, "default/web").await.expect("there");
    assert_eq!(
        Value::from(entry(&object)),
        json!([{
            "manager": "kubectl", "operation": "Update", "apiVersion": "apps/v1", "subresource": "scale",
            "time": "2027-01-15T08:00:10Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }])
    );
    h.clock.advance(5);
    merge(&h, "kubectl", at, json!({"spec": {"replicas": 6}})).await;
    assert_eq!(h.get(DEPLOYMENTS, "default/web").await.expect("there"), object, "the same again is no write");
}

#[tokio::test]
async fn status_is_applied_apart() {
    let h = Harness::new().await;
    apply(&h, "one", DEPLOYMENT, web("a:1")).await.expect("created");
    let status = |replicas: i64| {
        let mut object = deployment(json!({"paused": true}));
        object["status"] = json!({"replicas": replicas});
        object
    };
    let at = (DEPLOYMENTS, "default/web#status");
    apply(&h, "two", at, status(1)).await.expect("applied");
    let object = h.get(DEPLOYMENTS, "default/web").await.expect("there");
    assert_eq!((&object["status"]["replicas"], object["spec"].get("paused")), (&json!(1), None));
    let refused = refusal(apply(&h, "three", at, status(2)).await);
    assert_eq!(
        refused,
        "409 Conflict: Apply failed with 1 conflict: conflict with \"two\" with subresource \"status\": .status.replicas"
    );
    let mut through_main = web("a:1");
    through_main["status"] = json!({"replicas": 7});
    apply(&h, "one", DEPLOYMENT, through_main).await.expect("status is ignored here");
    managed(&h, DEPLOYMENT, expect![[r#"
        one Apply apps/v1 08:00:00
          f:spec f:selector
          f:spec f:template f:metadata f:labels f:app
          f:spec f:template f:spec f:containers k:{"name":"web"} .
          f:spec f:template f:spec f:containers k:{"name":"web"} f:image
          f:spec f:template f:spec f:containers k:{"name":"web"} f:name
          f:spec f:template f:spec f:containers k:{"name":"web"} f:ports k:{"containerPort":80,"protocol":"TCP"} .
          f:spec f:template f:spec f:containers k:{"name":"web"} f:ports k:{"containerPort":80,"protocol":"TCP"} f:containerPort
        two Apply apps/v1 status 08:00:00
          f:status f:replicas
    "#]]).await;
}

#[tokio::test]
async fn two_versions_of_one_object() {
    let h = Harness::new().await;
    let at_v1 = ("autoscaling/v1/horizontalpodautoscalers", "default/h");
    let at_v2 = ("autoscaling/v2/horizontalpodautoscalers", "default/h");
    let target_ref = json!({"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"});
    let v1 = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": target_ref, "maxReplicas": 5, "targetCPUUtilizationPercentage": 50}});
    apply(&h, "one", at_v1, v1.clone()).await.expect("created");
    let v2 = |max: i64| {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {"scaleTargetRef": target_ref, "maxReplicas": max}})
    };
    let refused = refusal(apply(&h, "two", at_v2, v2(6)).await);
    assert_eq!(refused, "409 Conflict: Apply failed with 1 conflict: conflict with \"one\": .spec.maxReplicas");
    apply(&h, "two", at_v2, v2(5)).await.expect("shared");
    let cpu = async || {
        let object = h.get(at_v2.0, at_v2.1).await.expect("there");
        object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"].clone()
    };
    assert_eq!(cpu().await, 50);
    apply(&h, "one", at_v2, v2(5)).await.expect("applied in the other version");
    assert_eq!(cpu().await, 80, "the metric went, and the default came");
    managed(
        &h,
        at_v1,
        expect![[r#"
        one Apply autoscaling/v2 08:00:00
          f:spec f:maxReplicas
          f:spec f:scaleTargetRef f:apiVersion
          f:spec f:scaleTargetRef f:kind
          f:spec f:scaleTargetRef f:name
        two Apply autoscaling/v2 08:00:00
          f:spec f:maxReplicas
          f:spec f:scaleTargetRef f:apiVersion
          f:spec f:scaleTargetRef f:kind
          f:spec f:scaleTargetRef f:name
    "#]],
    )
    .await;
    // Events are stored in another form than events.k8s.io has them.
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2027-01-15T08:00:00.000000Z", "reportingController": "c", "reportingInstance": "i",
        "action": "a", "reason": "r", "type": "Normal", "note": "n"});
    let at = ("events.k8s.io/v1/events", "default/e");
    h.registry.create(&by("c"), &target(at.0, "default/"), Body::Value(event)).await.expect("created");
    managed(
        &h,
        at,
        expect![[r#"
        c Update events.k8s.io/v1 08:00:00
          f:action
          f:eventTime
          f:note
          f:reason
          f:reportingController
          f:reportingInstance
          f:type
    "#]],
    )
    .await;
}

#[tokio::test]
async fn managers_as_clients_send_them() {
    let h = Harness::new().await;
    apply(&h, "one", MAP, map(json!({"a": "1"}))).await.expect("created");
    let own = h.get(MAPS, "default/x").await.expect("there");
    // Not readable: the live ones are kept.
    for bad in [
        json!([{"manager": "m", "operation": "Sing", "apiVersion": "v1", "fieldsType": "FieldsV1"}]),
        json!([{"manager": "m", "operation": "Update", "fieldsType": "FieldsV1"}]),
        json!([{"manager": "m", "operation": "Update", "apiVersion": "v1"}]),
        json!([{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"x": {}}}]),
    ] {
        let mut object = Value::clone(&own);
        object["metadata"]["managedFields"] = bad;
        assert_eq!(*update(&h, "edit", MAP, object).await.object, *own);
    }
    let mut object = Value::clone(&own);
    object["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    assert_eq!(*update(&h, "edit", MAP, object).await.object, *own, "who knows nothing of managers leaves them");
    // Readable ones are taken, through the object only.
    let mut object = Value::clone(&own);
    object["metadata"]["managedFields"][0]["manager"] = json!("renamed");
    let renamed = update(&h, "edit", MAP, object).await;
    assert_eq!(renamed.object["metadata"]["managedFields"][0]["manager"], "renamed");
    // And all can be forgotten; then nobody is noted until somebody applies.
    for reset in [json!([{}]), json!([])] {
        let mut object = Value::clone(&h.get(MAPS, "default/x").await.expect("there"));
        object["metadata"]["managedFields"] = reset;
        assert_eq!(update(&h, "edit", MAP, object).await.object["metadata"].get("managedFields"), None);
    }
    assert_eq!(merge(&h, "edit", MAP, json!({"data": {"b": "2"}})).await.object["metadata"].get("managedFields"), None);
    apply(&h, "two", MAP, map(json!({"c": "3"}))).await.expect("applied");
    managed(
        &h,
        MAP,
        expect![[r#"
        two Apply v1 08:00:00
          f:data f:c
        before-first-apply Update v1 08:00:00
          f:data .
          f:data f:a
          f:data f:b
    "#]],
    )
    .await;
}

#[tokio::test]
async fn kubectl_moves_over_from_its_client_side() {
    let h = Harness::new().await;
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let last = map(json!({"a": "1", "b": "2"}));
    let mut object = last.clone();
    object["metadata"]["annotations"] = json!({ANNOTATION: last.to_string()});
    let client_side = by("kubectl-client-side-apply");
    h.registry.create(&client_side, &target(MAPS, "default/"), Body::Value(object)).await.expect("created");
    merge(&h, "edit", MAP, json!({"data": {"b": "3"}})).await;
    let wanted = map(json!({"a": "9", "b": "9"}));
    let refused = refusal(apply(&h, "kubectl", MAP, wanted.clone()).await);
    assert_eq!(
        refused, "409 Conflict: Apply failed with 1 conflict: conflict with \"edit\" using v1: .data.b",
        "what kubectl itself left there is no conflict"
    );
    let refused = refusal(apply(&h, "other", MAP, wanted).await);
    assert!(refused.contains("conflicts with \"kubectl-client-side-apply\" using v1:\n- .data.a"), "{refused}");
    apply(&h, "kubectl", MAP, map(json!({"a": "9"}))).await.expect("taken over");
    let object = h.get(MAPS, "default/x").await.expect("there");
    let noted: Value = serde_json::from_str(object::annotation(&object, ANNOTATION).expect("kept")).expect("JSON");
    assert_eq!(noted, map(json!({"a": "9"})));
    managed(
        &h,
        MAP,
        expect![[r#"
        kubectl Apply v1 08:00:00
          f:data f:a
        edit Update v1 08:00:00
          f:data f:b
        kubectl-client-side-apply Update v1 08:00:00
          f:data
          f:metadata f:annotations .
          f:metadata f:annotations f:kubectl.kubernetes.io/last-applied-configuration
    "#]],
    )
    .await;
}

#[tokio::test]
async fn bindings_and_evictions_leave_managers_alone() {
    let h = Harness::new().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    h.registry.create(&by("creator"), &target(PODS, "default/"), Body::Value(pod)).await.expect("created");
    let before = managers(&h.get(PODS, "default/p").await.expect("there"));
    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "n"}});
    let bound =
        h.registry.create(&by("kube-scheduler"), &target(PODS, "default/p#binding"), Body::Value(binding)).await;
    bound.expect("bound");
    let pod = h.get(PODS, "default/p").await.expect("there");
    assert_eq!((pod["spec"]["nodeName"].as_str(), managers(&pod)), (Some("n"), before));
}

#[tokio::test]
async fn concurrent_applies_lose_nothing() {
    let h = Arc::new(Harness::new().await);
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let h = h.clone();
            tokio::spawn(async move {
                apply(&h, &format!("m{n}"), MAP, map(json!({format!("k{n}"): "v"}))).await.map(|_| ())
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("ran").expect("applied");
    }
    let object = h.get(MAPS, "default/x").await.expect("there");
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(16));
    assert_eq!(object["metadata"]["managedFields"].as_array().map(Vec::len), Some(16), "appliers are not put together");
}
