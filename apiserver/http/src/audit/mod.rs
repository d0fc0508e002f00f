//! Audit in the chain: a [`Trail`] is opened when it is known who asks, goes along with the request, and is closed
//! with the answer, whatever becomes of either. Without a policy there is none, and nothing here costs anything.

mod bodies;
mod trail;

use std::net::SocketAddr;
use std::sync::Arc;

use api_audit::meter;
use api_audit::policy::Attributes;
use api_audit::record::{Record, Request as Described};
use api_audit::source;
use api_machinery::UserInfo;
use api_machinery::error::Result;
use http::HeaderMap;
use http::header::{AUTHORIZATION, USER_AGENT};
use jiff::Timestamp;

pub(crate) use bodies::Wrote;
pub(crate) use trail::Trail;

use crate::chain::{Client, Peer};
use crate::request_info::RequestInfo;
use crate::state::State;

/// What the head of a request says of it.
pub(crate) struct Head<'a> {
    pub audit_id: &'a str,
    pub received: Timestamp,
    /// Path and query.
    pub uri: &'a str,
    pub headers: &'a HeaderMap,
    pub info: &'a RequestInfo,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn described(head: &Head<'_>, remote: SocketAddr) -> Described {
    let (forwarded, real) = (text(head.headers, "x-forwarded-for"), text(head.headers, "x-real-ip"));
    let sources = source::addresses(forwarded, real, remote.ip());
    Described {
        audit_id: head.audit_id.to_owned(),
        received: head.received,
        uri: head.uri.to_owned(),
        source_ips: sources.iter().map(ToString::to_string).collect(),
        user_agent: text(head.headers, USER_AGENT.as_str()).to_owned(),
    }
}

fn attributes<'a>(info: &'a RequestInfo, user: Option<&'a UserInfo>) -> Attributes<'a> {
    Attributes {
        user,
        verb: &info.verb,
        is_resource: info.is_resource,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: &info.path,
    }
}

fn begin(state: &State, peer: &Peer, head: &Head<'_>, user: Option<&UserInfo>) -> Option<Arc<Trail>> {
    let auditor = state.server.audit.as_ref()?;
    let asked = attributes(head.info, user);
    let decision = auditor.policy.decide(&asked);
    meter::level(decision.level);
    let record = Record::open(decision, &asked, described(head, peer.address))?;
    Some(Trail::new(auditor.clone(), record, state.trails.token(), head.info))
}

/// Opens the trail of a request and records that it was received. 500 where that must be recorded and cannot be.
pub(crate) async fn open(state: &State, peer: &Peer, head: &Head<'_>, user: &UserInfo) -> Result<Option<Arc<Trail>>> {
    let Some(trail) = begin(state, peer, head, Some(user)) else { return Ok(None) };
    trail.received().await?;
    Ok(Some(trail))
}

/// Records that somebody could not be authenticated: one record, when that is answered, as upstream.
pub(crate) async fn refused(state: &State, peer: &Peer, head: &Head<'_>) {
    if let Some(trail) = begin(state, peer, head, None) {
        trail.refused(&attempted(peer, head.headers)).await;
    }
}

/// How they tried, in upstream's words.
fn attempted(peer: &Peer, headers: &HeaderMap) -> String {
    let header = headers.get(AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase());
    let scheme = |wanted: &str| header.as_deref().is_some_and(|header| header.trim().starts_with(wanted));
    let certificate = !matches!(peer.client, Client::Stranger);
    let tried = [(scheme("basic "), "basic"), (scheme("bearer "), "bearer"), (certificate, "x509")];
    let methods: Vec<&str> = tried.into_iter().filter(|(tried, _)| *tried).map(|(_, method)| method).collect();
    match methods.is_empty() {
        true => "Authentication failed, no credentials provided".to_owned(),
        false => format!("Authentication failed, attempted: {}", methods.join(", ")),
    }
}
