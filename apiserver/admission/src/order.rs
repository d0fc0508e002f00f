//! The plugins in the order they run. Order is meaning: a plugin sees what those before it changed.

use crate::Plugin;

#[path = "plugins/default_ingress_class.rs"]
mod default_ingress_class;
#[path = "plugins/default_storage_class.rs"]
mod default_storage_class;
#[path = "plugins/default_toleration_seconds.rs"]
mod default_toleration_seconds;
#[path = "plugins/limit_ranger.rs"]
mod limit_ranger;
#[path = "plugins/namespace_lifecycle.rs"]
pub(crate) mod namespace_lifecycle;
#[path = "plugins/node_restriction.rs"]
mod node_restriction;
#[path = "plugins/persistent_volume_claim_resize.rs"]
mod persistent_volume_claim_resize;
#[path = "plugins/priority.rs"]
mod priority;
#[path = "plugins/runtime_class.rs"]
mod runtime_class;
#[path = "plugins/service_account.rs"]
mod service_account;
#[path = "plugins/storage_object_in_use_protection.rs"]
mod storage_object_in_use_protection;
#[path = "plugins/taint_nodes_by_condition.rs"]
mod taint_nodes_by_condition;

/// Upstream's order. What is on upstream and missing here is not built yet.
pub(crate) fn standard() -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(namespace_lifecycle::NamespaceLifecycle),
        Box::new(limit_ranger::LimitRanger),
        Box::new(service_account::ServiceAccount),
        Box::new(node_restriction::NodeRestriction),
        Box::new(taint_nodes_by_condition::TaintNodesByCondition),
        Box::new(priority::Priority),
        Box::new(default_toleration_seconds::DefaultTolerationSeconds),
        Box::new(default_storage_class::DefaultStorageClass),
        Box::new(storage_object_in_use_protection::StorageObjectInUseProtection),
        Box::new(persistent_volume_claim_resize::PersistentVolumeClaimResize),
        Box::new(runtime_class::RuntimeClass),
        Box::new(default_ingress_class::DefaultIngressClass),
    ]
}
