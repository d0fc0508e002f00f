//! Requests on API resources: options are read, the registry is called, the answer is shaped.

use std::sync::Arc;
use std::time::Duration;

use api_codec::decode::{self, FieldValidation, Format};
use api_codec::table::IncludeObject;
use api_machinery::error::Result;
use api_machinery::fields::FieldSelector;
use api_machinery::{ApiError, Value, object};
use api_registry::{Authority, Body, RequestInfo as Caller, Target, WatchOptions, Written, aside};
use api_schema::gate;
use http::header::USER_AGENT;
use http::{HeaderMap, Method};
use serde_json::json;

use crate::audit::Wrote;
use crate::chain::Call;
use crate::metrics::WatchMeter;
use crate::negotiate::{self, Endpoint, Output, PatchBody, Shape};
use crate::options::{self, DeleteParameters, Write, WriteParameters};
use crate::respond::{self, Response};
use crate::served::{Encoder, Served, include_object};
use crate::state::State;
use crate::watch::{self, Watch};
use crate::{body, connect, list, reviews, websocket};

pub(crate) async fn dispatch(state: &Arc<State>, call: Call) -> Result<Response> {
    let served = Served::find(state.server.registry.schema, call.resource, call.request.method(), &call.info)?;
    if connect::is_connect(&call.info) {
        return connect::dispatch(state, call).await;
    }
    // Whoever may GET may ask for it, and there is no such route, as upstream.
    if *call.request.method() == Method::HEAD {
        return Err(crate::served::method_not_allowed());
    }
    if reviews::is_review(&call.info) {
        return reviews::create(state, served, call).await;
    }
    match call.info.verb.as_str() {
        "get" => get(state, served, call).await,
        "list" => list(state, served, call).await,
        "watch" => watch_resource(state, served, call).await,
        "create" => create(state, served, call).await,
        "update" => update(state, served, call).await,
        "patch" => patch_resource(state, served, call).await,
        "delete" => delete(state, served, call).await,
        "deletecollection" => delete_collection(state, served, call).await,
        _ => Err(crate::served::method_not_allowed()),
    }
}

/// Table cells are made of the stored version, so that is what a Table is read in.
pub(crate) fn target<'a>(served: &Served, call: &'a Call, shape: Shape) -> Target<'a> {
    let name = if call.info.named_in_path { call.info.name.as_str() } else { "" };
    Target {
        resource: if shape == Shape::Table { served.stored } else { served.resource },
        namespace: served.namespace(&call.info),
        name,
        subresource: &call.info.subresource,
    }
}

/// Agrees on the answer; of the subresources that are other kinds, only scale has a table of its own.
fn encoder(state: &State, served: Served, call: &Call, endpoint: Endpoint) -> Result<Encoder> {
    let plain = !matches!(call.info.subresource.as_str(), "" | "status" | "scale");
    let output = negotiate::output(call.headers(), &call.query, if plain { Endpoint::Plain } else { endpoint })?;
    let include = match output.shape {
        Shape::Table => include_object(call.query.text("includeObject"))?,
        _ => IncludeObject::Metadata,
    };
    Ok(Encoder::new(served, output, include, state.now()).of_scale(call.info.subresource == "scale"))
}

async fn get(state: &Arc<State>, served: Served, call: Call) -> Result<Response> {
    let encoder = encoder(state, served, &call, Endpoint::Objects)?;
    let version = options::resource_version(call.query.text("resourceVersion"))?;
    let object = state.server.registry.get(&target(&served, &call, encoder.output.shape), version).await?;
    Ok(respond::json(&encoder.output, 200, encoder.object(&object)))
}

/// Groups' resources whose conversion of field labels is their own; the others have the generic one and its words.
const OWN_FIELDS: [(&str, &str); 12] = [
    ("", "pods"),
    ("", "nodes"),
    ("", "events"),
    ("", "namespaces"),
    ("", "secrets"),
    ("", "services"),
    ("", "replicationcontrollers"),
    ("events.k8s.io", "events"),
    ("batch", "jobs"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("certificates.k8s.io", "clustertrustbundles"),
    ("resource.k8s.io", "resourceslices"),
];

/// Those of them that cannot be selected by their namespace.
const WITHOUT_NAMESPACES: [&str; 5] =
    ["nodes", "namespaces", "certificatesigningrequests", "clustertrustbundles", "resourceslices"];

/// The stored name of a selectable field: events of `events.k8s.io` are stored as core ones.
fn stored_field<'a>(group: &str, field: &'a str) -> &'a str {
    match (group, field) {
        ("events.k8s.io", "reportingController") => "reportingComponent",
        ("events.k8s.io", "regarding.kind") => "involvedObject.kind",
        ("events.k8s.io", "regarding.namespace") => "involvedObject.namespace",
        ("events.k8s.io", "regarding.name") => "involvedObject.name",
        ("events.k8s.io", "regarding.uid") => "involvedObject.uid",
        ("events.k8s.io", "regarding.apiVersion") => "involvedObject.apiVersion",
        ("events.k8s.io", "regarding.resourceVersion") => "involvedObject.resourceVersion",
        ("events.k8s.io", "regarding.fieldPath") => "involvedObject.fieldPath",
        _ => field,
    }
}

/// The selector in terms of what is stored; 400 for a field that cannot be selected by.
fn stored_fields(served: &Served, selector: FieldSelector) -> Result<FieldSelector> {
    let kind = api_kinds::of(&served.stored.group_resource());
    let (gv, plural) = (&served.resource.gv, served.resource.plural.as_str());
    let own = OWN_FIELDS.contains(&(&*gv.group, plural));
    let mut terms = selector.terms;
    for term in &mut terms {
        let stored = stored_field(&gv.group, &term.field);
        let known = match stored {
            "metadata.name" => true,
            "metadata.namespace" => !(own && WITHOUT_NAMESPACES.contains(&plural)),
            _ => kind.field(&json!({}), stored).is_some(),
        };
        if !known {
            return Err(ApiError::bad_request(match own {
                true if plural == "resourceslices" => {
                    format!("field label not supported for {gv}, Kind=ResourceSlice: {}", term.field)
                }
                true if plural == "jobs" => format!("field label {:?} not supported for Job", term.field),
                true => format!("field label not supported: {}", term.field),
                false => format!(
                    "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    term.field
                ),
            }));
        }
        term.field = stored.to_owned();
    }
    Ok(FieldSelector { terms })
}

async fn list(state: &Arc<State>, served: Served, call: Call) -> Result<Response> {
    let encoder = encoder(state, served, &call, Endpoint::List)?;
    let mut parameters = options::list_parameters(&call.query, None)?;
    parameters.list.field_selector = stored_fields(&served, parameters.list.field_selector)?;
    let list = state.server.registry.list(&target(&served, &call, encoder.output.shape), parameters.list).await?;
    Ok(list_answer(encoder, list).await)
}

async fn list_answer(encoder: Encoder, list: api_registry::List) -> Response {
    let mut metadata = json!({"resourceVersion": list.revision.to_string()});
    if !list.continue_token.is_empty() {
        metadata["continue"] = list.continue_token.into();
    }
    if let Some(remaining) = list.remaining.filter(|remaining| *remaining > 0) {
        metadata["remainingItemCount"] = remaining.into();
    }
    let output = encoder.output;
    list::respond(&output, encoder.list(list.objects, &metadata).await)
}

async fn watch_resource(state: &Arc<State>, served: Served, call: Call) -> Result<Response> {
    let encoder = encoder(state, served, &call, Endpoint::Watch)?;
    let may_list = state.server.registry.schema.gates().enabled(gate::WATCH_LIST);
    let parameters = options::list_parameters(&call.query, Some(options::Watch { may_list }))?;
    let mut fields = stored_fields(&served, parameters.list.field_selector)?;
    if call.info.named_in_path {
        // `/watch/.../NAME`
        let by_name = format!("metadata.name={}", call.info.name);
        fields.terms.extend(FieldSelector::parse(&by_name).map_err(ApiError::bad_request)?.terms);
    }
    let spread = || watch::MIN_TIMEOUT + Duration::from_secs(state.ids.below(watch::MIN_TIMEOUT.as_secs()));
    let options = WatchOptions {
        label_selector: parameters.list.label_selector,
        field_selector: fields,
        resource_version: parameters.list.resource_version,
        bookmarks: parameters.bookmarks,
        send_initial_events: parameters.send_initial_events,
        timeout: Some(parameters.timeout.unwrap_or_else(spread)),
    };
    let node = options.field_selector.required("spec.nodeName").map(str::to_owned);
    let watching = state.flow.as_ref().and_then(|flow| flow.watching(&call.info, node.as_deref()));
    let target = Target { name: "", ..target(&served, &call, encoder.output.shape) };
    let handle = state.server.registry.watch(&target, options).await?;
    let meter = WatchMeter::new(&call.labels, call.long_running(), watching);
    let watch = Watch::new(handle, encoder, state.stop.clone(), meter);
    match websocket::is_asked_for(call.headers()) {
        true => websocket::watch(state, call.request, watch),
        false => Ok(watch::respond(watch)),
    }
}

/// `fieldManager`, or the name the client gives itself.
fn manager(parameters: &WriteParameters, headers: &HeaderMap) -> String {
    if !parameters.field_manager.is_empty() {
        return parameters.field_manager.clone();
    }
    options::manager_of_agent(headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or(""))
}

pub(crate) fn caller(state: &State, call: &Call, parameters: &WriteParameters) -> Result<Caller> {
    Ok(Caller {
        user: call.user.clone(),
        authority: Some(Authority(state.server.authorizer.clone())),
        fence: None,
        dry_run: parameters.dry_run,
        field_manager: manager(parameters, call.headers()),
        field_validation: parameters.field_validation,
        deadline: options::deadline(&call.query)?,
        notes: Some(call.notes.clone()),
        gone: call.gone.clone(),
    })
}

/// A write's answer: 201 when something was made. Audit is told at which revision.
fn written_answer(encoder: &Encoder, written: &Written, dry_run: bool) -> Response {
    let code = if written.created { 201 } else { 200 };
    let is_status = written.object.get("kind").is_some_and(|kind| kind == "Status");
    let mut response = match is_status || encoder.output.shape == Shape::Object {
        true => respond::value(&encoder.output, code, &written.object),
        false => respond::value(&encoder.output, code, &encoder.value(&written.object)),
    };
    let revision = Some(written.revision).filter(|revision| !dry_run && *revision > 0);
    let status = is_status.then(|| written.object.clone());
    response.extensions_mut().insert(Wrote { revision, status });
    response
}

/// The body of a create or update, for the registry to decode.
async fn object_body(state: &State, call: &mut Call) -> Result<Body> {
    let format = negotiate::body_format(call.headers())?;
    let bytes = body::of_call(state, call).await?;
    if let Some(trail) = &call.trail {
        trail.sent_object(format, &bytes);
    }
    Ok(Body::Bytes { format, bytes })
}

/// Decodes a body of the kind that is served, strictly.
pub(crate) fn conformed(
    state: &State,
    served: &Served,
    call: &Call,
    format: Format,
    bytes: &[u8],
    validation: FieldValidation,
) -> Result<Value> {
    let parsed = decode::parse_object(format, bytes, &served.resource.kind)?;
    let mut value = parsed.value;
    check_type(served, &value)?;
    let Some(type_id) = served.resource.type_id else { return Ok(value) };
    let checked = decode::conform(state.server.registry.schema, type_id, &mut value, parsed.duplicates, validation)?;
    checked.warnings.into_iter().for_each(|text| call.notes.warn(text));
    Ok(value)
}

/// 400 as upstream when a body says to be of another version or kind. Absent fields stand for the right ones.
fn check_type(served: &Served, value: &Value) -> Result<()> {
    let (api_version, kind) = (object::str_at(value, "apiVersion"), object::str_at(value, "kind"));
    let expected = served.resource.gv.to_string();
    if !api_version.is_empty() && api_version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    if !kind.is_empty() && kind != served.resource.kind {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): kind {kind:?}",
            served.resource.kind
        )));
    }
    Ok(())
}

async fn create(state: &Arc<State>, served: Served, mut call: Call) -> Result<Response> {
    let encoder = encoder(state, served, &call, Endpoint::Objects)?;
    let parameters = options::write_parameters(&call.query, Write::Create)?;
    let caller = caller(state, &call, &parameters)?;
    let body = object_body(state, &mut call).await?;
    let written = match legacy_binding(state, &served, &call, &body)? {
        Some((pods, name)) => {
            let target =
                Target { resource: pods, namespace: &call.info.namespace, name: &name, subresource: "binding" };
            state.server.registry.create(&caller, &target, body).await?
        }
        None => state.server.registry.create(&caller, &target(&served, &call, Shape::Object), body).await?,
    };
    Ok(written_answer(&encoder, &written, parameters.dry_run))
}

/// `POST .../bindings` is `POST .../pods/NAME/binding` with the name in the body.
fn legacy_binding(
    state: &State,
    served: &Served,
    call: &Call,
    body: &Body,
) -> Result<Option<(&'static api_schema::Resource, String)>> {
    if served.resource.plural != "bindings" || !call.info.group.is_empty() {
        return Ok(None);
    }
    let pods = state.server.registry.schema.resource("", "v1", "pods").ok_or_else(ApiError::no_such_path)?;
    let name = match body {
        Body::Bytes { format, bytes } => {
            object::name(&decode::parse_object(*format, bytes, &served.resource.kind)?.value).to_owned()
        }
        Body::Value(value) => object::name(value).to_owned(),
    };
    Ok(Some((pods, name)))
}

async fn update(state: &Arc<State>, served: Served, mut call: Call) -> Result<Response> {
    let encoder = encoder(state, served, &call, Endpoint::Objects)?;
    let parameters = options::write_parameters(&call.query, Write::Update)?;
    let caller = caller(state, &call, &parameters)?;
    let body = object_body(state, &mut call).await?;
    let written = state.server.registry.update(&caller, &target(&served, &call, Shape::Object), body).await?;
    Ok(written_answer(&encoder, &written, parameters.dry_run))
}

async fn patch_resource(state: &Arc<State>, served: Served, mut call: Call) -> Result<Response> {
    let patch = negotiate::patch_body(call.headers())?;
    let encoder = encoder(state, served, &call, Endpoint::Objects)?;
    let write = if patch == PatchBody::Apply { Write::Apply } else { Write::Patch };
    let parameters = options::write_parameters(&call.query, write)?;
    let caller = caller(state, &call, &parameters)?;
    let bytes = body::of_call(state, &mut call).await?;
    if let Some(trail) = &call.trail {
        trail.sent_body(if patch == PatchBody::Apply { Format::Yaml } else { Format::Json }, &bytes);
    }
    let target = target(&served, &call, Shape::Object);
    let registry = &state.server.registry;
    let written = match patch {
        PatchBody::Patch(kind) => {
            registry.patch(&caller, &target, kind, Body::Bytes { format: Format::Json, bytes }).await?
        }
        PatchBody::Apply => {
            registry.apply(&caller, &target, Body::Bytes { format: Format::Yaml, bytes }, parameters.force).await?
        }
    };
    Ok(written_answer(&encoder, &written, parameters.dry_run))
}

/// `DeleteOptions` of the body, if there is one.
async fn delete_body(state: &State, call: &mut Call) -> Result<Option<Value>> {
    let bytes = body::of_call(state, call).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let format = negotiate::body_format(call.headers())?;
    if let Some(trail) = &call.trail {
        trail.sent_body(format, &bytes);
    }
    Ok(Some(aside::on_bytes(bytes.len(), || decode::parse(format, &bytes))?.value))
}

fn delete_parameters(call: &Call, dry_run: bool) -> WriteParameters {
    let field_manager = call.query.text("fieldManager").to_owned();
    WriteParameters { dry_run, field_manager, field_validation: FieldValidation::Ignore, force: false }
}

async fn delete(state: &Arc<State>, served: Served, mut call: Call) -> Result<Response> {
    let encoder = encoder(state, served, &call, Endpoint::Objects)?;
    let body = delete_body(state, &mut call).await?;
    let DeleteParameters { options, dry_run, waits } = options::delete_options(&call.query, body.as_ref())?;
    let caller = caller(state, &call, &delete_parameters(&call, dry_run))?;
    let written = state.server.registry.delete(&caller, &target(&served, &call, Shape::Object), options).await?;
    let mut answer = written_answer(&encoder, &written, dry_run);
    if waits && written.pending {
        *answer.status_mut() = http::StatusCode::ACCEPTED;
    }
    Ok(answer)
}

async fn delete_collection(state: &Arc<State>, served: Served, mut call: Call) -> Result<Response> {
    let encoder = encoder(state, served, &call, Endpoint::List)?;
    let mut parameters = options::list_parameters(&call.query, None)?;
    parameters.list.field_selector = stored_fields(&served, parameters.list.field_selector)?;
    let body = delete_body(state, &mut call).await?;
    let DeleteParameters { options, dry_run, .. } = options::delete_options(&call.query, body.as_ref())?;
    let caller = caller(state, &call, &delete_parameters(&call, dry_run))?;
    let target = target(&served, &call, encoder.output.shape);
    let list = state.server.registry.delete_collection(&caller, &target, parameters.list, options).await?;
    let revision = list.deleted.filter(|_| !dry_run);
    let mut answer = list_answer(encoder, list).await;
    answer.extensions_mut().insert(Wrote { revision, status: None });
    Ok(answer)
}

/// JSON, not pretty: for answers made here.
pub(crate) fn review_output(call: &Call) -> Result<Output> {
    negotiate::output(call.headers(), &call.query, Endpoint::Plain)
}
