//! StorageVersion: which version each API server stores a resource in.

use std::collections::{BTreeMap, HashSet};

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::{Kind, cells};

pub(crate) struct StorageVersion;

/// Servers that a cell names.
const SHOWN: usize = 3;

impl Kind for StorageVersion {
    fn resource(&self) -> GroupResource {
        GroupResource::new("internal.apiserver.k8s.io", "storageversions")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "internal.apiserver.k8s.io/v1alpha1", "kind": "StorageVersion",
               "metadata": {"name": "apps.deployments"}, "spec": {}})
    }
    /// `<group>.<resource>`
    fn validate_name(&self, name: &str) -> Vec<String> {
        let Some((group, resource)) = name.rsplit_once('.') else {
            return vec!["name must be in the form of <group>.<resource>".to_owned()];
        };
        let of = |segment: &str, messages: Vec<String>| -> Vec<String> {
            messages.into_iter().map(|message| format!("the {segment} segment {message}")).collect()
        };
        let mut all = of("group", names::dns1123_subdomain(group));
        all.extend(of("resource", names::dns1035_label(resource)));
        all
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let status = root.field("status");
        let servers = status.field("storageVersions");
        let mut seen = HashSet::new();
        for server in servers.items() {
            let id = server.field("apiServerID");
            if !seen.insert(object::str_at(server.value, "apiServerID")) {
                id.duplicate(errors);
            }
            validate_server(&server, errors);
        }
        validate_common(&status, errors);
        validate_conditions(&status, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let common = cells::text_or(object, "status.commonEncodingVersion", "<unset>");
        Some(vec![cells::name(object), common, servers(object).into(), cells::age(object, now)])
    }
}

/// `id=version` of the first servers.
fn servers(object: &Value) -> String {
    let all = cells::list(object, "status.storageVersions");
    let text = |server: &Value, field| object::str_at(server, field).to_owned();
    let shown = all
        .iter()
        .take(SHOWN)
        .map(|server| format!("{}={}", text(server, "apiServerID"), text(server, "encodingVersion")));
    let shown = shown.collect::<Vec<_>>().join(",");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn validate_server(server: &At<'_>, errors: &mut ErrorList) {
    server.field("apiServerID").format(errors, names::dns1123_subdomain);
    let (encoding, decodable) = (server.field("encodingVersion"), server.field("decodableVersions"));
    validate_version(&encoding, errors);
    decodable.items().for_each(|version| validate_version(&version, errors));
    let known: Vec<&str> = decodable.list().iter().filter_map(Value::as_str).collect();
    if !known.contains(&encoding.str()) {
        let detail = format!("decodableVersions must include encodingVersion {}", encoding.str());
        decodable.invalid(errors, &detail);
    }
    for version in server.field("servedVersions").items() {
        validate_version(&version, errors);
        if !known.contains(&version.str()) {
            let (one, all) = (version.str(), known.join(" "));
            let detail = format!("individual served version : {one} must be included in decodableVersions : [{all}]");
            version.invalid(errors, &detail);
        }
    }
}

/// `v1` or `group/v1`: what is wrong is said as one.
fn validate_version(at: &At<'_>, errors: &mut ErrorList) {
    let parts: Vec<&str> = at.str().split('/').collect();
    let of = |part: &str, text: &str, check: fn(&str) -> Vec<String>| -> Vec<String> {
        let messages = if text.is_empty() { vec!["must be non-empty".to_owned()] } else { check(text) };
        messages.into_iter().map(|message| format!("{part} part: {message}")).collect()
    };
    let found = match parts[..] {
        [version] => of("version", version, names::dns1035_label),
        [group, version] => {
            let mut found = of("group", group, names::dns1123_subdomain);
            found.extend(of("version", version, names::dns1035_label));
            found
        }
        _ => vec![
            "an apiVersion is a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start \
             with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex \
             used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?') with an optional DNS subdomain prefix and '/' (e.g. \
             'example.com/MyVersion')"
                .to_owned(),
        ],
    };
    if !found.is_empty() {
        at.invalid(errors, &found.join(","));
    }
}

/// What all servers store in, if that is one version.
fn validate_common(status: &At<'_>, errors: &mut ErrorList) {
    let encodings: HashSet<&str> =
        status.field("storageVersions").list().iter().map(|one| object::str_at(one, "encodingVersion")).collect();
    let common = if encodings.len() == 1 { encodings.into_iter().next() } else { None };
    let said = status.field("commonEncodingVersion");
    let detail = match (common, said.present()) {
        (None, true) => {
            "should be nil if servers do not agree on the same encoding version, or if there is no server reporting \
             the supported versions yet"
                .to_owned()
        }
        (Some(common), false) => format!("the common encoding version is {common}"),
        (Some(common), true) if said.str() != common => format!("the actual common encoding version is {common}"),
        _ => return,
    };
    said.invalid(errors, &detail);
}

/// Upstream has them right below `status` in its errors.
fn validate_conditions(status: &At<'_>, errors: &mut ErrorList) {
    let conditions = status.field("conditions");
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, value) in conditions.list().iter().enumerate() {
        let path = status.path().index(index);
        let text = |field: &str| object::str_at(value, field);
        if let Some(first) = seen.insert(text("type"), index) {
            let detail = format!("the type of the condition is not unique, it also appears in conditions[{first}]");
            errors.invalid(&path.child("type"), &text("type").into(), &detail);
        }
        for field in ["type", "status"] {
            for message in names::qualified_name(text(field)) {
                errors.invalid(&path.child(field), &text(field).into(), &message);
            }
        }
        for field in ["reason", "message"].into_iter().filter(|field| text(field).is_empty()) {
            errors.required(&path.child(field), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        StorageVersion.validate_status_update(&json!({"status": status}), &Value::Null, &mut errors);
        errors.causes().iter().map(|cause| format!("{} {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn servers_agree_or_not() {
        let server = |id: &str, version: &str| {
            json!({"apiServerID": id, "encodingVersion": version, "decodableVersions": [version, "apps/v1"],
                   "servedVersions": [version]})
        };
        let same = json!([server("a", "apps/v1"), server("b", "apps/v1")]);
        assert_eq!(told(json!({"storageVersions": same, "commonEncodingVersion": "apps/v1"})), [""; 0]);
        assert_eq!(
            told(json!({"storageVersions": same})),
            ["status.commonEncodingVersion Invalid value: null: the common encoding version is apps/v1"]
        );
        let two = json!([server("a", "apps/v1"), server("a", "apps/v2")]);
        assert_eq!(
            told(json!({"storageVersions": two})),
            ["status.storageVersions[1].apiServerID Duplicate value: \"a\""]
        );
        let bad =
            json!({"apiServerID": "a", "encodingVersion": "/v1", "decodableVersions": [], "servedVersions": ["v2"]});
        assert_eq!(
            told(json!({"storageVersions": [bad], "commonEncodingVersion": "/v1"})),
            [
                "status.storageVersions[0].encodingVersion Invalid value: \"/v1\": group part: must be non-empty",
                "status.storageVersions[0].decodableVersions Invalid value: []: decodableVersions must include \
                 encodingVersion /v1",
                "status.storageVersions[0].servedVersions[0] Invalid value: \"v2\": individual served version : v2 must \
                 be included in decodableVersions : []",
            ]
        );
        let condition = json!({"type": "A", "status": "True"});
        assert_eq!(
            told(json!({"conditions": [condition]})),
            ["status[0].reason Required value", "status[0].message Required value"]
        );
    }

    #[test]
    fn names_are_of_resources() {
        assert_eq!(StorageVersion.validate_name("core.pods"), [""; 0]);
        assert_eq!(StorageVersion.validate_name("pods"), ["name must be in the form of <group>.<resource>"]);
        assert!(StorageVersion.validate_name("apps.1x")[0].starts_with("the resource segment a DNS-1035 label"));
    }
}
