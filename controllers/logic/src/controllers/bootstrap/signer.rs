//! Signs `kube-public/cluster-info` with every join token, so that who has one knows that the CA in it is the
//! cluster's. The format is kubeadm's.

use std::collections::BTreeMap;

use api_machinery::jws;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::controller::{Context, Controller};
use crate::controllers::bootstrap::{
    CLUSTER_INFO, PUBLIC, TOKEN_PREFIX, TOKENS, field, has_expired, is_cluster_info, is_token,
};
use crate::meta::Meta;
use crate::plan::Plan;
use crate::world::{Change, Key, Kind, World};

pub struct BootstrapSigner;

const CONTENT: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

fn the_key() -> Key {
    Key::new(PUBLIC, CLUSTER_INFO)
}

impl Controller for BootstrapSigner {
    fn name(&self) -> &'static str {
        "bootstrap_signer_queue"
    }
    fn account(&self) -> &'static str {
        "bootstrap-signer"
    }
    fn workers(&self) -> usize {
        1
    }
    fn keys(&self, _world: &World, change: &Change<'_>) -> Vec<Key> {
        let concerns = match change.kind {
            Kind::ConfigMap => change.any::<ConfigMap>().is_some_and(is_cluster_info),
            Kind::Secret => change.both::<Secret>().any(is_token),
            _ => false,
        };
        concerns.then(the_key).into_iter().collect()
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(map) = world.config_maps.at(key) else { return plan };
        let Some(content) = map.data.as_ref().and_then(|data| data.get(CONTENT)) else { return plan };
        let mut wanted = ConfigMap::clone(map);
        let data = wanted.data.get_or_insert_default();
        data.retain(|name, _| !name.starts_with(SIGNATURE_PREFIX));
        for (id, secret) in tokens(world, context.now) {
            data.insert(format!("{SIGNATURE_PREFIX}{id}"), jws::detached(content, id, secret));
        }
        plan.change(&**map, &wanted, "");
        plan
    }
}

/// Ids and secrets of the tokens to sign with.
fn tokens(world: &World, now: Timestamp) -> BTreeMap<&str, &str> {
    let secrets = world.secrets.of_namespace(TOKENS).filter(|secret| is_token(secret) && !has_expired(secret, now));
    secrets.filter_map(|secret| signing(secret)).collect()
}

fn signing(secret: &Secret) -> Option<(&str, &str)> {
    let id = secret.name().strip_prefix(TOKEN_PREFIX)?;
    let signs = field(secret, "usage-bootstrap-signing") == Some("true") && field(secret, "token-id") == Some(id);
    let secret = field(secret, "token-secret").filter(|text| !text.is_empty())?;
    signs.then_some((id, secret))
}
