//! ResourceQuota: what the objects of a namespace may use together.
//!
//! A plugin only sees what its replica shows, which may be old. So it only says what becomes of the quotas; whoever
//! writes the object writes them in the same transaction, and asks again where they have changed.

use api_machinery::quota::{Charge, Written, charge};
use api_machinery::{ApiError, GroupResource, Value};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin};

pub(crate) struct ResourceQuota;

impl ResourceQuota {
    /// Without `limitedResources`: what must be covered by a quota to be used at all is not built.
    pub(crate) fn configured(configuration: &Value) -> Result<Self, String> {
        let limited =
            configuration.get("limitedResources").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        if limited { Err("limitedResources is not supported".to_owned()) } else { Ok(Self) }
    }
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn counts(&self, attributes: &Attributes<'_>, object: &Value) -> bool {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        writes && !attributes.namespace.is_empty() && {
            let resource = attributes.resource.group_resource();
            !attributes.is("", "namespaces") && written(attributes, &resource, object).counts()
        }
    }

    fn charge(&self, attributes: &Attributes<'_>, object: &Value, quotas: &[&Value]) -> Result<Vec<Value>, ApiError> {
        let resource = attributes.resource.group_resource();
        match charge(&written(attributes, &resource, object), quotas) {
            Charge::Raised(raised) => Ok(raised),
            Charge::Refused(why) => Err(attributes.forbidden(Some(object), &why)),
        }
    }
}

fn written<'a>(attributes: &Attributes<'a>, resource: &'a GroupResource, object: &'a Value) -> Written<'a> {
    Written { resource, subresource: attributes.subresource, object, old: attributes.old, now: attributes.now }
}
