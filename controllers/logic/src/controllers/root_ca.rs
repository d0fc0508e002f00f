//! The ConfigMap `kube-root-ca.crt` in every active namespace, for pods to verify the API server with.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use serde_json::json;

use crate::controller::{Context, Controller};
use crate::controllers::serviceaccount::is_active;
use crate::meta::Meta;
use crate::plan::{Action, Gvr, Plan, Target};
use crate::world::{Change, Key, Kind, World};

pub struct RootCaPublisher {
    /// PEM of the cluster CA.
    pub pem: String,
}

pub(crate) const NAME: &str = "kube-root-ca.crt";
/// Upstream's texts on the object.
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

impl Controller for RootCaPublisher {
    fn name(&self) -> &'static str {
        "root_ca_cert_publisher"
    }
    fn account(&self) -> &'static str {
        "root-ca-cert-publisher"
    }
    fn workers(&self) -> usize {
        1
    }
    /// Queued by namespace.
    fn keys(&self, _world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Namespace => change.current::<Namespace>().map(Key::of).into_iter().collect(),
            Kind::ConfigMap => {
                let map = change.any::<ConfigMap>().filter(|map| map.name() == NAME);
                map.map(|map| Key::new("", map.namespace())).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, _context: &Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        if !world.namespaces.at(key).is_some_and(|namespace| is_active(namespace)) {
            return plan;
        }
        match world.config_maps.get(&key.name, NAME) {
            None => plan.push(self.creation(&key.name)),
            Some(map) => {
                let mut wanted = ConfigMap::clone(map);
                wanted.data = Some([("ca.crt".to_owned(), self.pem.clone())].into());
                wanted.annotate(DESCRIPTION.0, DESCRIPTION.1.to_owned());
                plan.change(&**map, &wanted, "");
            }
        }
        plan
    }
}

impl RootCaPublisher {
    fn creation(&self, namespace: &str) -> Action {
        let target = Target::new(Gvr::of::<ConfigMap>(), namespace, NAME);
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": NAME, "namespace": namespace, "annotations": { DESCRIPTION.0: DESCRIPTION.1 },
            },
            "data": { "ca.crt": self.pem },
        });
        Action::Create { target, object, report: None, existing_is_fine: true }
    }
}
