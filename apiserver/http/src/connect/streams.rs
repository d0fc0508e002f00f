//! `pods/NAME/{exec,attach,portforward}`: the upgrade is the kubelet's to answer.

use std::sync::Arc;

use api_machinery::ApiError;
use api_machinery::error::Result;
use api_machinery::object::{name, str_at};

use crate::chain::Call;
use crate::connect::backend::{self, Transport};
use crate::connect::log::choose_container;
use crate::connect::{address, pod, seen};
use crate::path::percent_encode;
use crate::query::Query;
use crate::respond::Response;
use crate::state::State;

pub(crate) async fn respond(state: &Arc<State>, call: Call) -> Result<Response> {
    let pod = pod(state, &call).await?;
    let (namespace, pod_name) = (percent_encode(&call.info.namespace), percent_encode(name(&pod)));
    let container = |query: &Query| choose_container(&pod, query.text("container")).map(|name| percent_encode(&name));
    let target = match call.info.subresource.as_str() {
        "portforward" => format!("/portForward/{namespace}/{pod_name}{}", port_query(&call.query)),
        "attach" => {
            format!("/attach/{namespace}/{pod_name}/{}{}", container(&call.query)?, stream_query(&call.query, false)?)
        }
        _ => format!("/exec/{namespace}/{pod_name}/{}{}", container(&call.query)?, stream_query(&call.query, true)?),
    };
    let node = str_at(&pod, "spec.nodeName");
    if node.is_empty() {
        return Err(ApiError::bad_request(format!("pod {} does not have a host assigned", name(&pod))));
    }
    let address = address::kubelet(&*seen(state, "nodes", "", node)?)?;
    let counted = call.long_running();
    backend::tunnel(state, call.request, address, Transport::Kubelet, &target, counted).await
}

/// `PodExecOptions` and `PodAttachOptions` in the kubelet's words.
fn stream_query(query: &Query, with_command: bool) -> Result<String> {
    let mut out: Vec<String> = Vec::new();
    for (option, own) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(option) {
            out.push(format!("{own}=1"));
        }
    }
    if with_command {
        let command: Vec<String> =
            query.all("command").map(|part| format!("command={}", percent_encode(part))).collect();
        if command.is_empty() {
            return Err(ApiError::bad_request("you must specify at least one command for the container"));
        }
        out.extend(command);
    }
    Ok(if out.is_empty() { String::new() } else { format!("?{}", out.join("&")) })
}

fn port_query(query: &Query) -> String {
    let ports: Vec<String> = query.all("ports").map(|port| format!("port={}", percent_encode(port))).collect();
    if ports.is_empty() { String::new() } else { format!("?{}", ports.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_the_kubelets_words() {
        let query =
            Query::parse(Some("command=sh&command=-c&command=echo%20%26&stdin=true&stdout=1&tty=false")).expect("good");
        assert_eq!(
            stream_query(&query, true).as_deref(),
            Ok("?input=1&output=1&command=sh&command=-c&command=echo%20%26")
        );
        assert_eq!(stream_query(&query, false).as_deref(), Ok("?input=1&output=1"));
        assert_eq!(stream_query(&Query::default(), true).map_err(|error| error.code), Err(400));
        assert_eq!(port_query(&Query::parse(Some("ports=80&ports=81")).expect("good")), "?port=80&port=81");
    }
}
