//! OwnerReferencesPermissionEnforcement: who makes an object go with its owner must be allowed to delete it, and who
//! makes an owner wait for it must be allowed to hold the owner.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Act, Attributes, Operation, Plugin, View};

pub(crate) struct OwnerReferencesPermissionEnforcement;

#[async_trait]
impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(new) = object.filter(|_| matches!(attributes.operation, Operation::Create | Operation::Update)) else {
            return Ok(());
        };
        // A kubelet's: it changes no owners, and may not delete.
        let of_status = attributes.is_any_of("", "pods") && attributes.subresource == "status";
        let before = attributes.old.map_or(&[][..], object::owner_references);
        let owners = object::owner_references(new);
        if of_status || owners == before {
            return Ok(());
        }
        check_delete(attributes, new).await?;
        let blocking: Vec<&Value> = owners.iter().filter(|owner| newly_blocks(owner, before)).collect();
        if blocking.is_empty() || attributes.may(&FINALIZE_ANYTHING).await {
            return Ok(());
        }
        for owner in blocking {
            check_finalize(attributes, new, owner, view).await?;
        }
        Ok(())
    }
}

const FINALIZE_ANYTHING: Act<'static> = Act {
    verb: "update",
    group: "*",
    version: "*",
    resource: "*",
    subresource: "finalizers",
    namespace: "",
    name: "*",
};

async fn check_delete(attributes: &Attributes<'_>, object: &Value) -> Result<(), ApiError> {
    let act = Act {
        verb: "delete",
        group: &attributes.resource.gv.group,
        version: &attributes.resource.gv.version,
        resource: &attributes.resource.plural,
        subresource: attributes.subresource,
        namespace: attributes.namespace,
        name: attributes.name,
    };
    if attributes.operation == Operation::Create || attributes.may(&act).await {
        return Ok(());
    }
    let why = "cannot set an ownerRef on a resource you can't delete: , <nil>";
    Err(attributes.forbidden(Some(object), why))
}

fn blocks(owner: &Value) -> bool {
    owner.get("blockOwnerDeletion") == Some(&Value::Bool(true))
}

/// Blocks, and no reference to the same owner did before.
fn newly_blocks(owner: &Value, before: &[Value]) -> bool {
    let same = |old: &&Value| object::str_at(old, "uid") == object::str_at(owner, "uid");
    // The last of several, as upstream's index has it.
    blocks(owner) && !before.iter().rev().find(same).is_some_and(blocks)
}

async fn check_finalize(
    attributes: &Attributes<'_>,
    object: &Value,
    owner: &Value,
    view: &dyn View,
) -> Result<(), ApiError> {
    let (api_version, kind) = (object::str_at(owner, "apiVersion"), object::str_at(owner, "kind"));
    let Some(place) = view.place_of(api_version, kind) else {
        let why = format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {api_version} \
             Kind {kind}: no matches for kind {kind:?} in version {api_version:?}"
        );
        return Err(attributes.forbidden(Some(object), &why));
    };
    let act = Act {
        verb: "update",
        group: &place.resource.group,
        version: &place.version,
        resource: &place.resource.resource,
        subresource: "finalizers",
        namespace: if place.namespaced { attributes.namespace } else { "" },
        name: object::str_at(owner, "name"),
    };
    if attributes.may(&act).await {
        return Ok(());
    }
    let why =
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>";
    Err(attributes.forbidden(Some(object), why))
}
