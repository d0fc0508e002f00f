//! DenyServiceExternalIPs: no Service takes traffic for addresses that it names itself.

use api_machinery::{ApiError, Value};
use async_trait::async_trait;

use crate::{Attributes, Plugin, View, lookup};

pub(crate) struct DenyServiceExternalIPs;

#[async_trait]
impl Plugin for DenyServiceExternalIPs {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(service) = object.filter(|_| attributes.writes("", "services")) else { return Ok(()) };
        let before = attributes.old.map_or(&[][..], addresses);
        if addresses(service).iter().all(|address| before.contains(address)) {
            return Ok(());
        }
        Err(attributes.forbidden(Some(service), "Use of external IPs is denied by admission control"))
    }
}

fn addresses(service: &Value) -> &[Value] {
    lookup::items(service, "spec.externalIPs")
}
