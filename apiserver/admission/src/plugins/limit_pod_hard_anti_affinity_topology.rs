//! LimitPodHardAntiAffinityTopology: required anti-affinity keeps pods off a node, never off more.

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Plugin, View, lookup};

pub(crate) struct LimitPodHardAntiAffinityTopology;

const ALLOWED: &str = "kubernetes.io/hostname";

#[async_trait]
impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.writes("", "pods")) else { return Ok(()) };
        let required =
            lookup::items(pod, "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution");
        let other = required.iter().map(|term| object::str_at(term, "topologyKey")).find(|key| *key != ALLOWED);
        let Some(key) = other else { return Ok(()) };
        let why = format!(
            "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {ALLOWED} is allowed"
        );
        Err(attributes.forbidden(Some(pod), &why))
    }
}
