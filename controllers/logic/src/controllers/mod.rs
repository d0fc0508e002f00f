//! The controllers, one file each.

pub mod bootstrap;
pub mod certificates;
mod claim;
pub mod cluster_role_aggregation;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod garbage_collector;
pub mod namespace;
pub mod node_eviction;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod pod_gc;
pub mod replicaset;
pub mod resource_quota;
pub mod root_ca;
pub mod serviceaccount;
pub mod taint_eviction;

use crate::controller::Controller;

/// What the controllers of a cluster are configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// PEM of the cluster CA.
    pub root_ca_pem: String,
}

/// Every controller that is fed by kinds. The garbage collector is fed by ownership and stands apart.
pub fn all(settings: &Settings) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(namespace::NamespaceController),
        Box::new(serviceaccount::ServiceAccountController),
        Box::new(root_ca::RootCaPublisher { pem: settings.root_ca_pem.clone() }),
        Box::new(deployment::DeploymentController),
        Box::new(replicaset::ReplicaSetController),
        Box::new(disruption::DisruptionController),
        Box::new(resource_quota::ResourceQuotaController),
        Box::new(endpoints::EndpointSliceController),
        Box::new(endpoints::EndpointsController),
        Box::new(node_ipam::NodeIpamController::default()),
        Box::new(node_lifecycle::NodeLifecycleController),
        Box::new(node_eviction::NodeEvictionController),
        Box::new(taint_eviction::TaintEvictionController),
        Box::new(cluster_role_aggregation::ClusterRoleAggregationController),
        Box::new(pod_gc::PodGarbageCollector { terminated_pods: pod_gc::TERMINATED_PODS }),
        Box::new(certificates::CsrApprovingController),
        Box::new(certificates::CsrSigningController),
        Box::new(certificates::CsrCleanerController),
        Box::new(bootstrap::BootstrapSigner),
        Box::new(bootstrap::TokenCleaner),
    ]
}
