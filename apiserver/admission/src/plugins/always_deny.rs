//! AlwaysDeny: lets nothing through. Deprecated upstream, and kept for those who name it.

use api_machinery::{ApiError, Value};
use async_trait::async_trait;

use crate::{Attributes, Plugin, View};

pub(crate) struct AlwaysDeny;

const WHY: &str = "admission control is denying all modifications";

#[async_trait]
impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        Err(attributes.forbidden(object.as_deref(), WHY))
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        Err(attributes.forbidden(object, WHY))
    }
}
