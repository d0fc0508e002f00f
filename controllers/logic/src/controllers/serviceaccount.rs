//! The `default` ServiceAccount of every active namespace.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use serde_json::json;

use crate::controller::{Context, Controller};
use crate::meta::Meta;
use crate::plan::{Action, Gvr, Plan, Target};
use crate::world::{Change, Key, Kind, World};

pub struct ServiceAccountController;

/// The account pods get that name none.
const DEFAULT: &str = "default";

impl Controller for ServiceAccountController {
    fn name(&self) -> &'static str {
        "serviceaccount"
    }
    fn account(&self) -> &'static str {
        "service-account-controller"
    }
    fn workers(&self) -> usize {
        1
    }
    /// Queued by namespace.
    fn keys(&self, _world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Namespace => change.current::<Namespace>().map(Key::of).into_iter().collect(),
            Kind::ServiceAccount if change.is_deletion() => {
                let account = change.old::<ServiceAccount>().filter(|account| account.name() == DEFAULT);
                account.map(|account| Key::new("", account.namespace())).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, _context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let active = world.namespaces.at(key).is_some_and(|namespace| is_active(namespace));
        if active && world.service_accounts.get(&key.name, DEFAULT).is_none() {
            let target = Target::new(Gvr::of::<ServiceAccount>(), &key.name, DEFAULT);
            let object = json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": { "name": DEFAULT, "namespace": &*key.name },
            });
            plan.push(Action::Create { target, object, report: None, existing_is_fine: true });
        }
        plan
    }
}

/// Not being deleted.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    !namespace.is_deleting() && phase != Some("Terminating")
}
