//! What else a node writes: its leases, what its drivers offer, how its volumes grow, and requests for certificates.

use api_machinery::{Value, object};

use super::{Case, Verdict, refuse};
use crate::{Operation, csr};

const LEASES: &str = "kube-node-lease";

pub(crate) fn leases(case: &Case<'_>) -> Verdict {
    if case.attributes.namespace != LEASES {
        return refuse(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if case.name() == case.node {
        return Ok(());
    }
    refuse("can only access node lease with the same name as the requesting node")
}

pub(crate) fn csi_nodes(case: &Case<'_>) -> Verdict {
    if case.name() == case.node {
        return Ok(());
    }
    refuse("can only access CSINode with the same name as the requesting node")
}

pub(crate) fn slices(case: &Case<'_>) -> Verdict {
    let (slice, verb) = match case.attributes.operation {
        Operation::Create => (case.object, "create"),
        Operation::Delete => (case.attributes.old, "delete"),
        _ => return Ok(()),
    };
    if slice.is_some_and(|slice| object::str_at(slice, "spec.nodeName") == case.node) {
        return Ok(());
    }
    refuse(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
}

pub(crate) fn claims(case: &Case<'_>) -> Verdict {
    if case.attributes.subresource != "status" {
        return refuse("may only update PVC status");
    }
    let (Some(new), Some(old)) = (case.object, case.attributes.old) else { return Ok(()) };
    if besides_growth(new) == besides_growth(old) {
        return Ok(());
    }
    let node = case.node;
    refuse(format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions"))
}

/// A claim without what says how large it is.
fn besides_growth(claim: &Value) -> Value {
    let mut rest = claim.clone();
    let dropped = [
        ("metadata", &["resourceVersion", "managedFields"][..]),
        ("status", &["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"][..]),
    ];
    for (part, fields) in dropped {
        if let Some(map) = rest.get_mut(part).and_then(Value::as_object_mut) {
            map.retain(|field, _| !fields.contains(&field.as_str()));
        }
    }
    rest
}

/// A kubelet's certificate names its node.
pub(crate) fn requests(case: &Case<'_>) -> Verdict {
    const KUBELETS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    let Some(request) = case.object.filter(|_| case.attributes.operation == Operation::Create) else { return Ok(()) };
    if !KUBELETS.contains(&object::str_at(request, "spec.signerName")) {
        return Ok(());
    }
    let subject = csr::subject(object::str_at(request, "spec.request"));
    let subject = subject.map_err(|why| format!("unable to parse csr: {why}"))?;
    let wanted = format!("system:node:{}", case.node);
    if subject.common_name == wanted {
        return Ok(());
    }
    refuse(format!("can only create a node CSR with CN={wanted}"))
}
