//! Tokens a node gets: for the pods that run on it, and for whom these pods speak to.

use api_machinery::{Value, object};

use super::{Case, Refusal, Verdict, refuse};
use crate::{Act, Operation, lookup};

pub(crate) async fn judge(case: &Case<'_>) -> Verdict {
    let attributes = case.attributes;
    if attributes.operation != Operation::Create || attributes.subresource != "token" {
        return Ok(());
    }
    let Some(request) = case.object else { return Ok(()) };
    let text = |field: &str| object::str_at(request, field);
    let (name, uid) = (text("spec.boundObjectRef.name"), text("spec.boundObjectRef.uid"));
    if text("spec.boundObjectRef.apiVersion") != "v1" || text("spec.boundObjectRef.kind") != "Pod" || name.is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pod = case.get("", "pods", attributes.namespace, name).await?;
    if object::uid(&pod) != uid {
        return refuse(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        ));
    }
    if object::str_at(&pod, "spec.nodeName") != case.node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    check_audience(case, request, &pod).await
}

async fn check_audience(case: &Case<'_>, request: &Value, pod: &Value) -> Verdict {
    let audience = match lookup::items(request, "spec.audiences") {
        [] => "",
        [audience] => audience.as_str().unwrap_or(""),
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    if is_wanted(case, pod, audience).await? {
        return Ok(());
    }
    let act = Act {
        verb: "request-serviceaccounts-token-audience",
        version: "v1",
        resource: audience,
        namespace: case.attributes.namespace,
        name: case.attributes.name,
        ..Act::default()
    };
    if case.attributes.may(&act).await {
        return Ok(());
    }
    let user = &case.attributes.user.name;
    refuse(format!(
        "audience {audience:?} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
    ))
}

/// Whether a volume of the pod, or the driver of one, is to have a token for the audience.
async fn is_wanted(case: &Case<'_>, pod: &Value, audience: &str) -> Result<bool, Refusal> {
    let asks = |list: &[Value], path: &str| {
        let tokens = list.iter().filter_map(|one| if path.is_empty() { Some(one) } else { one.get(path) });
        tokens.filter(|token| token.is_object()).any(|token| object::str_at(token, "audience") == audience)
    };
    let volumes = lookup::items(pod, "spec.volumes");
    if volumes.iter().any(|volume| asks(lookup::items(volume, "projected.sources"), "serviceAccountToken")) {
        return Ok(true);
    }
    let mut missing = None;
    for volume in volumes {
        match driver_of(case, pod, volume).await {
            Ok(Some(driver)) if asks(lookup::items(&driver, "spec.tokenRequests"), "") => return Ok(true),
            Ok(_) => {}
            Err(refusal) => missing = Some(refusal),
        }
    }
    match missing {
        None => Ok(false),
        Some(Refusal::Forbidden(why)) => Err(why.into()),
        Some(Refusal::Other(error)) => Err(format!("error validating audience {audience:?}: {}", error.message).into()),
    }
}

/// The driver of a volume, where it has one. 404 where it cannot be found out.
async fn driver_of(case: &Case<'_>, pod: &Value, volume: &Value) -> Result<Option<std::sync::Arc<Value>>, Refusal> {
    let claim = match object::str_at(volume, "persistentVolumeClaim.claimName") {
        "" if volume.get("ephemeral").is_some_and(Value::is_object) => {
            format!("{}-{}", object::name(pod), object::str_at(volume, "name"))
        }
        claim => claim.to_owned(),
    };
    let driver = if claim.is_empty() {
        object::str_at(volume, "csi.driver").to_owned()
    } else {
        let claim = case.get("", "persistentvolumeclaims", case.attributes.namespace, &claim).await?;
        let bound = case.get("", "persistentvolumes", "", object::str_at(&claim, "spec.volumeName")).await?;
        object::str_at(&bound, "spec.csi.driver").to_owned()
    };
    if driver.is_empty() {
        return Ok(None);
    }
    case.get("storage.k8s.io", "csidrivers", "", &driver).await.map(Some)
}
