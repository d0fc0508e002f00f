//! PodNodeSelector: the pods of a namespace run on some nodes only.

use std::collections::BTreeMap;

use api_machinery::{ApiError, Reason, Value, names, object};
use async_trait::async_trait;

use crate::{Attributes, Plugin, View, lookup};

/// By namespace the labels that its pods may select nodes by; `clusterDefaultNodeSelector` is what pods of namespaces
/// without a selector of their own get.
#[derive(Default)]
pub(crate) struct PodNodeSelector {
    by_namespace: BTreeMap<String, Labels>,
}

type Labels = BTreeMap<String, String>;

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
const DEFAULT: &str = "clusterDefaultNodeSelector";
const CONFLICT: &str = "pod node label selector conflicts with its namespace node label selector";

impl PodNodeSelector {
    /// `podNodeSelectorPluginConfig`: selectors by namespace.
    pub(crate) fn configured(configuration: &Value) -> Result<Self, String> {
        let map = configuration.get("podNodeSelectorPluginConfig").and_then(Value::as_object).into_iter().flatten();
        let read = |(namespace, selector): (&String, &Value)| {
            let text = selector.as_str().ok_or_else(|| format!("{namespace}: must be a selector"))?;
            Ok((namespace.clone(), labels(text)?))
        };
        Ok(Self { by_namespace: map.map(read).collect::<Result<_, String>>()? })
    }

    /// What pods of the namespace select at least.
    fn of_namespace(&self, namespace: &Value) -> Result<Labels, ApiError> {
        match object::annotation(namespace, ANNOTATION) {
            Some(text) => labels(text).map_err(|why| ApiError::new(500, Reason::Unknown, why)),
            None => Ok(self.by_namespace.get(DEFAULT).cloned().unwrap_or_default()),
        }
    }
}

#[async_trait]
impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.creates("", "pods")) else { return Ok(()) };
        for (key, value) in self.check(attributes, pod, view).await? {
            pod["spec"]["nodeSelector"][key] = value.into();
        }
        Ok(())
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.creates("", "pods")) else { return Ok(()) };
        self.check(attributes, pod, view).await?;
        let allowed = self.by_namespace.get(attributes.namespace).filter(|allowed| !allowed.is_empty());
        let beyond =
            |allowed: &Labels| selected(pod).any(|(key, value)| allowed.get(key).is_none_or(|own| own != value));
        if allowed.is_some_and(beyond) {
            let why = "pod node label selector labels conflict with its namespace whitelist";
            return Err(attributes.forbidden(Some(pod), why));
        }
        Ok(())
    }
}

impl PodNodeSelector {
    /// What the namespace selects; 403 where the pod selects something else.
    async fn check(&self, attributes: &Attributes<'_>, pod: &Value, view: &dyn View) -> Result<Labels, ApiError> {
        let namespace = lookup::namespace(attributes, view).await?;
        let wanted = self.of_namespace(&namespace)?;
        if selected(pod).any(|(key, value)| wanted.get(key).is_some_and(|own| own != value)) {
            return Err(attributes.forbidden(Some(pod), CONFLICT));
        }
        Ok(wanted)
    }
}

fn selected(pod: &Value) -> impl Iterator<Item = (&String, &str)> {
    let selector = object::at(pod, "spec.nodeSelector").and_then(Value::as_object);
    selector.into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)))
}

/// `a=b,c=d`
fn labels(selector: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for part in selector.split(',').filter(|_| !selector.is_empty()) {
        let pieces: Vec<&str> = part.split('=').collect();
        let [key, value] = pieces[..] else { return Err(format!("invalid selector: [{}]", pieces.join(" "))) };
        let (key, value) = (key.trim(), value.trim());
        let wrong = names::qualified_name(key).into_iter().chain(names::label_value(value)).next();
        if let Some(why) = wrong {
            return Err(format!("invalid selector: {key}={value}: {why}"));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}
