//! What is in volumes made from API objects: configMap, secret, downwardAPI and projected.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection};
use kubelet_core::env::{Runtime, field_value};
use kubelet_core::{pods, resources};

use super::atomic::{File, Files};
use super::tokens::Tokens;
use crate::agent::Node;

/// `defaultMode` where the API server set none.
const DEFAULT_MODE: i32 = 0o644;
const DEFAULT_TOKEN_SECONDS: i64 = 3600;

/// Where content comes from.
pub(super) struct Source<'a> {
    pub(super) node: &'a Node,
    pub(super) pod: &'a Pod,
    pub(super) ips: &'a [String],
    /// How old a shared copy of an object may be.
    pub(super) age: Duration,
}

/// The files of a volume.
pub(super) async fn collect(source: &Source<'_>, volume: &Volume, tokens: &mut Tokens) -> Result<Files, String> {
    if let Some(map) = &volume.config_map {
        let optional = map.optional == Some(true);
        return source.config_map(&map.name, map.items.as_deref(), map.default_mode, optional).await;
    }
    if let Some(secret) = &volume.secret {
        let optional = secret.optional == Some(true);
        let name = secret.secret_name.clone().unwrap_or_default();
        return source.secret(&name, secret.items.as_deref(), secret.default_mode, optional).await;
    }
    if let Some(downward) = &volume.downward_api {
        return source.downward(downward.items.as_deref().unwrap_or(&[]), downward.default_mode);
    }
    let mut files = Files::new();
    if let Some(projected) = &volume.projected {
        for projection in projected.sources.iter().flatten() {
            files.extend(source.projection(projection, projected.default_mode, tokens).await?);
        }
    }
    Ok(files)
}

fn mode(own: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(own.or(default).unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o777
}

/// All keys, or those named by `items`, which must exist unless `optional`.
fn select(
    content: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
    what: &str,
) -> Result<Files, String> {
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        let file = |content| File { content, mode: mode(None, default_mode) };
        return Ok(content.into_iter().map(|(name, bytes)| (name, file(bytes))).collect());
    };
    let mut files = Files::new();
    for item in items {
        match content.get(&item.key) {
            Some(bytes) => {
                files.insert(item.path.clone(), File { content: bytes.clone(), mode: mode(item.mode, default_mode) });
            }
            None if optional => {}
            None => return Err(format!("references non-existent {what} key: {}", item.key)),
        }
    }
    Ok(files)
}

fn map_content(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    text.chain(map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()))).collect()
}

fn secret_content(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect()
}

impl Source<'_> {
    fn namespace(&self) -> &str {
        pods::identity(self.pod).0
    }

    async fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
        optional: bool,
    ) -> Result<Files, String> {
        let found = self.node.objects.config_map(self.namespace(), name, self.age).await.map_err(|e| e.to_string())?;
        match found {
            Some(map) => select(map_content(&map), items, mode, optional, "config"),
            None if optional => Ok(Files::new()),
            None => Err(format!("configmap {name:?} not found")),
        }
    }

    async fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
        optional: bool,
    ) -> Result<Files, String> {
        let found = self.node.objects.secret(self.namespace(), name, self.age).await.map_err(|e| e.to_string())?;
        match found {
            Some(secret) => select(secret_content(&secret), items, mode, optional, "secret"),
            None if optional => Ok(Files::new()),
            None => Err(format!("secret {name:?} not found")),
        }
    }

    fn downward(&self, items: &[DownwardAPIVolumeFile], default_mode: Option<i32>) -> Result<Files, String> {
        let allocatable = self.node.machine.allocatable();
        let host_ip = self.node.config.node_ip.to_string();
        let runtime = Runtime { host_ip, pod_ips: self.ips.to_vec(), allocatable };
        let mut files = Files::new();
        for item in items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => field_value(self.pod, &field.field_path, &runtime)?,
                (None, Some(field)) => {
                    let name = field.container_name.as_deref().unwrap_or("");
                    let (_, spec) =
                        pods::find_container(self.pod, name).ok_or_else(|| format!("container {name} not found"))?;
                    resources::field_value(&spec, &field.resource, field.divisor.as_ref(), &runtime.allocatable)?
                }
                (None, None) => return Err(format!("item {:?} names no field", item.path)),
            };
            files.insert(item.path.clone(), File { content: text.into_bytes(), mode: mode(item.mode, default_mode) });
        }
        Ok(files)
    }

    async fn projection(
        &self,
        projection: &VolumeProjection,
        default_mode: Option<i32>,
        tokens: &mut Tokens,
    ) -> Result<Files, String> {
        if let Some(map) = &projection.config_map {
            return self.config_map(&map.name, map.items.as_deref(), default_mode, map.optional == Some(true)).await;
        }
        if let Some(secret) = &projection.secret {
            return self
                .secret(&secret.name, secret.items.as_deref(), default_mode, secret.optional == Some(true))
                .await;
        }
        if let Some(downward) = &projection.downward_api {
            return self.downward(downward.items.as_deref().unwrap_or(&[]), default_mode);
        }
        if let Some(wish) = &projection.service_account_token {
            let seconds = wish.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS);
            let token = tokens.get(self, wish.audience.as_deref().unwrap_or(""), seconds).await?;
            let file = File { content: token.into_bytes(), mode: mode(None, default_mode) };
            return Ok(Files::from([(wish.path.clone(), file)]));
        }
        Err("this kind of projection is not supported by the node".to_owned())
    }
}
