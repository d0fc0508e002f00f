//! What `kontiki server` serves below `/kontiki/v1/` besides the Kubernetes API: joining.
//!
//! `ca` answers the CA certificate to anyone (the token's hash says whether it is the right one),
//! `join/server` hands a new replica what it needs to be one. Nodes join by the API itself.
//! `encryption/rotate` has what is encrypted at rest encrypted anew, page by page; only admins may.
//! `certificates/...` renews what a replica shows and replaces CAs; only `system:masters` may.
//! A node of ours has its serving certificate signed by `node/certificates` and learns the servers by `node/servers`.
//! RBAC objects made at start say who may call what: bootstrap tokens `join`, and of it `join/server` only
//! tokens of the group for servers; nodes `node`.

use std::path::PathBuf;
use std::sync::Arc;

use api_encryption::SealedStore;
use api_http::{AdminApi, Download};
use api_machinery::{ApiError, UserInfo, Value};
use async_trait::async_trait;
use pki::authority::{Authority, Request};
use serde_json::json;
use store_node::RaftStore;
use tokio_util::sync::CancellationToken;

use super::members::Running;
use super::{certificates, encryption};
use crate::config::ServerConfiguration;
use crate::now;

/// Tokens of this group may bring in control-plane replicas.
pub(crate) const SERVERS: &str = "system:bootstrappers:kontiki:servers";
/// Tokens of this group may bring in nodes.
pub(crate) const AGENTS: &str = "system:bootstrappers:kontiki:agents";
/// Days a node's serving certificate is valid.
const NODE_DAYS: u32 = 365;

pub(crate) struct Admin {
    pub(crate) config: ServerConfiguration,
    pub(crate) store: Arc<RaftStore>,
    /// Where something is encrypted at rest.
    pub(crate) sealed: Option<Arc<SealedStore>>,
    /// Ends the process in order.
    pub(crate) stop: CancellationToken,
}

#[async_trait]
impl AdminApi for Admin {
    async fn call(&self, path: &str, user: &UserInfo, body: Value) -> Result<Value, ApiError> {
        match path {
            "ca" => Ok(json!({"ca": self.file("ca.crt")?})),
            "node/certificates" => self.sign(node_of(user)?, &body),
            "node/servers" => {
                node_of(user)?;
                Ok(json!({"servers": self.running().apis(), "ca": self.file("ca.crt")?}))
            }
            "join/server" if may(user, SERVERS) => self.join_server().await,
            // Keys are handed out: not even a role that names the path is enough.
            path if path.starts_with("certificates/") && user.is_in(UserInfo::MASTERS) => {
                let what = path.trim_start_matches("certificates/");
                certificates::call(&self.config, what, &body, now())
            }
            "encryption/rotate" => encryption::rotate(&self.sealed, &body).await,
            "join/server/ready" if may(user, SERVERS) => self.running().add(&body).await,
            "join/server" | "join/server/ready" => Err(ApiError::new(
                403,
                api_machinery::Reason::Forbidden,
                "forbidden: this token may not bring in such a machine",
            )),
            _ => match path.strip_prefix("members/") {
                Some(what) => self.running().members(what, user, &body).await,
                None => Err(ApiError::no_such_path()),
            },
        }
    }

    async fn download(&self, path: &str, user: &UserInfo) -> Option<Result<Download, ApiError>> {
        match path {
            "backup" if user.is_in(UserInfo::MASTERS) => Some(self.running().copy().await),
            "backup" => Some(Err(ApiError::new(
                403,
                api_machinery::Reason::Forbidden,
                "forbidden: only members of system:masters may copy the store",
            ))),
            _ => None,
        }
    }
}

fn may(user: &UserInfo, group: &str) -> bool {
    user.is_in(group) || user.is_in(UserInfo::MASTERS)
}

/// The node that asks, of itself only.
fn node_of(user: &UserInfo) -> Result<&str, ApiError> {
    let name = user.name.strip_prefix("system:node:").filter(|_| user.is_in("system:nodes"));
    name.ok_or_else(|| ApiError::new(403, api_machinery::Reason::Forbidden, "forbidden: only nodes may ask for this"))
}

fn text<'a>(body: &'a Value, field: &str) -> Result<&'a str, ApiError> {
    body[field].as_str().ok_or_else(|| ApiError::bad_request(format!("{field} is missing")))
}

impl Admin {
    fn running(&self) -> Running<'_> {
        Running { config: &self.config, store: &self.store, stop: &self.stop }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.pki_dir.join(name)
    }

    fn file(&self, name: &str) -> Result<String, ApiError> {
        std::fs::read_to_string(self.path(name)).map_err(|error| ApiError::internal(format!("{name}: {error}")))
    }

    fn authority(&self) -> Result<Authority, ApiError> {
        Authority::from_pem(&self.file("ca.crt")?, &self.file("ca.key")?).map_err(ApiError::internal)
    }

    /// Signs `servingCSR` for the node's name and address.
    fn sign(&self, name: &str, body: &Value) -> Result<Value, ApiError> {
        let problems = api_machinery::names::dns1123_subdomain(name);
        if !problems.is_empty() {
            return Err(ApiError::bad_request(format!("nodeName {name:?}: {}", problems.join(", "))));
        }
        let ip = text(body, "nodeIP")?.parse().map_err(|_| ApiError::bad_request("nodeIP is not an address"))?;
        let csr = text(body, "servingCSR")?;
        let signed = self.authority()?.sign_csr(csr, &serving_request(name, ip), now());
        let certificate = signed.map_err(|error| ApiError::bad_request(error.to_string()))?;
        Ok(json!({"servingCertificate": certificate, "servers": self.running().apis()}))
    }

    /// What a new replica needs to know of the cluster.
    async fn join_server(&self) -> Result<Value, ApiError> {
        let mut answer = self.running().new_member().await?;
        answer["serviceCIDR"] = self.config.service_cidr.clone().into();
        answer["nodePorts"] = json!([self.config.node_ports.0, self.config.node_ports.1]);
        Ok(answer)
    }
}

fn serving_request(name: &str, ip: std::net::IpAddr) -> Request {
    Request {
        common_name: format!("system:node:{name}"),
        organizations: vec!["system:nodes".to_owned()],
        dns_names: vec![name.to_owned()],
        ips: vec![ip],
        server: true,
        days: NODE_DAYS,
        ..Request::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_asks_for_itself_only() {
        let user = |name: &str, group: &str| UserInfo {
            name: name.into(),
            groups: vec![group.to_owned()],
            ..UserInfo::default()
        };
        assert_eq!(node_of(&user("system:node:a", "system:nodes")).expect("a node"), "a");
        for (name, group) in [("system:node:a", "dev"), ("a", "system:nodes"), ("admin", UserInfo::MASTERS)] {
            assert_eq!(node_of(&user(name, group)).expect_err("not a node").code, 403, "{name} of {group}");
        }
    }
}
