//! Paths: which operations each resource and subresource has.

use api_machinery::{GroupVersion, GroupVersionKind, Value};
use api_schema::{Resource, Schema, Subresource, TypeId};
use serde_json::Map;

use super::operations::{
    Operation, Parameter, Speaks, group_words, gv_words, path_item, query, subresource_words, tag,
};
use super::schemas::{VERSION_INFO, definition_name, meta_name, option_parameters};
use super::{Dialect, gv_path, resources};

const LIST: [&str; 11] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const DELETE: [&str; 5] = [
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
/// A delete of these answers the object, of others a Status.
const DELETED_IS_RETURNED: [&str; 16] = [
    "csidrivers",
    "csinodes",
    "deviceclasses",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourceclaims",
    "resourceclaimtemplates",
    "resourcequotas",
    "resourceslices",
    "serviceaccounts",
    "services",
    "storageclasses",
    "volumeattachments",
    "volumeattributesclasses",
];

fn plain_get(id: String, tag: String, definition: Option<String>, speaks: Speaks) -> Operation {
    Operation {
        method: "get",
        id,
        action: None,
        gvk: None,
        tag,
        parameters: Vec::new(),
        body: None,
        answers: vec![("200", definition)],
        speaks,
    }
}

/// What is about the server and no group-version: `/api/`, `/apis/` and each `/apis/GROUP/`, its version, its tokens.
pub(super) fn roots(schema: &Schema, dialect: Dialect, out: &mut Map<String, Value>) {
    let mut add = |path: String, id: String, tag: String, kind: &str| {
        let discovery = plain_get(id, tag, Some(meta_name(kind)), Speaks::Discovery);
        out.insert(path, path_item(vec![discovery], dialect));
    };
    add("/api/".into(), "getCoreAPIVersions".into(), "core".into(), "APIVersions");
    add("/apis/".into(), "getAPIVersions".into(), "apis".into(), "APIGroupList");
    for group in schema.groups().iter().filter(|group| !group.name.is_empty()) {
        let words = group_words(&group.name);
        let tag = words[..1].to_ascii_lowercase() + &words[1..];
        add(format!("/apis/{}/", group.name), format!("get{words}APIGroup"), tag, "APIGroup");
    }
    let others = [
        ("/version/", "getCodeVersion", "version", Some(VERSION_INFO), Speaks::Version),
        ("/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset", "openid", None, Speaks::Keys),
        (
            "/.well-known/openid-configuration/",
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            None,
            Speaks::Issuer,
        ),
    ];
    for (path, id, tag, definition, speaks) in others {
        let one = plain_get(id.to_owned(), tag.to_owned(), definition.map(str::to_owned), speaks);
        out.insert(path.to_owned(), path_item(vec![one], dialect));
    }
}

/// Everything below a group-version.
pub(super) fn group_version(schema: &Schema, gv: &GroupVersion, dialect: Dialect, out: &mut Map<String, Value>) {
    let root = format!("/{}/", gv_path(gv));
    let (id, list) = (format!("get{}APIResources", gv_words(gv)), meta_name("APIResourceList"));
    let discovery = plain_get(id, tag(gv), Some(list), Speaks::Discovery);
    out.insert(root, path_item(vec![discovery], dialect));
    for resource in resources(schema, gv) {
        Of { schema, resource, dialect }.add(out);
    }
}

struct Of<'a> {
    schema: &'a Schema,
    resource: &'a Resource,
    dialect: Dialect,
}

impl Of<'_> {
    fn definition(&self, id: Option<TypeId>) -> String {
        id.map_or_else(|| meta_name("Status"), |id| definition_name(self.schema.get(id)))
    }

    /// `NamespacedDeployment`, `Node`
    fn words(&self) -> String {
        format!("{}{}", if self.resource.namespaced { "Namespaced" } else { "" }, self.resource.kind)
    }

    /// An operation on the resource or one of its items: everything but what is special.
    fn operation(&self, method: &'static str, verb: &str, action: &'static str, suffix: &str) -> Operation {
        let mut parameters = Vec::new();
        if self.resource.namespaced {
            parameters.push(Parameter::path("namespace"));
        }
        Operation {
            method,
            id: format!("{verb}{}{}{suffix}", gv_words(&self.resource.gv), self.words()),
            action: Some(action),
            gvk: Some(self.resource.gvk()),
            tag: tag(&self.resource.gv),
            parameters,
            body: None,
            answers: Vec::new(),
            speaks: Speaks::Objects,
        }
    }

    fn collection(&self, watch: bool) -> String {
        let root = gv_path(&self.resource.gv);
        let watch = if watch { "/watch" } else { "" };
        let namespace = if self.resource.namespaced { "/namespaces/{namespace}" } else { "" };
        format!("/{root}{watch}{namespace}/{}", self.resource.plural)
    }

    fn add(&self, out: &mut Map<String, Value>) {
        let mut insert = |path: String, operations: Vec<Operation>| {
            if !operations.is_empty() {
                out.insert(path, path_item(operations, self.dialect));
            }
        };
        let item = format!("{}/{{name}}", self.collection(false));
        insert(self.collection(false), self.on_collection());
        insert(item.clone(), self.on_item());
        if self.resource.namespaced && self.resource.has_verb("list") {
            let all = format!("/{}/{}", gv_path(&self.resource.gv), self.resource.plural);
            insert(all, vec![self.everywhere(self.list(), "ForAllNamespaces")]);
        }
        if self.resource.has_verb("watch") {
            let watch_item = format!("{}/{{name}}", self.collection(true));
            insert(self.collection(true), vec![self.watch("List", "watchlist")]);
            let mut one = self.watch("", "watch");
            one.parameters.push(Parameter::path("name"));
            insert(watch_item, vec![one]);
            if self.resource.namespaced {
                let all = format!("/{}/watch/{}", gv_path(&self.resource.gv), self.resource.plural);
                insert(all, vec![self.everywhere(self.watch("List", "watchlist"), "ForAllNamespaces")]);
            }
        }
        for sub in &self.resource.subresources {
            insert(format!("{item}/{}", sub.name), self.on_subresource(sub, false));
            if sub.name == "proxy" {
                insert(format!("{item}/{}/{{path}}", sub.name), self.on_subresource(sub, true));
            }
        }
    }

    fn on_collection(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        if self.resource.has_verb("list") {
            operations.push(self.list());
        }
        if self.resource.has_verb("create") {
            operations.push(self.create());
        }
        if self.resource.has_verb("deletecollection") {
            let mut one = self.operation("delete", "delete", "deletecollection", "");
            one.id = format!("delete{}Collection{}", gv_words(&self.resource.gv), self.words());
            let list = LIST.iter().filter(|name| !matches!(**name, "allowWatchBookmarks" | "watch"));
            let names: Vec<&str> = list.chain(&DELETE).copied().chain(["pretty"]).collect();
            one.parameters.extend(query(&names));
            one.body = Some((meta_name("DeleteOptions"), false));
            one.answers = vec![("200", Some(meta_name("Status")))];
            operations.push(one);
        }
        operations
    }

    fn list(&self) -> Operation {
        let mut one = self.operation("get", "list", "list", "");
        one.parameters.extend(query(&LIST));
        one.parameters.push(Parameter::query("pretty", "string"));
        let of_kind = self.definition(self.resource.type_id);
        one.answers = vec![("200", Some(format!("{of_kind}List")))];
        // Also of what cannot be watched, as upstream says.
        one.speaks = Speaks::Watch;
        one
    }

    fn watch(&self, suffix: &str, action: &'static str) -> Operation {
        let mut one = self.operation("get", "watch", action, suffix);
        one.parameters.extend(query(&LIST));
        one.parameters.push(Parameter::query("pretty", "string"));
        one.answers = vec![("200", Some(meta_name("WatchEvent")))];
        one.speaks = Speaks::Watch;
        one
    }

    /// The same over all namespaces.
    fn everywhere(&self, mut one: Operation, suffix: &str) -> Operation {
        one.id = one.id.replacen("Namespaced", "", 1) + suffix;
        one.parameters.retain(|parameter| parameter.name != "namespace");
        one
    }

    fn create(&self) -> Operation {
        let definition = self.definition(self.resource.type_id);
        self.write(self.operation("post", "create", "post", ""), definition, &["200", "201", "202"])
    }

    fn write(&self, mut one: Operation, definition: String, codes: &[&'static str]) -> Operation {
        one.parameters.extend(query(&WRITE));
        one.parameters.push(Parameter::query("pretty", "string"));
        one.answers = codes.iter().map(|code| (*code, Some(definition.clone()))).collect();
        one.body = Some((definition, true));
        one
    }

    fn named(&self, mut one: Operation) -> Operation {
        one.parameters.push(Parameter::path("name"));
        one
    }

    fn on_item(&self) -> Vec<Operation> {
        let mut operations = self.read_and_change(&self.resource.verbs, self.resource.type_id, "", None);
        if self.resource.has_verb("delete") {
            let mut one = self.named(self.operation("delete", "delete", "delete", ""));
            one.parameters.extend(query(&DELETE));
            one.parameters.push(Parameter::query("pretty", "string"));
            one.body = Some((meta_name("DeleteOptions"), false));
            let returned = DELETED_IS_RETURNED.contains(&self.resource.plural.as_str());
            let definition = if returned { self.definition(self.resource.type_id) } else { meta_name("Status") };
            one.answers = vec![("200", Some(definition.clone())), ("202", Some(definition))];
            operations.push(one);
        }
        operations
    }

    /// get, put and patch, of an item or of a subresource of it.
    fn read_and_change(
        &self,
        verbs: &[String],
        type_id: Option<TypeId>,
        suffix: &str,
        gvk: Option<&GroupVersionKind>,
    ) -> Vec<Operation> {
        let has = |verb: &str| verbs.iter().any(|own| own == verb);
        let definition = self.definition(type_id);
        let mut operations = Vec::new();
        if has("get") {
            let mut one = self.named(self.operation("get", "read", "get", suffix));
            one.parameters.push(Parameter::query("pretty", "string"));
            one.answers = vec![("200", Some(definition.clone()))];
            operations.push(one);
        }
        if has("update") {
            let one = self.named(self.operation("put", "replace", "put", suffix));
            operations.push(self.write(one, definition.clone(), &["200", "201"]));
        }
        if has("patch") {
            let one = self.named(self.operation("patch", "patch", "patch", suffix));
            let mut one = self.write(one, definition, &["200", "201"]);
            one.parameters.extend(query(&["force"]));
            one.body = Some((meta_name("Patch"), true));
            operations.push(one);
        }
        if let Some(gvk) = gvk {
            operations.iter_mut().for_each(|one| one.gvk = Some(gvk.clone()));
        }
        operations
    }

    fn on_subresource(&self, sub: &Subresource, with_path: bool) -> Vec<Operation> {
        let suffix = subresource_words(&sub.name);
        if sub.gvk.kind.ends_with("Options") {
            return self.connect(sub, with_path);
        }
        let mut operations = self.read_and_change(&sub.verbs, sub.type_id, &suffix, Some(&sub.gvk));
        if sub.name == "log" {
            for one in &mut operations {
                one.answers = vec![("200", None)];
                one.speaks = Speaks::Log;
                one.parameters.extend(self.options("core.v1.PodLogOptions"));
            }
        }
        if sub.verbs.iter().any(|verb| verb == "create") {
            let one = self.named(self.operation("post", "create", "post", &suffix));
            let mut one = self.write(one, self.definition(sub.type_id), &["200", "201", "202"]);
            one.gvk = Some(sub.gvk.clone());
            operations.push(one);
        }
        operations
    }

    fn options(&self, name: &str) -> Vec<Parameter> {
        let one = self.schema.type_named(name).map(|id| self.schema.get(id));
        let parameters = one.map(option_parameters).unwrap_or_default();
        parameters.into_iter().map(|(name, kind)| Parameter::query(&name, kind)).collect()
    }

    /// Streams and proxies.
    fn connect(&self, sub: &Subresource, with_path: bool) -> Vec<Operation> {
        let methods: &[&'static str] = if sub.name == "proxy" {
            &["get", "put", "post", "delete", "options", "head", "patch"]
        } else {
            &["get", "post"]
        };
        let one = |method: &&'static str| {
            let mut one = self.named(self.operation(method, "connect", "connect", ""));
            let with = if with_path { "WithPath" } else { "" };
            let verb = subresource_words(method);
            let (words, sub_words) = (self.words(), subresource_words(&sub.name));
            one.id = format!("connect{}{verb}{words}{sub_words}{with}", gv_words(&self.resource.gv));
            one.gvk = Some(sub.gvk.clone());
            one.parameters.extend(self.options(&format!("core.v1.{}", sub.gvk.kind)));
            if with_path {
                one.parameters.push(Parameter::path("path"));
            }
            one.answers = vec![("200", None)];
            one.speaks = Speaks::Anything;
            one
        };
        methods.iter().map(one).collect()
    }
}
