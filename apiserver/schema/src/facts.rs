//! The fact files, compiled in. `tests/facts.rs` checks that the list is the folder.

/// Package and table of every file in `facts/types/`.
pub const TYPES: &[(&str, &str)] = &[
    ("admission.v1", include_str!("../facts/types/admission.v1.tsv")),
    ("admissionregistration.v1", include_str!("../facts/types/admissionregistration.v1.tsv")),
    ("admissionregistration.v1alpha1", include_str!("../facts/types/admissionregistration.v1alpha1.tsv")),
    ("admissionregistration.v1beta1", include_str!("../facts/types/admissionregistration.v1beta1.tsv")),
    ("apidiscovery.v2", include_str!("../facts/types/apidiscovery.v2.tsv")),
    ("apiextensions.v1", include_str!("../facts/types/apiextensions.v1.tsv")),
    ("apiregistration.v1", include_str!("../facts/types/apiregistration.v1.tsv")),
    ("apiserverinternal.v1alpha1", include_str!("../facts/types/apiserverinternal.v1alpha1.tsv")),
    ("apps.v1", include_str!("../facts/types/apps.v1.tsv")),
    ("authentication.v1", include_str!("../facts/types/authentication.v1.tsv")),
    ("authorization.v1", include_str!("../facts/types/authorization.v1.tsv")),
    ("autoscaling.v1", include_str!("../facts/types/autoscaling.v1.tsv")),
    ("autoscaling.v2", include_str!("../facts/types/autoscaling.v2.tsv")),
    ("batch.v1", include_str!("../facts/types/batch.v1.tsv")),
    ("certificates.v1", include_str!("../facts/types/certificates.v1.tsv")),
    ("certificates.v1alpha1", include_str!("../facts/types/certificates.v1alpha1.tsv")),
    ("certificates.v1beta1", include_str!("../facts/types/certificates.v1beta1.tsv")),
    ("coordination.v1", include_str!("../facts/types/coordination.v1.tsv")),
    ("coordination.v1alpha2", include_str!("../facts/types/coordination.v1alpha2.tsv")),
    ("coordination.v1beta1", include_str!("../facts/types/coordination.v1beta1.tsv")),
    ("core.v1", include_str!("../facts/types/core.v1.tsv")),
    ("discovery.v1", include_str!("../facts/types/discovery.v1.tsv")),
    ("events.v1", include_str!("../facts/types/events.v1.tsv")),
    ("flowcontrol.v1", include_str!("../facts/types/flowcontrol.v1.tsv")),
    ("imagepolicy.v1alpha1", include_str!("../facts/types/imagepolicy.v1alpha1.tsv")),
    ("meta.v1", include_str!("../facts/types/meta.v1.tsv")),
    ("networking.v1", include_str!("../facts/types/networking.v1.tsv")),
    ("networking.v1beta1", include_str!("../facts/types/networking.v1beta1.tsv")),
    ("node.v1", include_str!("../facts/types/node.v1.tsv")),
    ("policy.v1", include_str!("../facts/types/policy.v1.tsv")),
    ("rbac.v1", include_str!("../facts/types/rbac.v1.tsv")),
    ("resource.v1", include_str!("../facts/types/resource.v1.tsv")),
    ("resource.v1alpha3", include_str!("../facts/types/resource.v1alpha3.tsv")),
    ("resource.v1beta1", include_str!("../facts/types/resource.v1beta1.tsv")),
    ("resource.v1beta2", include_str!("../facts/types/resource.v1beta2.tsv")),
    ("runtime", include_str!("../facts/types/runtime.tsv")),
    ("scheduling.v1", include_str!("../facts/types/scheduling.v1.tsv")),
    ("scheduling.v1alpha2", include_str!("../facts/types/scheduling.v1alpha2.tsv")),
    ("storage.v1", include_str!("../facts/types/storage.v1.tsv")),
    ("storage.v1beta1", include_str!("../facts/types/storage.v1beta1.tsv")),
    ("storagemigration.v1beta1", include_str!("../facts/types/storagemigration.v1beta1.tsv")),
];
/// Group and table of every file in `facts/descriptions/`; `shared` and `special` are no groups.
pub const DESCRIPTIONS: &[(&str, &str)] = &[
    ("admission", include_str!("../facts/descriptions/admission.tsv")),
    ("admissionregistration", include_str!("../facts/descriptions/admissionregistration.tsv")),
    ("apidiscovery", include_str!("../facts/descriptions/apidiscovery.tsv")),
    ("apiextensions", include_str!("../facts/descriptions/apiextensions.tsv")),
    ("apiregistration", include_str!("../facts/descriptions/apiregistration.tsv")),
    ("apiserverinternal", include_str!("../facts/descriptions/apiserverinternal.tsv")),
    ("apps", include_str!("../facts/descriptions/apps.tsv")),
    ("authentication", include_str!("../facts/descriptions/authentication.tsv")),
    ("authorization", include_str!("../facts/descriptions/authorization.tsv")),
    ("autoscaling", include_str!("../facts/descriptions/autoscaling.tsv")),
    ("batch", include_str!("../facts/descriptions/batch.tsv")),
    ("certificates", include_str!("../facts/descriptions/certificates.tsv")),
    ("coordination", include_str!("../facts/descriptions/coordination.tsv")),
    ("core", include_str!("../facts/descriptions/core.tsv")),
    ("discovery", include_str!("../facts/descriptions/discovery.tsv")),
    ("events", include_str!("../facts/descriptions/events.tsv")),
    ("flowcontrol", include_str!("../facts/descriptions/flowcontrol.tsv")),
    ("imagepolicy", include_str!("../facts/descriptions/imagepolicy.tsv")),
    ("meta", include_str!("../facts/descriptions/meta.tsv")),
    ("networking", include_str!("../facts/descriptions/networking.tsv")),
    ("node", include_str!("../facts/descriptions/node.tsv")),
    ("policy", include_str!("../facts/descriptions/policy.tsv")),
    ("rbac", include_str!("../facts/descriptions/rbac.tsv")),
    ("resource", include_str!("../facts/descriptions/resource.tsv")),
    ("runtime", include_str!("../facts/descriptions/runtime.tsv")),
    ("scheduling", include_str!("../facts/descriptions/scheduling.tsv")),
    ("shared", include_str!("../facts/descriptions/shared.tsv")),
    ("special", include_str!("../facts/descriptions/special.tsv")),
    ("storage", include_str!("../facts/descriptions/storage.tsv")),
    ("storagemigration", include_str!("../facts/descriptions/storagemigration.tsv")),
];
pub(crate) const RESOURCES: &str = include_str!("../facts/resources.tsv");
/// Resources in versions that are off by default.
pub(crate) const OFF: &str = include_str!("../facts/off.tsv");
/// When kinds are deprecated and gone.
pub(crate) const LIFECYCLES: &str = include_str!("../facts/lifecycles.tsv");
pub(crate) const FEATURE_GATES: &str = include_str!("../facts/featuregates.tsv");
/// Fields that belong to a gate.
pub(crate) const GATED_FIELDS: &str = include_str!("../facts/gatedfields.tsv");
pub(crate) const GROUPS: &str = include_str!("../facts/groups.tsv");
pub(crate) const FIELD_SELECTORS: &str = include_str!("../facts/fieldselectors.tsv");
pub(crate) const STRATEGIES: &str = include_str!("../facts/strategies.tsv");
pub(crate) const ENUMS: &str = include_str!("../facts/enums.tsv");
pub(crate) const DEFAULTS: &str = include_str!("../facts/defaults.tsv");
pub(crate) const PRINT_COLUMNS: &str = include_str!("../facts/printcolumns.tsv");
