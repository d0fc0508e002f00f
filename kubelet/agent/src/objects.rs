//! ConfigMaps and secrets that pods refer to, read when needed and shared between pods for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use kubelet_core::env::Sources;
use kubelet_core::pods;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::{ApiFailure, Client};

/// What a pod that starts accepts: many pods of one Deployment share one read.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// Entries kept at most.
const MAX_ENTRIES: usize = 1024;
const KEPT_FOR: Duration = Duration::from_secs(120);

#[derive(Clone)]
enum Object {
    ConfigMap(Arc<ConfigMap>),
    Secret(Arc<Secret>),
}

pub(crate) struct Objects {
    client: Client,
    entries: Mutex<HashMap<String, (Instant, Option<Object>)>>,
}

impl Objects {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, entries: Mutex::default() }
    }

    /// `None`: there is none of this name.
    pub(crate) async fn config_map(
        &self,
        namespace: &str,
        name: &str,
        age: Duration,
    ) -> Result<Option<Arc<ConfigMap>>, ApiFailure> {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        match self
            .get(
                &path,
                age,
                |client, path| async move { client.get(&path).await.map(|o| Object::ConfigMap(Arc::new(o))) },
            )
            .await?
        {
            Some(Object::ConfigMap(map)) => Ok(Some(map)),
            _ => Ok(None),
        }
    }

    pub(crate) async fn secret(
        &self,
        namespace: &str,
        name: &str,
        age: Duration,
    ) -> Result<Option<Arc<Secret>>, ApiFailure> {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        match self
            .get(&path, age, |client, path| async move { client.get(&path).await.map(|o| Object::Secret(Arc::new(o))) })
            .await?
        {
            Some(Object::Secret(secret)) => Ok(Some(secret)),
            _ => Ok(None),
        }
    }

    async fn get<F>(
        &self,
        path: &str,
        age: Duration,
        read: impl FnOnce(Client, String) -> F,
    ) -> Result<Option<Object>, ApiFailure>
    where
        F: Future<Output = Result<Object, ApiFailure>>,
    {
        if let Some((at, object)) = self.entries.lock().get(path)
            && at.elapsed() <= age
        {
            return Ok(object.clone());
        }
        let object = match read(self.client.clone(), path.to_owned()).await {
            Ok(object) => Some(object),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, (at, _)| at.elapsed() < KEPT_FOR);
        }
        if entries.len() < MAX_ENTRIES {
            entries.insert(path.to_owned(), (Instant::now(), object.clone()));
        }
        Ok(object)
    }

    /// Everything the environment of a container refers to.
    pub(crate) async fn for_environment(&self, pod: &Pod, container: &Container) -> Result<Sources, ApiFailure> {
        let namespace = pods::identity(pod).0;
        let (mut maps, mut secrets) = (Vec::new(), Vec::new());
        for source in container.env_from.iter().flatten() {
            maps.extend(source.config_map_ref.as_ref().map(|r| &r.name));
            secrets.extend(source.secret_ref.as_ref().map(|r| &r.name));
        }
        for source in container.env.iter().flatten().filter_map(|v| v.value_from.as_ref()) {
            maps.extend(source.config_map_key_ref.as_ref().map(|r| &r.name));
            secrets.extend(source.secret_key_ref.as_ref().map(|r| &r.name));
        }
        let mut sources = Sources::default();
        for name in maps {
            if let Some(map) = self.config_map(namespace, name, FRESH).await? {
                sources.config_maps.insert(name.clone(), (*map).clone());
            }
        }
        for name in secrets {
            if let Some(secret) = self.secret(namespace, name, FRESH).await? {
                sources.secrets.insert(name.clone(), (*secret).clone());
            }
        }
        Ok(sources)
    }
}
