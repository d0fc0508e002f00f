//! What of a request says how much work it is.

use api_flow::estimate::{ListShape, Stored};

use super::Asked;
use crate::request_info::RequestInfo;
use crate::state::State;

pub(super) enum Shape {
    List(ListShape),
    /// Something that others may watch.
    Write,
    Other,
}

/// What there is of the resource, as far as this is asked.
pub(super) fn stored(state: &State, info: &RequestInfo) -> Stored {
    if !matches!(info.verb.as_str(), "list" | "watch") {
        return Stored::default();
    }
    let registry = &state.server.registry;
    let Some(resource) = info.resource(registry.schema) else { return Stored::default() };
    let (objects, bytes) = registry.cache.size(&resource.storage);
    Stored { objects, bytes }
}

pub(super) fn of(asked: &Asked<'_>, stored: Stored) -> Shape {
    match asked.info.verb.as_str() {
        "list" => Shape::List(list(asked, stored)),
        "watch" if begins_with_list(asked) => Shape::List(list(asked, stored)),
        "create" | "update" | "patch" | "delete" => Shape::Write,
        _ => Shape::Other,
    }
}

fn list(asked: &Asked<'_>, stored: Stored) -> ListShape {
    // A bad limit is refused where the options are read.
    let limit = asked.query.text("limit").parse().unwrap_or(0);
    ListShape { stored, limit, single: !asked.info.name.is_empty() }
}

/// Whether what is there already is sent first.
fn begins_with_list(asked: &Asked<'_>) -> bool {
    let initial = asked.query.get("sendInitialEvents").is_some() && asked.query.flag("sendInitialEvents");
    initial || matches!(asked.query.text("resourceVersion"), "" | "0")
}
