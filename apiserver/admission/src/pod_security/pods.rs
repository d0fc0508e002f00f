//! The pod in an object: itself, or the template of a workload.

use api_machinery::{GroupResource, Value, object, templates};

/// A pod or a template of pods.
#[derive(Clone, Copy)]
pub(crate) struct Pod<'a> {
    /// Holds `metadata`.
    pub(crate) holder: &'a Value,
    pub(crate) spec: &'a Value,
}

static NULL: Value = Value::Null;

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl<'a> Pod<'a> {
    pub(crate) fn of(pod: &'a Value) -> Self {
        Self { holder: pod, spec: pod.get("spec").unwrap_or(&NULL) }
    }

    /// Every container of every kind, in upstream's order.
    pub(crate) fn containers(self) -> impl Iterator<Item = &'a Value> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        lists.into_iter().flat_map(move |list| items(self.spec, list))
    }

    pub(crate) fn volumes(self) -> &'a [Value] {
        items(self.spec, "volumes")
    }

    pub(crate) fn security(self, path: &str) -> Option<&'a Value> {
        security(self.spec, path)
    }

    pub(crate) fn annotations(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = object::at(self.holder, "metadata.annotations").and_then(Value::as_object);
        all.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    pub(crate) fn is_windows(self) -> bool {
        object::str_at(self.spec, "os.name") == "windows"
    }

    /// Its root is nobody on the host.
    pub(crate) fn has_own_users(self) -> bool {
        self.spec.get("hostUsers") == Some(&Value::Bool(false))
    }

    pub(crate) fn runtime_class(self) -> &'a str {
        object::str_at(self.spec, "runtimeClassName")
    }
}

/// A field of the security context of a pod's spec or of a container.
pub(crate) fn security<'a>(holder: &'a Value, path: &str) -> Option<&'a Value> {
    object::at(holder.get("securityContext")?, path).filter(|value| !value.is_null())
}

/// The pod that objects of this resource hold. `None`: such objects hold none.
pub(crate) fn pod_of<'a>(resource: &GroupResource, value: &'a Value) -> Option<Pod<'a>> {
    match templates::path_of_pod(resource)? {
        "" => Some(Pod::of(value)),
        path => object::at(value, path).filter(|template| template.is_object()).map(Pod::of),
    }
}

/// Whether an update changed what may change of a pod and matters here: images, and containers that came.
pub(crate) fn is_significant_update(new: &Value, old: &Value) -> bool {
    let differ = |field| {
        let (new, old) = (of_spec(new, field), of_spec(old, field));
        new.len() != old.len() || new.iter().zip(old).any(|(new, old)| image(new) != image(old))
    };
    let before = of_spec(old, "ephemeralContainers");
    let known = |new: &Value| {
        let same = |old: &&Value| object::str_at(old, "name") == object::str_at(new, "name");
        before.iter().find(same).is_some_and(|old| image(old) == image(new))
    };
    differ("containers") || differ("initContainers") || !of_spec(new, "ephemeralContainers").iter().all(known)
}

fn of_spec<'a>(pod: &'a Value, field: &str) -> &'a [Value] {
    pod.get("spec").map_or(&[], |spec| items(spec, field))
}

fn image(container: &Value) -> &str {
    object::str_at(container, "image")
}
