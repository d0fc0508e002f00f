//! Discovery as served, in both of its forms, against every row of upstream's tables of groups and resources; and how
//! it is negotiated.

use std::collections::{BTreeMap, BTreeSet};

use api_codec::{protobuf, yaml};
use api_machinery::Value;
use api_schema::{Resource, Schema};
use serde_json::json;

use crate::common::{Answer, Running};
use crate::golden;
use crate::report::{Exception, Report, Row, rows};

const AGGREGATED: &str = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const EXCEPTIONS: &[Exception] = &[];

fn list(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("")
}

/// The group-version of a row: `v1`, `apps/v1`.
fn version(row: &Row) -> String {
    match row.get("group") {
        "core" => row.get("version").to_owned(),
        group => format!("{group}/{}", row.get("version")),
    }
}

/// What one server says of everything: entries of both forms by group-version and name.
struct Said {
    legacy: BTreeMap<(String, String), Value>,
    aggregated: BTreeMap<(String, String), Value>,
}

impl Said {
    async fn by(server: &Running) -> Self {
        let mut said = Self { legacy: BTreeMap::new(), aggregated: BTreeMap::new() };
        let accept = format!("application/json;{AGGREGATED}");
        for root in ["/api", "/apis"] {
            let groups = server.admin.with(root, &[("accept", &accept)]).await.json();
            for group in groups["items"].as_array().expect("groups") {
                let name = text(&group["metadata"], "name");
                for one in group["versions"].as_array().expect("versions") {
                    let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
                    said.add(server, root, &format!("{prefix}{}", text(one, "version")), one).await;
                }
            }
        }
        said
    }

    async fn add(&mut self, server: &Running, root: &str, version: &str, aggregated: &Value) {
        for one in aggregated["resources"].as_array().expect("resources") {
            let name = text(one, "resource");
            for sub in one["subresources"].as_array().into_iter().flatten() {
                let mut sub = sub.clone();
                sub["scope"] = one["scope"].clone();
                let name = format!("{name}/{}", text(&sub, "subresource"));
                self.aggregated.insert((version.to_owned(), name), sub);
            }
            self.aggregated.insert((version.to_owned(), name.to_owned()), one.clone());
        }
        let legacy = server.admin.get(&format!("{root}/{version}")).await.json();
        assert_eq!(text(&legacy, "groupVersion"), version);
        for one in legacy["resources"].as_array().expect("resources") {
            self.legacy.insert((version.to_owned(), text(one, "name").to_owned()), one.clone());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_resources_in_discovery() {
    let Some(table) = golden::place("resources.tsv") else { return };
    let table = rows(&table);
    let usual = Running::start().await;
    let all = Running::featuring("api/all=true", &gates(&table)).await;
    let (said, all_said) = (Said::by(&usual).await, Said::by(&all).await);
    let mut report = Report::new("resources", EXCEPTIONS);
    let (mut left, mut absent) = (said.legacy.clone(), Vec::new());
    for row in &table {
        let at = (version(row), row.get("resource").to_owned());
        let name = format!("{} {}", at.0, at.1);
        let on = row.get("default") == "on";
        let said = if on { &said } else { &all_said };
        match (said.legacy.get(&at), said.aggregated.get(&at)) {
            (Some(legacy), Some(aggregated)) => {
                report.row();
                report.compare(&name, "by default", left.remove(&at).is_some(), on);
                compare_legacy(&mut report, &name, legacy, row);
                compare_aggregated(&mut report, &name, aggregated, row);
                compare_storage(&mut report, &name, all.registry.schema, row);
            }
            (None, None) if !on => absent.push(name),
            _ => report.differs(&name, "is not in discovery"),
        }
    }
    println!("golden resources: off by default and not there to be switched on: {}", absent.join(", "));
    left.into_keys().for_each(|(version, name)| report.differs(&format!("{version} {name}"), "upstream has it not"));
    report.finish();
}

/// The gates that rows need, as far as they can be switched on.
fn gates(table: &[Row]) -> String {
    let needed: BTreeSet<&str> = table.iter().flat_map(|row| row.list("required_gate")).collect();
    let on = needed.into_iter().map(|gate| format!("{gate}=true")).filter(|gate| Schema::check("", gate).is_ok());
    on.collect::<Vec<_>>().join(",")
}

fn compare_legacy(report: &mut Report, at: &str, found: &Value, row: &Row) {
    report.compare(at, "singular name", text(found, "singularName"), row.get("singular"));
    report.compare(at, "kind", text(found, "kind"), row.get("kind"));
    report.compare(at, "namespaced", &found["namespaced"], &json!(row.get("scope") == "namespaced"));
    report.compare(at, "verbs", list(&found["verbs"]), row.list("verbs"));
    report.compare(at, "short names", list(&found["shortNames"]), row.list("short_names"));
    report.compare(at, "categories", list(&found["categories"]), row.list("categories"));
    report.compare(at, "storage version hash", text(found, "storageVersionHash"), row.get("storage_version_hash"));
    // The version of the body is only told where it is another.
    let (group, kind_version) = row.get("kind_gv").split_once('/').expect("a group and a version");
    let own = (row.get("group"), row.get("version")) == (group, kind_version);
    let wanted = if own { ("", "") } else { (group.trim_start_matches("core"), kind_version) };
    report.compare(at, "version of the kind", (text(found, "group"), text(found, "version")), wanted);
}

fn compare_aggregated(report: &mut Report, at: &str, found: &Value, row: &Row) {
    let kind = &found["responseKind"];
    let (group, version) = row.get("kind_gv").split_once('/').expect("a group and a version");
    let wanted = (group.trim_start_matches("core"), version, row.get("kind"));
    report.compare(at, "response kind", (text(kind, "group"), text(kind, "version"), text(kind, "kind")), wanted);
    report.compare(at, "scope", text(found, "scope").to_lowercase().as_str(), row.get("scope"));
    report.compare(at, "aggregated verbs", list(&found["verbs"]), row.list("verbs"));
    if row.get("resource").contains('/') {
        return;
    }
    report.compare(at, "aggregated singular", text(found, "singularResource"), row.get("singular"));
    report.compare(at, "aggregated short names", list(&found["shortNames"]), row.list("short_names"));
    report.compare(at, "aggregated categories", list(&found["categories"]), row.list("categories"));
    let subresources: Vec<&str> =
        found["subresources"].as_array().into_iter().flatten().map(|sub| text(sub, "subresource")).collect();
    report.compare(at, "subresources", subresources, row.list("subresources"));
}

/// No client sees the version that is stored, but the table has it.
fn compare_storage(report: &mut Report, at: &str, schema: &Schema, row: &Row) {
    let Some(wanted) = Some(row.get("storage_gv")).filter(|version| !version.is_empty()) else { return };
    let group = row.get("group").trim_start_matches("core");
    let resource: &Resource = schema.resource(group, row.get("version"), row.get("resource")).expect("it is served");
    report.compare(at, "stored version", resource.storage_gv.to_string().as_str(), wanted.trim_start_matches("core/"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn golden_groups_in_discovery() {
    let Some(table) = golden::place("groups.tsv") else { return };
    let server = Running::start().await;
    let mut report = Report::new("groups", EXCEPTIONS);
    let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows(&table).iter().filter(|row| row.get("default") == "on") {
        report.row();
        let group = row.get("group").trim_start_matches("core").to_owned();
        if wanted.last().is_none_or(|(last, _)| *last != group) {
            wanted.push((group, Vec::new()));
        }
        let versions = &mut wanted.last_mut().expect("a group").1;
        versions.push(row.get("version").to_owned());
        report.compare(&version(row), "preferred", versions.len() == 1, row.get("preferred") == "yes");
    }
    let groups = server.admin.get("/apis").await.json();
    let groups = groups["groups"].as_array().expect("groups");
    let versions = |group: &Value| {
        group["versions"].as_array().into_iter().flatten().map(|one| text(one, "version").to_owned()).collect()
    };
    let own: Vec<(String, Vec<String>)> =
        groups.iter().map(|one| (text(one, "name").to_owned(), versions(one))).collect();
    report.compare("/apis", "groups and versions in order", &own[..], &wanted[1..]);
    for (group, (name, versions)) in groups.iter().zip(&own) {
        report.compare(name, "preferred version", text(&group["preferredVersion"], "version"), versions[0].as_str());
        let alone = server.admin.get(&format!("/apis/{name}")).await.json();
        report.compare(name, "by itself", &alone["versions"], &group["versions"]);
        report.compare(name, "by itself", text(&alone, "kind"), "APIGroup");
    }
    let accept = format!("application/json;{AGGREGATED}");
    let aggregated = server.admin.with("/apis", &[("accept", &accept)]).await.json();
    let items = aggregated["items"].as_array().expect("items");
    let of_item = |item: &Value| (text(&item["metadata"], "name").to_owned(), versions(item));
    report.compare("/apis", "aggregated, in order", items.iter().map(of_item).collect::<Vec<_>>(), own);
    let core = server.admin.get("/api").await.json();
    report.compare("/api", "versions", list(&core["versions"]), vec!["v1"]);
    report.finish();
}

/// An object in protobuf as a value: of discovery, all of whose kinds have a message.
fn unpacked(answer: &Answer) -> Value {
    let body = &answer.body;
    assert!(body.starts_with(&protobuf::MAGIC), "{}", answer.text());
    // What says no version is read as what it was in the first one.
    let unversioned = [&protobuf::MAGIC[..], b"\x0a"].concat();
    let at = unversioned.len();
    let bare = body[at + 1..].starts_with(b"\x0a\x00");
    let body = if bare { with_version(body, at) } else { body.to_vec() };
    protobuf::decode(Schema::builtin(), &body).expect("an object").1
}

/// With the version `v1` in an envelope that has an empty one.
fn with_version(body: &[u8], at: usize) -> Vec<u8> {
    [&body[..at], &[body[at] + 2], b"\x0a\x02v1", &body[at + 3..]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn formats() {
    let server = Running::start().await;
    let mut seen = 0;
    for path in ["/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1"] {
        let plain = server.admin.get(path).await.json();
        let written = server.admin.with(path, &[("accept", "application/yaml")]).await;
        assert_eq!((written.header("content-type"), written.text()), ("application/yaml", yaml::to_string(&plain)));
        let packed = server.admin.with(path, &[("accept", protobuf::MEDIA_TYPE)]).await;
        assert_eq!(packed.header("content-type"), protobuf::MEDIA_TYPE, "{path}");
        let packed = unpacked(&packed);
        assert_eq!(packed["kind"], plain["kind"]);
        for field in ["groups", "resources", "versions"] {
            let count = |value: &Value| value[field].as_array().map(Vec::len);
            assert_eq!(count(&packed), count(&plain), "{path} {field}");
            seen += count(&packed).unwrap_or(0);
        }
        assert_eq!(server.admin.with(path, &[("accept", "text/html")]).await.code, 406, "{path}");
    }
    println!("discovery in protobuf: {seen} groups, versions and resources");
    assert!(seen > 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregated_formats_and_tags() {
    let server = Running::start().await;
    let all = async |path: &str, accept: &str| server.admin.with(path, &[("accept", accept)]).await;
    for path in ["/api", "/apis"] {
        let json = all(path, &format!("application/json;{AGGREGATED}")).await;
        assert_eq!(json.header("content-type"), format!("application/json;{AGGREGATED}"));
        assert_eq!((json.header("cache-control"), json.header("vary")), ("public", "Accept"));
        let etag = json.header("etag");
        assert!(etag.len() > 30 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
        let yaml_answer = all(path, &format!("application/yaml;{AGGREGATED}")).await;
        assert_eq!(yaml_answer.header("content-type"), format!("application/yaml;{AGGREGATED}"));
        assert_eq!((yaml_answer.text(), yaml_answer.header("etag")), (yaml::to_string(&json.json()), etag));
        let packed = all(path, &format!("{};{AGGREGATED}", protobuf::MEDIA_TYPE)).await;
        assert_eq!(packed.header("content-type"), format!("{};{AGGREGATED}", protobuf::MEDIA_TYPE));
        assert_eq!(packed.header("etag"), etag);
        let (packed, plain) = (unpacked(&packed), json.json());
        let resources = |list: &Value| {
            let items = list["items"].as_array().into_iter().flatten();
            let versions = items.flat_map(|item| item["versions"].as_array().into_iter().flatten());
            let resources = versions.flat_map(|one| one["resources"].as_array().into_iter().flatten());
            let named = resources.map(|one| {
                (text(one, "resource").to_owned(), text(&one["responseKind"], "kind").to_owned(), one["verbs"].clone())
            });
            named.collect::<Vec<_>>()
        };
        assert_eq!(resources(&packed), resources(&plain), "{path}");
        // Upstream looks at no clause that asks for the other form, so the order is nothing.
        let wildcard = all(path, &format!("application/json,*/*;{AGGREGATED};q=0.1")).await;
        assert_eq!(wildcard.json(), plain, "{path}");
        for accept in [
            "application/json".to_owned(),
            "*/*".to_owned(),
            format!("application/json;{},application/json", AGGREGATED.replace("v=v2", "v=v2beta1")),
        ] {
            let old = all(path, &accept).await;
            assert_ne!(old.json()["kind"], "APIGroupDiscoveryList", "{accept}");
            assert_eq!(old.header("content-type"), "application/json");
        }
        let beta = all(path, &format!("application/json;{}", AGGREGATED.replace("v=v2", "v=v2beta1"))).await;
        assert_eq!(beta.code, 406);
    }
}
