//! What the world leaves out of objects: every replica keeps every object of it in memory, and the larger part of a
//! pod is nobody's business but its kubelet's.
//!
//! A controller that comes to read one of these fields keeps it here.

use std::any::Any;

use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, PodStatus, Secret, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::controllers::{bootstrap, root_ca};

/// Drops what is read by no controller and not by the scheduler.
pub(crate) fn trim<T: Metadata<Ty = ObjectMeta> + 'static>(object: &mut T) {
    let metadata = object.metadata_mut();
    metadata.managed_fields = None;
    fit(&mut metadata.owner_references);
    let object: &mut dyn Any = object;
    if let Some(pod) = object.downcast_mut::<Pod>() {
        pod.spec.iter_mut().for_each(spec);
        pod.status.iter_mut().for_each(status);
    } else if let Some(map) = object.downcast_mut::<ConfigMap>() {
        config_map(map);
    } else if let Some(secret) = object.downcast_mut::<Secret>() {
        self::secret(secret);
    }
}

fn spec(spec: &mut PodSpec) {
    spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).for_each(container);
    fit(&mut spec.init_containers);
    spec.containers.shrink_to_fit();
    fit(&mut spec.tolerations);
    if let Some(volumes) = &mut spec.volumes {
        volumes.retain(is_claim);
    }
    spec.volumes.take_if(|volumes| volumes.is_empty());
    fit(&mut spec.volumes);
}

/// Storage that is provisioned, bound and attached.
fn is_claim(volume: &Volume) -> bool {
    volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
}

/// Leaves its name, image, ports, resources and restart policy.
fn container(own: &mut Container) {
    *own = Container {
        name: std::mem::take(&mut own.name),
        image: own.image.take(),
        ports: own.ports.take(),
        resources: own.resources.take(),
        restart_policy: own.restart_policy.take(),
        ..Container::default()
    };
    fit(&mut own.ports);
}

fn status(status: &mut PodStatus) {
    status.ephemeral_container_statuses = None;
    fit(&mut status.init_container_statuses);
    fit(&mut status.container_statuses);
    fit(&mut status.conditions);
    fit(&mut status.pod_ips);
}

/// Only these ConfigMaps are a controller's.
fn config_map(map: &mut ConfigMap) {
    let root_ca = map.metadata.name.as_deref() == Some(root_ca::NAME);
    if !root_ca && !bootstrap::is_cluster_info(map) {
        (map.data, map.binary_data) = (None, None);
    }
}

/// Only join tokens are a controller's.
fn secret(secret: &mut Secret) {
    if secret.type_.as_deref() != Some(bootstrap::TOKEN_TYPE) {
        secret.data = None;
    }
    secret.string_data = None;
}

/// Lists are decoded with room to grow, and never do.
fn fit<T>(list: &mut Option<Vec<T>>) {
    if let Some(list) = list {
        list.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn trimmed<T: DeserializeOwned + serde::Serialize + Metadata<Ty = ObjectMeta> + 'static>(value: Value) -> Value {
        let mut object: T = serde_json::from_value(value).expect("an object of its kind");
        trim(&mut object);
        serde_json::to_value(&object).expect("serializes")
    }

    fn pod_spec() -> Value {
        json!({
            "nodeName": "n",
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "A"}],
                "resources": {"requests": {"cpu": "1"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "persistentVolumeClaim": {"claimName": "w"}}],
        })
    }

    #[test]
    fn pods_keep_what_is_read_of_them() {
        let pod = json!({"metadata": {"name": "p", "managedFields": [{}]}, "spec": pod_spec(), "status": {"phase": "Running"}});
        let want = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Running"},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "1"}}}],
                "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "w"}}],
            },
        });
        assert_eq!(trimmed::<Pod>(pod), want);
    }

    #[test]
    fn templates_keep_everything() {
        let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "s"},
            "spec": {"selector": {}, "template": {"spec": pod_spec()}}});
        assert_eq!(trimmed::<ReplicaSet>(set.clone()), set);
    }

    #[test]
    fn only_the_root_certificates_are_kept_of_config_maps() {
        let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}});
        assert_eq!(trimmed::<ConfigMap>(map("kube-root-ca.crt")), map("kube-root-ca.crt"));
        assert_eq!(trimmed::<ConfigMap>(map("other"))["data"], Value::Null);
    }

    #[test]
    fn only_join_tokens_are_kept_of_secrets() {
        let secret = |kind: &str| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": kind,
            "data": {"a": "Yg=="}})
        };
        let token = secret("bootstrap.kubernetes.io/token");
        assert_eq!(trimmed::<Secret>(token.clone()), token);
        assert_eq!(trimmed::<Secret>(secret("Opaque"))["data"], Value::Null);
    }
}
