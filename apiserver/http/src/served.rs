//! Which resource a request addresses, and how its objects look to the client. Pure.

use std::sync::Arc;

use api_cache::Object;
use api_codec::decode::Format;
use api_codec::protobuf::{self, Encoded};
use api_codec::table::{self, Column, IncludeObject};
use api_machinery::error::Result;
use api_machinery::{ApiError, Reason, Value, object};
use api_schema::{Resource, Schema};
use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde_json::json;

use crate::list::{List, Packed, Pieces};
use crate::negotiate::{Output, Shape};
use crate::path::RequestPath;
use crate::query::Query;
use crate::request_info::RequestInfo;

/// A resource as addressed, and as the registry knows it.
#[derive(Clone, Copy)]
pub(crate) struct Served {
    pub resource: &'static Resource,
    /// The version objects are worked with in: what table cells are made of.
    pub stored: &'static Resource,
}

/// 405 as upstream's router words it.
pub(crate) fn method_not_allowed() -> ApiError {
    let text = "the server does not allow this method on the requested resource";
    ApiError::new(405, Reason::MethodNotAllowed, text).with_empty_details()
}

/// Methods of resources, in the order in which upstream's router names them.
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The methods that the path of a resource takes. `None`: it is no path of one.
pub(crate) fn allowed(schema: &'static Schema, path: &RequestPath, query: &Query) -> Option<Vec<Method>> {
    let takes = |method: &Method| {
        let info = RequestInfo::new(method, path, query).ok().filter(|info| info.is_resource)?;
        Served::find(schema, info.resource(schema), method, &info).ok()
    };
    let methods: Vec<Method> = METHODS.into_iter().filter(|method| takes(method).is_some()).collect();
    (!methods.is_empty()).then_some(methods)
}

impl Served {
    /// The resource that was `found` for a path. 404 when it is not served, addressed in the wrong scope, or has no objects;
    /// 405 when it has not this verb.
    pub(crate) fn find(
        schema: &'static Schema,
        found: Option<&'static Resource>,
        method: &Method,
        info: &RequestInfo,
    ) -> Result<Self> {
        let core_prefix = info.prefix == "api";
        let resource = found.filter(|_| core_prefix == info.group.is_empty() && info.extra_segments == 0);
        let resource = resource.ok_or_else(ApiError::no_such_path)?;
        check_scope(resource, info)?;
        check_verb(resource, info)?;
        // `/watch/` is a watch whatever the method, for those who decide who may; there is one route.
        if info.watch_prefix && *method != Method::GET {
            return Err(method_not_allowed());
        }
        Ok(Self { resource, stored: schema.hub(&resource.storage).unwrap_or(resource) })
    }

    /// The namespace objects are stored under: empty for cluster-scoped ones, whatever the path says.
    pub(crate) fn namespace<'a>(&self, info: &'a RequestInfo) -> &'a str {
        if self.resource.namespaced { &info.namespace } else { "" }
    }
}

/// Cluster-scoped objects have no namespaced path, and namespaced ones are named only inside a namespace.
fn check_scope(resource: &Resource, info: &RequestInfo) -> Result<()> {
    let wrong = match resource.namespaced {
        true => info.namespace.is_empty() && info.named_in_path,
        false => info.in_namespace,
    };
    if wrong { Err(ApiError::no_such_path()) } else { Ok(()) }
}

fn check_verb(resource: &Resource, info: &RequestInfo) -> Result<()> {
    let has = |verb: &str| resource.has_verb(verb);
    if !info.subresource.is_empty() {
        let sub = resource.subresource(&info.subresource).ok_or_else(ApiError::no_such_path)?;
        // Whoever is proxied to decides about methods, OPTIONS included, which is no verb.
        let proxied = sub.name == "proxy" && info.verb.is_empty();
        return match (proxied || sub.verbs.contains(&info.verb)) && !info.watch_prefix {
            true => Ok(()),
            false => Err(method_not_allowed()),
        };
    }
    let everywhere = resource.namespaced && info.namespace.is_empty();
    let allowed = match info.verb.as_str() {
        "list" | "watch" => has(&info.verb),
        "create" => has("create") && !info.named_in_path && !everywhere,
        "deletecollection" => has("deletecollection") && !everywhere,
        verb => has(verb) && info.named_in_path,
    };
    // What is only answered, reviews for one, has no objects that a path could name.
    let has_objects = ["get", "update", "patch", "delete"].into_iter().any(has);
    match allowed {
        true => Ok(()),
        false if info.named_in_path && !has_objects => Err(ApiError::no_such_path()),
        false => Err(method_not_allowed()),
    }
}

/// Turns objects into what was agreed on with the client.
#[derive(Clone)]
pub(crate) struct Encoder {
    pub served: Served,
    pub output: Output,
    pub include: IncludeObject,
    pub now: Timestamp,
    /// What is answered is the `scale` of the resource.
    pub scale: bool,
    /// What stored bytes of this resource begin with, cut off inside typed lists as upstream leaves it out there.
    prefix: Arc<[u8]>,
}

impl Encoder {
    pub(crate) fn new(served: Served, output: Output, include: IncludeObject, now: Timestamp) -> Self {
        let head = json!({"apiVersion": served.resource.gv.to_string(), "kind": served.resource.kind}).to_string();
        let prefix = head.strip_suffix('}').map(|head| format!("{head},")).unwrap_or_default();
        Self { served, output, include, now, scale: false, prefix: prefix.into_bytes().into() }
    }

    pub(crate) fn of_scale(self, scale: bool) -> Self {
        Self { scale, ..self }
    }

    fn is_verbatim(&self) -> bool {
        self.output.shape == Shape::Object
    }

    /// Of a cached object, whose metadata alone is read.
    fn partial(&self, object: &Object) -> Value {
        self.partial_of(object.metadata())
    }

    fn partial_of(&self, metadata: Value) -> Value {
        json!({"kind": "PartialObjectMetadata", "apiVersion": self.output.meta_version(), "metadata": metadata})
    }

    fn is_protobuf(&self) -> bool {
        self.output.format == Format::Protobuf
    }

    /// One object as a whole answer: JSON, or protobuf where that was agreed on and there is such a message.
    pub(crate) fn object(&self, object: &Object) -> Bytes {
        self.object_by(object, Object::protobuf_once)
    }

    /// The same in a watch: what one is sent, others are about to be sent as well.
    pub(crate) fn watched(&self, object: &Object) -> Bytes {
        self.object_by(object, Object::protobuf)
    }

    fn object_by(&self, object: &Object, protobuf: impl Fn(&Object) -> Option<Encoded>) -> Bytes {
        match (self.output.shape, self.is_protobuf()) {
            (Shape::Object, true) => protobuf(object).map_or_else(|| object.json.clone(), |encoded| encoded.envelope),
            (Shape::Object, false) => object.json.clone(),
            (Shape::Partial, _) => self.ready(&self.partial(object)),
            (Shape::Table, _) => self.ready(&self.table(&object.value(), true)),
        }
    }

    /// The bytes of what was made here, in the format agreed on as far as there is a message for it.
    pub(crate) fn ready(&self, value: &Value) -> Bytes {
        let encoded = self.is_protobuf().then(|| protobuf::encode(Schema::builtin(), value)).flatten();
        encoded.unwrap_or_else(|| value.to_string().into())
    }

    /// One object as a whole answer, from its stored form.
    pub(crate) fn value(&self, stored: &Value) -> Value {
        match self.output.shape {
            Shape::Object => stored.clone(),
            Shape::Partial => self.partial_of(stored.get("metadata").cloned().unwrap_or_else(|| json!({}))),
            Shape::Table => self.table(stored, true),
        }
    }

    /// A Table of one row.
    pub(crate) fn table(&self, stored: &Value, with_columns: bool) -> Value {
        let columns: &[Column] = if with_columns { self.columns() } else { &[] };
        json!({"kind": "Table", "apiVersion": self.output.meta_version(),
            "metadata": {"resourceVersion": object::resource_version(stored)},
            "columnDefinitions": columns, "rows": [self.row(stored)]})
    }

    fn columns(&self) -> &'static [Column] {
        if self.scale { table::scale_columns() } else { table::columns(self.served.resource) }
    }

    fn row(&self, stored: &Value) -> Value {
        let object = match self.include {
            IncludeObject::None => Value::Null,
            IncludeObject::Metadata => self.partial_of(stored.get("metadata").cloned().unwrap_or_else(|| json!({}))),
            IncludeObject::Object => stored.clone(),
        };
        if self.scale {
            return json!({"cells": api_kinds::scale::cells(stored, self.now), "object": object});
        }
        let kind = api_kinds::of(&self.served.stored.group_resource());
        let cells = kind.cells(stored, self.now).unwrap_or_else(|| {
            vec![object::name(stored).into(), object::str_at(stored, "metadata.creationTimestamp").into()]
        });
        match kind.row_conditions(stored) {
            conditions if conditions.is_empty() => json!({"cells": cells, "object": object}),
            conditions => json!({"cells": cells, "conditions": conditions, "object": object}),
        }
    }

    /// An item of a list, without its opening brace.
    fn item(&self, object: &Object) -> Bytes {
        if self.is_verbatim() {
            let cut = if object.json.starts_with(&self.prefix) { self.prefix.len() } else { 1 };
            return object.json.slice(cut.min(object.json.len())..);
        }
        let whole: Bytes = match self.output.shape {
            Shape::Table => self.row(&object.value()),
            Shape::Partial => self.partial(object),
            Shape::Object => return object.json.slice(1.min(object.json.len())..),
        }
        .to_string()
        .into();
        whole.slice(1..)
    }

    /// `apiVersion` and kind of a list.
    fn list_type(&self) -> (String, String) {
        let meta = self.output.meta_version().to_owned();
        match self.output.shape {
            Shape::Object => (self.served.resource.gv.to_string(), format!("{}List", self.served.resource.kind)),
            Shape::Partial => (meta, "PartialObjectMetadataList".to_owned()),
            Shape::Table => (meta, "Table".to_owned()),
        }
    }

    /// A list in protobuf, whose length comes first: every item is encoded to be measured, and again to be
    /// sent unless it is among the first or kept by its object. `None` when there is no message for it.
    async fn packed(self, objects: &[Arc<Object>], metadata: &Value) -> Option<Packed> {
        let (mut lengths, mut kept) = (0, Vec::new());
        let mut kept_bytes = 0;
        for (index, object) in objects.iter().enumerate() {
            if index % MEASURED_AT_ONCE == MEASURED_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let item = self.packed_item(object)?;
            lengths += item.len();
            if index == kept.len() && kept_bytes < KEPT_BYTES {
                kept_bytes += item.len();
                kept.push(item);
            }
        }
        let (api_version, kind) = self.list_type();
        let head = protobuf::list_head(Schema::builtin(), &api_version, &kind, metadata, lengths)?;
        let rest: Vec<Arc<Object>> = objects[kept.len()..].to_vec();
        let rest = rest.into_iter().filter_map(move |object| self.packed_item(&object));
        let items = Box::new(kept.into_iter().chain(rest));
        Some(Packed { head: head.into(), items, items_bytes: lengths })
    }

    /// An item of a list in protobuf.
    fn packed_item(&self, object: &Object) -> Option<Bytes> {
        let encoded = match self.is_verbatim() {
            true => object.protobuf_listed(),
            false => Encoded::new(Schema::builtin(), &self.partial(object)),
        };
        encoded.map(|encoded| encoded.item())
    }

    /// A list of objects, made while it is sent.
    pub(crate) async fn list(self, objects: Vec<Arc<Object>>, metadata: &Value) -> List {
        if self.is_protobuf()
            && let Some(packed) = self.clone().packed(&objects, metadata).await
        {
            return List::Protobuf(packed);
        }
        let items_bytes = self.is_verbatim().then(|| objects.iter().map(|object| self.item(object).len()).sum());
        let (api_version, kind) = self.list_type();
        let mut list = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        let field = match self.output.shape {
            Shape::Object | Shape::Partial => "items",
            Shape::Table => {
                list["columnDefinitions"] = json!(self.columns());
                "rows"
            }
        };
        let count = objects.len();
        let items = Box::new(objects.into_iter().map(move |object| self.item(&object)));
        List::Json(Pieces { list, field, items, count, items_bytes })
    }
}

/// Items of a list that are measured before others get their turn on this thread.
const MEASURED_AT_ONCE: usize = 64;
/// Bytes of measured items that wait to be sent.
const KEPT_BYTES: usize = 1 << 20;

/// `includeObject` of a Table request; 400 when unknown.
pub(crate) fn include_object(text: &str) -> Result<IncludeObject> {
    match text {
        "" | "Metadata" => Ok(IncludeObject::Metadata),
        "None" => Ok(IncludeObject::None),
        "Object" => Ok(IncludeObject::Object),
        other => Err(ApiError::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}
