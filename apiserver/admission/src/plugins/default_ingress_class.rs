//! DefaultIngressClass: an Ingress that names no class gets the default one.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Plugin, View, lookup};

pub(crate) struct DefaultIngressClass;

const GROUP: &str = "networking.k8s.io";
const MARK: &str = "ingressclass.kubernetes.io/is-default-class";

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(ingress) = object.filter(|_| attributes.creates(GROUP, "ingresses")) else { return Ok(()) };
        let by_annotation = object::annotation(ingress, "kubernetes.io/ingress.class").is_some();
        if by_annotation || object::at(ingress, "spec.ingressClassName").is_some_and(|class| !class.is_null()) {
            return Ok(());
        }
        let classes = lookup::list(view, GROUP, "ingressclasses", None);
        if let Some(class) = lookup::newest_default(classes, &[MARK]) {
            ingress["spec"]["ingressClassName"] = object::name(&class).into();
        }
        Ok(())
    }
}
