//! All kinds and what they share. Made from the folders: `UPDATE_LIST=1 cargo test -p api-kinds list`.

use crate::Kind;

#[path = "apps/daemonset.rs"]
pub(crate) mod apps_daemonset;
#[path = "apps/deployment.rs"]
pub(crate) mod apps_deployment;
#[path = "apps/replicaset.rs"]
pub(crate) mod apps_replicaset;
#[path = "apps/statefulset.rs"]
pub(crate) mod apps_statefulset;
#[path = "apps/workload.rs"]
pub(crate) mod apps_workload;
#[path = "core/affinity.rs"]
pub(crate) mod core_affinity;
#[path = "core/configmap.rs"]
pub(crate) mod core_configmap;
#[path = "core/container.rs"]
pub(crate) mod core_container;
#[path = "core/endpoints.rs"]
pub(crate) mod core_endpoints;
#[path = "core/env.rs"]
pub(crate) mod core_env;
#[path = "core/event.rs"]
pub(crate) mod core_event;
#[path = "core/mount.rs"]
pub(crate) mod core_mount;
#[path = "core/namespace.rs"]
pub(crate) mod core_namespace;
#[path = "core/node.rs"]
pub(crate) mod core_node;
#[path = "core/persistentvolume.rs"]
pub(crate) mod core_persistentvolume;
#[path = "core/persistentvolumeclaim.rs"]
pub(crate) mod core_persistentvolumeclaim;
#[path = "core/pod.rs"]
pub(crate) mod core_pod;
#[path = "core/pod_cells.rs"]
pub(crate) mod core_pod_cells;
#[path = "core/pod_default.rs"]
pub(crate) mod core_pod_default;
#[path = "core/pod_spec.rs"]
pub(crate) mod core_pod_spec;
#[path = "core/pod_update.rs"]
pub(crate) mod core_pod_update;
#[path = "core/probe.rs"]
pub(crate) mod core_probe;
#[path = "core/qos.rs"]
pub(crate) mod core_qos;
#[path = "core/resource_name.rs"]
pub(crate) mod core_resource_name;
#[path = "core/secret.rs"]
pub(crate) mod core_secret;
#[path = "core/security.rs"]
pub(crate) mod core_security;
#[path = "core/service.rs"]
pub(crate) mod core_service;
#[path = "core/service_validation.rs"]
pub(crate) mod core_service_validation;
#[path = "core/serviceaccount.rs"]
pub(crate) mod core_serviceaccount;
#[path = "core/volume.rs"]
pub(crate) mod core_volume;
#[path = "discovery/endpointslice.rs"]
pub(crate) mod discovery_endpointslice;

pub(crate) static KINDS: &[&dyn Kind] = &[
    &apps_daemonset::DaemonSet,
    &apps_deployment::Deployment,
    &apps_replicaset::ReplicaSet,
    &apps_statefulset::StatefulSet,
    &core_configmap::ConfigMap,
    &core_endpoints::Endpoints,
    &core_event::Event,
    &core_namespace::Namespace,
    &core_node::Node,
    &core_persistentvolume::PersistentVolume,
    &core_persistentvolumeclaim::PersistentVolumeClaim,
    &core_pod::Pod,
    &core_secret::Secret,
    &core_service::Service,
    &core_serviceaccount::ServiceAccount,
    &discovery_endpointslice::EndpointSlice,
];
