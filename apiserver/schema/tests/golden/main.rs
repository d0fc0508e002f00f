//! The schema against every row of upstream's tables of types, fields, enums, strategies and gates.

mod fields;
#[path = "../../../codec/tests/common/golden.rs"]
mod folder;
mod gates;
#[path = "../../../codec/tests/common/report.rs"]
mod report;
mod tables;
mod types;

use report::Exception;

/// What does not hold here.
const EXCEPTIONS: &[Exception] = &[
    ("fields", "version.Info*", "the answer of /version is no object: it has no kind and no message"),
    ("types", "version.Info", "the answer of /version is no object: it has no kind and no message"),
    ("enums", "admission.v1beta1.*", "no webhook is called in this version any more"),
    ("enums", "api.resource.*", "a type of Go's own, in no object"),
    ("enums", "apidiscovery.v2beta1.*", "v1.36 answers in this version no more"),
    ("enums", "apiextensions.ConditionStatus", "the internal version: nobody sends it"),
    ("enums", "apiextensions.ConversionStrategyType", "the internal version: nobody sends it"),
    ("enums", "apiextensions.CustomResourceDefinitionConditionType", "the internal version: nobody sends it"),
    ("enums", "apiextensions.FieldValueErrorReason", "the internal version: nobody sends it"),
    ("enums", "apiextensions.ResourceScope", "the internal version: nobody sends it"),
    ("enums", "apiextensions.v1beta1.*", "v1.36 serves this version no more"),
    ("enums", "apiregistration.APIServiceConditionType", "the internal version: nobody sends it"),
    ("enums", "apiregistration.ConditionStatus", "the internal version: nobody sends it"),
    ("enums", "apiregistration.v1beta1.*", "v1.36 serves this version no more"),
    ("enums", "apps.v1beta1.*", "v1.36 serves this version no more"),
    ("enums", "apps.v1beta2.*", "v1.36 serves this version no more"),
    ("enums", "batch.v1beta1.*", "v1.36 serves this version no more"),
    ("enums", "discovery.v1beta1.*", "v1.36 serves this version no more"),
    ("enums", "extensions.v1beta1.*", "v1.36 serves this version no more"),
    ("enums", "flowcontrol.v1beta*", "v1.36 serves these versions no more"),
    ("enums", "meta.v1.unstructured.*", "the name of a codec of Go's, in no object"),
    ("enums", "meta.v1.validation.*", "the name of a check of Go's, in no object"),
    ("enums", "policy.v1beta1.*", "v1.36 serves this version no more"),
    ("enums", "runtime.serializer.protobuf.*", "the name of a codec of Go's, in no object"),
    (
        "gated fields",
        "core.v1.ContainerStatus stopSignal",
        "upstream drops it from what is wanted, not from what nodes report",
    ),
    ("gated fields", "core.v1.PodLogOptions stream", "of a request for logs, not of an object: nothing is stored"),
    (
        "gated fields",
        "core.v1.TypedObjectReference namespace",
        "the reference around it goes as a whole, in the kind's own file",
    ),
    ("gated fields", "core.v1.VolumeStatus image", "the status around it goes as a whole, by the same gate"),
    ("gated fields", "meta.v1.List*", "of lists and of requests for them: nothing is stored"),
    ("gated fields", "resource.v1beta*", "objects are worked with as v1, whose rows these are"),
    ("strategies", "certificates/certificates csrApprovalStrategy", PART),
    ("strategies", "core/pod podEphemeralContainersStrategy", PART),
    ("strategies", "core/pod podResizeStrategy", PART),
    ("strategies", "networking/servicecidr serviceCIDRStrategy", "computed: nothing while its status is served"),
];
/// Tested through its path in `api-http`'s managers.rs.
const PART: &str = "what this part of an object resets is kept with those who write it, in api-registry's ownership.rs";
