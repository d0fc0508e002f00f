//! The plugins in the order they run. Order is meaning: a plugin sees what those before it changed.

use api_machinery::Value;
use api_schema::gate;

use crate::Plugin;

#[path = "plugins/always_admit.rs"]
mod always_admit;
#[path = "plugins/always_deny.rs"]
mod always_deny;
#[path = "plugins/always_pull_images.rs"]
mod always_pull_images;
#[path = "plugins/certificate_approval.rs"]
mod certificate_approval;
#[path = "plugins/certificate_signing.rs"]
mod certificate_signing;
#[path = "plugins/certificate_subject_restriction.rs"]
mod certificate_subject_restriction;
#[path = "plugins/cluster_trust_bundle_attest.rs"]
mod cluster_trust_bundle_attest;
#[path = "plugins/default_ingress_class.rs"]
mod default_ingress_class;
#[path = "plugins/default_storage_class.rs"]
mod default_storage_class;
#[path = "plugins/default_toleration_seconds.rs"]
mod default_toleration_seconds;
#[path = "plugins/deny_service_external_ips.rs"]
mod deny_service_external_ips;
#[path = "plugins/event_rate_limit.rs"]
mod event_rate_limit;
#[path = "plugins/extended_resource_toleration.rs"]
mod extended_resource_toleration;
#[path = "plugins/job_validation.rs"]
mod job_validation;
#[path = "plugins/limit_pod_hard_anti_affinity_topology.rs"]
mod limit_pod_hard_anti_affinity_topology;
#[path = "plugins/limit_ranger.rs"]
mod limit_ranger;
#[path = "plugins/namespace_auto_provision.rs"]
mod namespace_auto_provision;
#[path = "plugins/namespace_exists.rs"]
mod namespace_exists;
#[path = "plugins/namespace_lifecycle.rs"]
pub(crate) mod namespace_lifecycle;
#[path = "plugins/node_declared_feature_validator.rs"]
mod node_declared_feature_validator;
#[path = "plugins/node_restriction.rs"]
mod node_restriction;
#[path = "plugins/owner_references_permission_enforcement.rs"]
mod owner_references_permission_enforcement;
#[path = "plugins/persistent_volume_claim_resize.rs"]
mod persistent_volume_claim_resize;
#[path = "plugins/pod_group_protection.rs"]
mod pod_group_protection;
#[path = "plugins/pod_group_workload_exists.rs"]
mod pod_group_workload_exists;
#[path = "plugins/pod_node_selector.rs"]
mod pod_node_selector;
#[path = "plugins/pod_resize_validator.rs"]
mod pod_resize_validator;
#[path = "plugins/pod_security.rs"]
mod pod_security;
#[path = "plugins/pod_toleration_restriction.rs"]
mod pod_toleration_restriction;
#[path = "plugins/pod_topology_labels.rs"]
mod pod_topology_labels;
#[path = "plugins/priority.rs"]
mod priority;
#[path = "plugins/resource_quota.rs"]
mod resource_quota;
#[path = "plugins/runtime_class.rs"]
mod runtime_class;
#[path = "plugins/service_account.rs"]
pub(crate) mod service_account;
#[path = "plugins/storage_object_in_use_protection.rs"]
mod storage_object_in_use_protection;
#[path = "plugins/taint_nodes_by_condition.rs"]
mod taint_nodes_by_condition;

/// One plugin that there is.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// Without being asked for.
    pub(crate) on: bool,
    /// The feature gate without which it does not run.
    pub(crate) gate: Option<&'static str>,
    /// With its configuration; null where there is none. The error says what is wrong with that.
    pub(crate) make: fn(&Value) -> Result<Box<dyn Plugin>, String>,
}

const fn on(name: &'static str, make: fn(&Value) -> Result<Box<dyn Plugin>, String>) -> Entry {
    Entry { name, on: true, gate: None, make }
}

const fn off(name: &'static str, make: fn(&Value) -> Result<Box<dyn Plugin>, String>) -> Entry {
    Entry { name, on: false, gate: None, make }
}

impl Entry {
    const fn gated(self, gate: &'static str) -> Self {
        Self { gate: Some(gate), ..self }
    }
}

/// Upstream's order. NodeRestriction is off upstream by default, and turned on by every installer.
pub(crate) const ALL: &[Entry] = &[
    off("AlwaysAdmit", |_| Ok(Box::new(always_admit::AlwaysAdmit))),
    off("NamespaceAutoProvision", |_| Ok(Box::new(namespace_auto_provision::NamespaceAutoProvision))),
    on("NamespaceLifecycle", |_| Ok(Box::new(namespace_lifecycle::NamespaceLifecycle))),
    off("NamespaceExists", |_| Ok(Box::new(namespace_exists::NamespaceExists))),
    off("LimitPodHardAntiAffinityTopology", |_| {
        Ok(Box::new(limit_pod_hard_anti_affinity_topology::LimitPodHardAntiAffinityTopology))
    }),
    on("LimitRanger", |_| Ok(Box::new(limit_ranger::LimitRanger))),
    on("ServiceAccount", |_| Ok(Box::new(service_account::ServiceAccount))),
    on("NodeRestriction", |_| Ok(Box::new(node_restriction::NodeRestriction))),
    on("TaintNodesByCondition", |_| Ok(Box::new(taint_nodes_by_condition::TaintNodesByCondition))),
    off("AlwaysPullImages", |_| Ok(Box::new(always_pull_images::AlwaysPullImages))),
    on("PodSecurity", |configuration| Ok(Box::new(pod_security::PodSecurity::configured(configuration)?))),
    off("PodNodeSelector", |configuration| {
        Ok(Box::new(pod_node_selector::PodNodeSelector::configured(configuration)?))
    }),
    on("Priority", |_| Ok(Box::new(priority::Priority))),
    on("DefaultTolerationSeconds", |_| Ok(Box::new(default_toleration_seconds::DefaultTolerationSeconds))),
    off("PodTolerationRestriction", |configuration| {
        Ok(Box::new(pod_toleration_restriction::PodTolerationRestriction::configured(configuration)?))
    }),
    off("EventRateLimit", |configuration| Ok(Box::new(event_rate_limit::EventRateLimit::configured(configuration)?))),
    off("ExtendedResourceToleration", |_| Ok(Box::new(extended_resource_toleration::ExtendedResourceToleration))),
    on("DefaultStorageClass", |_| Ok(Box::new(default_storage_class::DefaultStorageClass))),
    on("StorageObjectInUseProtection", |_| {
        Ok(Box::new(storage_object_in_use_protection::StorageObjectInUseProtection))
    }),
    on("PodGroupProtection", |_| Ok(Box::new(pod_group_protection::PodGroupProtection))),
    off("OwnerReferencesPermissionEnforcement", |_| {
        Ok(Box::new(owner_references_permission_enforcement::OwnerReferencesPermissionEnforcement))
    }),
    on("PersistentVolumeClaimResize", |_| Ok(Box::new(persistent_volume_claim_resize::PersistentVolumeClaimResize))),
    on("RuntimeClass", |_| Ok(Box::new(runtime_class::RuntimeClass))),
    on("CertificateApproval", |_| Ok(Box::new(certificate_approval::CertificateApproval))),
    on("CertificateSigning", |_| Ok(Box::new(certificate_signing::CertificateSigning))),
    on("ClusterTrustBundleAttest", |_| Ok(Box::new(cluster_trust_bundle_attest::ClusterTrustBundleAttest))),
    on("CertificateSubjectRestriction", |_| {
        Ok(Box::new(certificate_subject_restriction::CertificateSubjectRestriction))
    }),
    on("DefaultIngressClass", |_| Ok(Box::new(default_ingress_class::DefaultIngressClass))),
    off("DenyServiceExternalIPs", |_| Ok(Box::new(deny_service_external_ips::DenyServiceExternalIPs))),
    on("PodTopologyLabels", |_| Ok(Box::new(pod_topology_labels::PodTopologyLabels)))
        .gated(gate::POD_TOPOLOGY_LABELS_ADMISSION),
    on("PodGroupWorkloadExists", |_| Ok(Box::new(pod_group_workload_exists::PodGroupWorkloadExists))),
    on("NodeDeclaredFeatureValidator", |_| Ok(Box::new(node_declared_feature_validator::NodeDeclaredFeatureValidator))),
    on("JobValidation", |_| Ok(Box::new(job_validation::JobValidation))),
    on("PodResizeValidator", |_| Ok(Box::new(pod_resize_validator::PodResizeValidator))),
    on("ResourceQuota", |configuration| Ok(Box::new(resource_quota::ResourceQuota::configured(configuration)?))),
    off("AlwaysDeny", |_| Ok(Box::new(always_deny::AlwaysDeny))),
];
