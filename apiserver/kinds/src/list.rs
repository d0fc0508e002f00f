//! All kinds and what they share. Made from the folders: `UPDATE_LIST=1 cargo test -p api-kinds list`.

use crate::Kind;

#[path = "admissionregistration/json_path.rs"]
pub(crate) mod admissionregistration_json_path;
#[path = "admissionregistration/mutatingadmissionpolicy.rs"]
pub(crate) mod admissionregistration_mutatingadmissionpolicy;
#[path = "admissionregistration/mutatingadmissionpolicybinding.rs"]
pub(crate) mod admissionregistration_mutatingadmissionpolicybinding;
#[path = "admissionregistration/mutatingwebhookconfiguration.rs"]
pub(crate) mod admissionregistration_mutatingwebhookconfiguration;
#[path = "admissionregistration/policy_cells.rs"]
pub(crate) mod admissionregistration_policy_cells;
#[path = "admissionregistration/rules.rs"]
pub(crate) mod admissionregistration_rules;
#[path = "admissionregistration/validatingadmissionpolicy.rs"]
pub(crate) mod admissionregistration_validatingadmissionpolicy;
#[path = "admissionregistration/validatingadmissionpolicybinding.rs"]
pub(crate) mod admissionregistration_validatingadmissionpolicybinding;
#[path = "admissionregistration/validatingwebhookconfiguration.rs"]
pub(crate) mod admissionregistration_validatingwebhookconfiguration;
#[path = "admissionregistration/webhook_url.rs"]
pub(crate) mod admissionregistration_webhook_url;
#[path = "admissionregistration/webhooks.rs"]
pub(crate) mod admissionregistration_webhooks;
#[path = "apiextensions/approval.rs"]
pub(crate) mod apiextensions_approval;
#[path = "apiextensions/completeness.rs"]
pub(crate) mod apiextensions_completeness;
#[path = "apiextensions/customresourcedefinition.rs"]
pub(crate) mod apiextensions_customresourcedefinition;
#[path = "apiextensions/defaults.rs"]
pub(crate) mod apiextensions_defaults;
#[path = "apiextensions/expressions.rs"]
pub(crate) mod apiextensions_expressions;
#[path = "apiextensions/field_path.rs"]
pub(crate) mod apiextensions_field_path;
#[path = "apiextensions/findings.rs"]
pub(crate) mod apiextensions_findings;
#[path = "apiextensions/number_values.rs"]
pub(crate) mod apiextensions_number_values;
#[path = "apiextensions/pattern.rs"]
pub(crate) mod apiextensions_pattern;
#[path = "apiextensions/ratchet.rs"]
pub(crate) mod apiextensions_ratchet;
#[path = "apiextensions/schema.rs"]
pub(crate) mod apiextensions_schema;
#[path = "apiextensions/schema_root.rs"]
pub(crate) mod apiextensions_schema_root;
#[path = "apiextensions/schema_rules.rs"]
pub(crate) mod apiextensions_schema_rules;
#[path = "apiextensions/shown.rs"]
pub(crate) mod apiextensions_shown;
#[path = "apiextensions/string_formats.rs"]
pub(crate) mod apiextensions_string_formats;
#[path = "apiextensions/values.rs"]
pub(crate) mod apiextensions_values;
#[path = "apiextensions/versions.rs"]
pub(crate) mod apiextensions_versions;
#[path = "apiregistration/apiservice.rs"]
pub(crate) mod apiregistration_apiservice;
#[path = "apiserverinternal/storageversion.rs"]
pub(crate) mod apiserverinternal_storageversion;
#[path = "apps/controllerrevision.rs"]
pub(crate) mod apps_controllerrevision;
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
#[path = "authorization/access.rs"]
pub(crate) mod authorization_access;
#[path = "authorization/localsubjectaccessreview.rs"]
pub(crate) mod authorization_localsubjectaccessreview;
#[path = "authorization/selfsubjectaccessreview.rs"]
pub(crate) mod authorization_selfsubjectaccessreview;
#[path = "authorization/subjectaccessreview.rs"]
pub(crate) mod authorization_subjectaccessreview;
#[path = "autoscaling/horizontalpodautoscaler.rs"]
pub(crate) mod autoscaling_horizontalpodautoscaler;
#[path = "autoscaling/metric.rs"]
pub(crate) mod autoscaling_metric;
#[path = "batch/cron.rs"]
pub(crate) mod batch_cron;
#[path = "batch/cronjob.rs"]
pub(crate) mod batch_cronjob;
#[path = "batch/indexes.rs"]
pub(crate) mod batch_indexes;
#[path = "batch/job.rs"]
pub(crate) mod batch_job;
#[path = "batch/job_spec.rs"]
pub(crate) mod batch_job_spec;
#[path = "batch/job_status.rs"]
pub(crate) mod batch_job_status;
#[path = "batch/job_update.rs"]
pub(crate) mod batch_job_update;
#[path = "certificates/certificatesigningrequest.rs"]
pub(crate) mod certificates_certificatesigningrequest;
#[path = "certificates/clustertrustbundle.rs"]
pub(crate) mod certificates_clustertrustbundle;
#[path = "coordination/lease.rs"]
pub(crate) mod coordination_lease;
#[path = "coordination/leasecandidate.rs"]
pub(crate) mod coordination_leasecandidate;
#[path = "core/address_warnings.rs"]
pub(crate) mod core_address_warnings;
#[path = "core/affinity.rs"]
pub(crate) mod core_affinity;
#[path = "core/componentstatus.rs"]
pub(crate) mod core_componentstatus;
#[path = "core/configmap.rs"]
pub(crate) mod core_configmap;
#[path = "core/container.rs"]
pub(crate) mod core_container;
#[path = "core/container_ports.rs"]
pub(crate) mod core_container_ports;
#[path = "core/endpoints.rs"]
pub(crate) mod core_endpoints;
#[path = "core/env.rs"]
pub(crate) mod core_env;
#[path = "core/event.rs"]
pub(crate) mod core_event;
#[path = "core/internal_json.rs"]
pub(crate) mod core_internal_json;
#[path = "core/limitrange.rs"]
pub(crate) mod core_limitrange;
#[path = "core/mount.rs"]
pub(crate) mod core_mount;
#[path = "core/namespace.rs"]
pub(crate) mod core_namespace;
#[path = "core/node.rs"]
pub(crate) mod core_node;
#[path = "core/node_labels.rs"]
pub(crate) mod core_node_labels;
#[path = "core/node_validation.rs"]
pub(crate) mod core_node_validation;
#[path = "core/persistentvolume.rs"]
pub(crate) mod core_persistentvolume;
#[path = "core/persistentvolume_update.rs"]
pub(crate) mod core_persistentvolume_update;
#[path = "core/persistentvolume_warnings.rs"]
pub(crate) mod core_persistentvolume_warnings;
#[path = "core/persistentvolumeclaim.rs"]
pub(crate) mod core_persistentvolumeclaim;
#[path = "core/persistentvolumeclaim_diff.rs"]
pub(crate) mod core_persistentvolumeclaim_diff;
#[path = "core/pod.rs"]
pub(crate) mod core_pod;
#[path = "core/pod_annotations.rs"]
pub(crate) mod core_pod_annotations;
#[path = "core/pod_app_armor.rs"]
pub(crate) mod core_pod_app_armor;
#[path = "core/pod_cells.rs"]
pub(crate) mod core_pod_cells;
#[path = "core/pod_container_warnings.rs"]
pub(crate) mod core_pod_container_warnings;
#[path = "core/pod_default.rs"]
pub(crate) mod core_pod_default;
#[path = "core/pod_extended_resources.rs"]
pub(crate) mod core_pod_extended_resources;
#[path = "core/pod_port_warnings.rs"]
pub(crate) mod core_pod_port_warnings;
#[path = "core/pod_resize.rs"]
pub(crate) mod core_pod_resize;
#[path = "core/pod_resources.rs"]
pub(crate) mod core_pod_resources;
#[path = "core/pod_spec.rs"]
pub(crate) mod core_pod_spec;
#[path = "core/pod_status.rs"]
pub(crate) mod core_pod_status;
#[path = "core/pod_update.rs"]
pub(crate) mod core_pod_update;
#[path = "core/pod_volume_warnings.rs"]
pub(crate) mod core_pod_volume_warnings;
#[path = "core/pod_warnings.rs"]
pub(crate) mod core_pod_warnings;
#[path = "core/podtemplate.rs"]
pub(crate) mod core_podtemplate;
#[path = "core/probe.rs"]
pub(crate) mod core_probe;
#[path = "core/projected.rs"]
pub(crate) mod core_projected;
#[path = "core/qos.rs"]
pub(crate) mod core_qos;
#[path = "core/replicationcontroller.rs"]
pub(crate) mod core_replicationcontroller;
#[path = "core/resource_name.rs"]
pub(crate) mod core_resource_name;
#[path = "core/resourcequota.rs"]
pub(crate) mod core_resourcequota;
#[path = "core/secret.rs"]
pub(crate) mod core_secret;
#[path = "core/secret_warnings.rs"]
pub(crate) mod core_secret_warnings;
#[path = "core/security.rs"]
pub(crate) mod core_security;
#[path = "core/service.rs"]
pub(crate) mod core_service;
#[path = "core/service_families.rs"]
pub(crate) mod core_service_families;
#[path = "core/service_prepare.rs"]
pub(crate) mod core_service_prepare;
#[path = "core/service_status.rs"]
pub(crate) mod core_service_status;
#[path = "core/service_update.rs"]
pub(crate) mod core_service_update;
#[path = "core/service_validation.rs"]
pub(crate) mod core_service_validation;
#[path = "core/service_warnings.rs"]
pub(crate) mod core_service_warnings;
#[path = "core/serviceaccount.rs"]
pub(crate) mod core_serviceaccount;
#[path = "core/unified_diff.rs"]
pub(crate) mod core_unified_diff;
#[path = "core/volume.rs"]
pub(crate) mod core_volume;
#[path = "core/volume_source.rs"]
pub(crate) mod core_volume_source;
#[path = "core/windows.rs"]
pub(crate) mod core_windows;
#[path = "discovery/endpointslice.rs"]
pub(crate) mod discovery_endpointslice;
#[path = "events/event.rs"]
pub(crate) mod events_event;
#[path = "flowcontrol/flowschema.rs"]
pub(crate) mod flowcontrol_flowschema;
#[path = "flowcontrol/prioritylevelconfiguration.rs"]
pub(crate) mod flowcontrol_prioritylevelconfiguration;
#[path = "networking/ingress.rs"]
pub(crate) mod networking_ingress;
#[path = "networking/ingressclass.rs"]
pub(crate) mod networking_ingressclass;
#[path = "networking/ipaddress.rs"]
pub(crate) mod networking_ipaddress;
#[path = "networking/networkpolicy.rs"]
pub(crate) mod networking_networkpolicy;
#[path = "networking/servicecidr.rs"]
pub(crate) mod networking_servicecidr;
#[path = "node/runtimeclass.rs"]
pub(crate) mod node_runtimeclass;
#[path = "policy/poddisruptionbudget.rs"]
pub(crate) mod policy_poddisruptionbudget;
#[path = "rbac/clusterrole.rs"]
pub(crate) mod rbac_clusterrole;
#[path = "rbac/clusterrolebinding.rs"]
pub(crate) mod rbac_clusterrolebinding;
#[path = "rbac/role.rs"]
pub(crate) mod rbac_role;
#[path = "rbac/rolebinding.rs"]
pub(crate) mod rbac_rolebinding;
#[path = "rbac/rules.rs"]
pub(crate) mod rbac_rules;
#[path = "resource/capacity_policy.rs"]
pub(crate) mod resource_capacity_policy;
#[path = "resource/claim_spec.rs"]
pub(crate) mod resource_claim_spec;
#[path = "resource/claim_status.rs"]
pub(crate) mod resource_claim_status;
#[path = "resource/deviceclass.rs"]
pub(crate) mod resource_deviceclass;
#[path = "resource/devicetaintrule.rs"]
pub(crate) mod resource_devicetaintrule;
#[path = "resource/immutable.rs"]
pub(crate) mod resource_immutable;
#[path = "resource/resourceclaim.rs"]
pub(crate) mod resource_resourceclaim;
#[path = "resource/resourceclaimtemplate.rs"]
pub(crate) mod resource_resourceclaimtemplate;
#[path = "resource/resourcepoolstatusrequest.rs"]
pub(crate) mod resource_resourcepoolstatusrequest;
#[path = "resource/resourceslice.rs"]
pub(crate) mod resource_resourceslice;
#[path = "resource/slice_devices.rs"]
pub(crate) mod resource_slice_devices;
#[path = "scheduling/podgroup.rs"]
pub(crate) mod scheduling_podgroup;
#[path = "scheduling/priorityclass.rs"]
pub(crate) mod scheduling_priorityclass;
#[path = "scheduling/workload.rs"]
pub(crate) mod scheduling_workload;
#[path = "storage/csidriver.rs"]
pub(crate) mod storage_csidriver;
#[path = "storage/csinode.rs"]
pub(crate) mod storage_csinode;
#[path = "storage/csistoragecapacity.rs"]
pub(crate) mod storage_csistoragecapacity;
#[path = "storage/storageclass.rs"]
pub(crate) mod storage_storageclass;
#[path = "storage/volumeattachment.rs"]
pub(crate) mod storage_volumeattachment;
#[path = "storage/volumeattributesclass.rs"]
pub(crate) mod storage_volumeattributesclass;
#[path = "storagemigration/storageversionmigration.rs"]
pub(crate) mod storagemigration_storageversionmigration;

pub(crate) static KINDS: &[&dyn Kind] = &[
    &admissionregistration_mutatingadmissionpolicy::MutatingAdmissionPolicy,
    &admissionregistration_mutatingadmissionpolicybinding::MutatingAdmissionPolicyBinding,
    &admissionregistration_mutatingwebhookconfiguration::MutatingWebhookConfiguration,
    &admissionregistration_validatingadmissionpolicy::ValidatingAdmissionPolicy,
    &admissionregistration_validatingadmissionpolicybinding::ValidatingAdmissionPolicyBinding,
    &admissionregistration_validatingwebhookconfiguration::ValidatingWebhookConfiguration,
    &apiextensions_customresourcedefinition::CustomResourceDefinition,
    &apiregistration_apiservice::APIService,
    &apiserverinternal_storageversion::StorageVersion,
    &apps_controllerrevision::ControllerRevision,
    &apps_daemonset::DaemonSet,
    &apps_deployment::Deployment,
    &apps_replicaset::ReplicaSet,
    &apps_statefulset::StatefulSet,
    &authorization_localsubjectaccessreview::LocalSubjectAccessReview,
    &authorization_selfsubjectaccessreview::SelfSubjectAccessReview,
    &authorization_subjectaccessreview::SubjectAccessReview,
    &autoscaling_horizontalpodautoscaler::HorizontalPodAutoscaler,
    &batch_cronjob::CronJob,
    &batch_job::Job,
    &certificates_certificatesigningrequest::CertificateSigningRequest,
    &certificates_clustertrustbundle::ClusterTrustBundle,
    &coordination_lease::Lease,
    &coordination_leasecandidate::LeaseCandidate,
    &core_componentstatus::ComponentStatus,
    &core_configmap::ConfigMap,
    &core_endpoints::Endpoints,
    &core_event::Event,
    &core_limitrange::LimitRange,
    &core_namespace::Namespace,
    &core_node::Node,
    &core_persistentvolume::PersistentVolume,
    &core_persistentvolumeclaim::PersistentVolumeClaim,
    &core_pod::Pod,
    &core_podtemplate::PodTemplate,
    &core_replicationcontroller::ReplicationController,
    &core_resourcequota::ResourceQuota,
    &core_secret::Secret,
    &core_service::Service,
    &core_serviceaccount::ServiceAccount,
    &discovery_endpointslice::EndpointSlice,
    &events_event::Event,
    &flowcontrol_flowschema::FlowSchema,
    &flowcontrol_prioritylevelconfiguration::PriorityLevelConfiguration,
    &networking_ingress::Ingress,
    &networking_ingressclass::IngressClass,
    &networking_ipaddress::IPAddress,
    &networking_networkpolicy::NetworkPolicy,
    &networking_servicecidr::ServiceCIDR,
    &node_runtimeclass::RuntimeClass,
    &policy_poddisruptionbudget::PodDisruptionBudget,
    &rbac_clusterrole::ClusterRole,
    &rbac_clusterrolebinding::ClusterRoleBinding,
    &rbac_role::Role,
    &rbac_rolebinding::RoleBinding,
    &resource_deviceclass::DeviceClass,
    &resource_devicetaintrule::DeviceTaintRule,
    &resource_resourceclaim::ResourceClaim,
    &resource_resourceclaimtemplate::ResourceClaimTemplate,
    &resource_resourcepoolstatusrequest::ResourcePoolStatusRequest,
    &resource_resourceslice::ResourceSlice,
    &scheduling_podgroup::PodGroup,
    &scheduling_priorityclass::PriorityClass,
    &scheduling_workload::Workload,
    &storage_csidriver::CSIDriver,
    &storage_csinode::CSINode,
    &storage_csistoragecapacity::CSIStorageCapacity,
    &storage_storageclass::StorageClass,
    &storage_volumeattachment::VolumeAttachment,
    &storage_volumeattributesclass::VolumeAttributesClass,
    &storagemigration_storageversionmigration::StorageVersionMigration,
];
