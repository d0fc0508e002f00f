//! Subresources that connect to somebody else: kubelets (log, exec, attach, portforward, nodes/proxy),
//! pods and services (proxy). This server knows no protocol of theirs: bytes pass through.

pub(crate) mod address;
pub(crate) mod backend;
pub(crate) mod headers;
mod log;
mod proxy;
mod streams;

use std::sync::Arc;

use api_machinery::error::Result;
use api_machinery::{ApiError, GroupResource, ObjectKey, Value};
use api_registry::{Authority, RequestInfo as Caller, Target};

use crate::chain::Call;
use crate::request_info::RequestInfo;
use crate::respond::Response;
use crate::served::method_not_allowed;
use crate::state::State;

pub(crate) fn is_connect(info: &RequestInfo) -> bool {
    info.group.is_empty()
        && matches!(
            (info.resource.as_str(), info.subresource.as_str()),
            ("pods", "log" | "exec" | "attach" | "portforward" | "proxy") | ("nodes" | "services", "proxy")
        )
}

pub(crate) async fn dispatch(state: &Arc<State>, call: Call) -> Result<Response> {
    admit(state, &call).await?;
    match (call.info.resource.as_str(), call.info.subresource.as_str()) {
        ("pods", "log") => log::respond(state, call).await,
        ("pods", "exec" | "attach" | "portforward") => streams::respond(state, call).await,
        ("nodes" | "pods" | "services", "proxy") => proxy::respond(state, call).await,
        _ => Err(method_not_allowed()),
    }
}

/// As upstream: reading a log is no connection.
async fn admit(state: &State, call: &Call) -> Result<()> {
    let (registry, info) = (&state.server.registry, &call.info);
    if info.subresource == "log" {
        return Ok(());
    }
    let resource = registry.schema.resource("", "v1", &info.resource).ok_or_else(ApiError::no_such_path)?;
    let authority = Some(Authority(state.server.authorizer.clone()));
    let notes = Some(call.notes.clone());
    let caller = Caller { user: call.user.clone(), authority, notes, ..Caller::default() };
    let target = Target { resource, namespace: &info.namespace, name: &info.name, subresource: &info.subresource };
    registry.connect(&caller, &target).await
}

/// The pod of a request, as it is now.
async fn pod(state: &State, call: &Call) -> Result<Arc<Value>> {
    let schema = state.server.registry.schema;
    let resource = schema.own("", "v1", "pods").ok_or_else(ApiError::no_such_path)?;
    let (namespace, name) = (call.info.namespace.as_str(), call.info.name.as_str());
    let object = state.server.registry.get(&Target { resource, namespace, name, subresource: "" }, None).await?;
    Ok(object.value())
}

/// An object as this replica sees it.
fn seen(state: &State, resource: &str, namespace: &str, name: &str) -> Result<Arc<Value>> {
    let resource = GroupResource::new("", resource);
    let key = ObjectKey::new(resource.clone(), namespace, name);
    let object = state.server.registry.peek(&key).ok_or_else(|| ApiError::not_found(&resource, name))?;
    Ok(object.value())
}
