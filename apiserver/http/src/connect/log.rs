//! `pods/NAME/log`: the kubelet's stream, as it comes.

use std::sync::Arc;

use api_machinery::error::Result;
use api_machinery::object::{name, str_at};
use api_machinery::{ApiError, ErrorList, GroupKind, Path, Value};
use http::{HeaderMap, Method, StatusCode};

use crate::chain::Call;
use crate::connect::backend::{self, Transport};
use crate::connect::{address, pod, seen};
use crate::path::percent_encode;
use crate::query::Query;
use crate::respond::{self, Response};
use crate::state::State;

pub(crate) async fn respond(state: &Arc<State>, call: Call) -> Result<Response> {
    let parameters = kubelet_query(&call.query)?;
    let pod = pod(state, &call).await?;
    let container = choose_container(&pod, call.query.text("container"))?;
    let node = str_at(&pod, "spec.nodeName");
    if node.is_empty() {
        // Not scheduled yet: nothing has been said.
        return Ok(respond::text(200, ""));
    }
    let address = address::kubelet(&*seen(state, "nodes", "", node)?)?;
    let (namespace, pod_name) = (percent_encode(&call.info.namespace), percent_encode(name(&pod)));
    let target = format!("/containerLogs/{namespace}/{pod_name}/{}{parameters}", percent_encode(&container));
    let unchecked = call.query.flag("insecureSkipTLSVerifyBackend");
    let transport = if unchecked { Transport::KubeletUnchecked } else { Transport::Kubelet };
    let request = backend::request(Method::GET, address, &target, HeaderMap::new(), respond::full(""))?;
    let answer = state.backends.send(state, address, transport, request).await?;
    if answer.status() != StatusCode::OK {
        return Err(refusal(answer.status().as_u16(), backend::refusal_text(answer.into_body()).await, &pod));
    }
    Ok(respond::with_body(200, "text/plain", backend::passed(answer.into_body())))
}

/// What the kubelet refuses, as upstream passes it on.
fn refusal(code: u16, text: String, pod: &Value) -> ApiError {
    match code {
        400 => ApiError::bad_request(text),
        500 => ApiError::internal(text),
        404 => {
            let message = format!("the server could not find the requested resource ( pods/log {})", name(pod));
            ApiError::new(404, backend::reason_of(404), if text.is_empty() { message } else { text })
        }
        300..=399 => ApiError::new(502, backend::reason_of(502), "the kubelet answered with a redirect"),
        _ if (400..600).contains(&code) => ApiError::new(code, backend::reason_of(code), text),
        _ => ApiError::new(502, backend::reason_of(502), format!("the kubelet answered {code}")),
    }
}

fn at_least(query: &Query, field: &str, least: i64, errors: &mut ErrorList) -> Result<Option<i64>> {
    let value = query.integer(field)?;
    if let Some(bad) = value.filter(|value| *value < least) {
        let detail = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
        errors.invalid(&Path::new(field), &bad.into(), detail);
    }
    Ok(value)
}

/// `PodLogOptions` checked (422 as upstream) and written as the kubelet's query.
fn kubelet_query(query: &Query) -> Result<String> {
    let mut errors = ErrorList::new();
    let tail = at_least(query, "tailLines", 0, &mut errors)?;
    let limit = at_least(query, "limitBytes", 1, &mut errors)?;
    let since = at_least(query, "sinceSeconds", 1, &mut errors)?;
    let since_time = query.text("sinceTime");
    if since.is_some() && !since_time.is_empty() {
        errors.forbidden(&Path::new(""), "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    if !since_time.is_empty() && api_machinery::time::parse(since_time).is_none() {
        return Err(ApiError::bad_request(format!("parsing time {since_time:?}: not RFC 3339")));
    }
    let stream = query.text("stream");
    if !matches!(stream, "" | "All" | "Stdout" | "Stderr") {
        errors.not_supported(&Path::new("stream"), &stream.into(), &["All", "Stdout", "Stderr"]);
    }
    if !errors.is_empty() {
        let kind = GroupKind { group: "".into(), kind: "PodLogOptions".into() };
        return Err(ApiError::invalid(&kind, "", errors));
    }
    let mut out: Vec<String> = Vec::new();
    for name in ["follow", "previous", "timestamps"] {
        if query.flag(name) {
            out.push(format!("{name}=true"));
        }
    }
    for (name, value) in [("sinceSeconds", since), ("tailLines", tail), ("limitBytes", limit)] {
        out.extend(value.map(|value| format!("{name}={value}")));
    }
    for (name, value) in [("sinceTime", since_time), ("stream", stream)] {
        if !value.is_empty() {
            out.push(format!("{name}={}", percent_encode(value)));
        }
    }
    Ok(if out.is_empty() { String::new() } else { format!("?{}", out.join("&")) })
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let containers = pod["spec"][list].as_array().map_or(&[][..], Vec::as_slice);
    containers.iter().filter_map(|container| container["name"].as_str()).collect()
}

/// The container that is meant: the named one, which must exist, or the only one.
pub(crate) fn choose_container(pod: &Value, wanted: &str) -> Result<String> {
    let main = names(pod, "containers");
    let init = names(pod, "initContainers");
    if !wanted.is_empty() {
        let known = main.iter().chain(&init).chain(&names(pod, "ephemeralContainers")).any(|name| *name == wanted);
        return match known {
            true => Ok(wanted.to_owned()),
            false => Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {}", name(pod)))),
        };
    }
    match main.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(ApiError::bad_request(format!("a container name must be specified for pod {}", name(pod)))),
        _ => {
            let mut text = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                name(pod),
                main.join(" ")
            );
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(ApiError::bad_request(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters() {
        let of = |text: &str| kubelet_query(&Query::parse(Some(text)).expect("a good query"));
        assert_eq!(of(""), Ok(String::new()));
        assert_eq!(
            of("follow=true&tailLines=0&timestamps=1&previous=false").as_deref(),
            Ok("?follow=true&timestamps=true&tailLines=0")
        );
        assert_eq!(
            of("sinceTime=2026-01-01T00:00:00%2B02:00").as_deref(),
            Ok("?sinceTime=2026-01-01T00%3A00%3A00%2B02%3A00")
        );
        for (text, code) in [
            ("tailLines=-1", 422),
            ("limitBytes=0", 422),
            ("sinceSeconds=0", 422),
            ("tailLines=x", 400),
            ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422),
            ("sinceTime=yesterday", 400),
            ("stream=Stdin", 422),
        ] {
            assert_eq!(of(text).map_err(|error| error.code), Err(code), "{text}");
        }
    }

    #[test]
    fn containers() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(choose_container(&pod, "i").as_deref(), Ok("i"));
        assert_eq!(choose_container(&pod, "x").expect_err("unknown").message, "container x is not valid for pod p");
        assert_eq!(
            choose_container(&pod, "").expect_err("several").message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        let single = json!({"spec": {"containers": [{"name": "a"}]}});
        assert_eq!(choose_container(&single, "").as_deref(), Ok("a"));
    }
}
