//! The controllers, one file each.

mod claim;
pub mod deployment;
pub mod garbage_collector;
pub mod namespace;
pub mod replicaset;
pub mod root_ca;
pub mod serviceaccount;

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
    ]
}
