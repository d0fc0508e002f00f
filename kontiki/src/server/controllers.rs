//! The controllers of this replica, started over when the cluster's CA changes: they publish it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api_auth::authz::Authorizer;
use api_registry::Registry;
use controller_runtime::{Chosen, ControllersConfig, Powers};
use tokio_util::sync::CancellationToken;

use super::{cluster_info, signer::ClusterSigner};
use crate::Failure;
use crate::config::ServerConfiguration;

/// How often the CA is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Controllers {
    config: ServerConfiguration,
    registry: Arc<Registry>,
    powers: Powers,
    chosen: Chosen,
}

impl Controllers {
    pub(super) fn new(
        config: &ServerConfiguration,
        registry: &Arc<Registry>,
        authorizer: &Arc<dyn Authorizer>,
    ) -> Result<Self, Failure> {
        let chosen = Chosen::parse(&config.controllers)?;
        let powers = Powers {
            authority: Some(api_registry::Authority(authorizer.clone())),
            signer: Some(Arc::new(ClusterSigner::new(&config.pki_dir))),
        };
        Ok(Self { config: config.clone(), registry: registry.clone(), powers, chosen })
    }

    /// Until stopped; leadership is given up then.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut ca = self.ca();
        while !stop.is_cancelled() {
            let own = stop.child_token();
            let running = controller_runtime::run(self.registry.clone(), self.controllers(&ca), own.clone());
            tokio::pin!(running);
            let newer = tokio::select! {
                () = &mut running => {
                    stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
                    continue;
                }
                newer = self.changed(&ca) => newer,
            };
            tracing::info!("the cluster's CA has changed: the controllers start over");
            own.cancel();
            running.await;
            ca = newer;
            if let Err(error) = cluster_info::ensure(&self.registry, &self.config).await {
                tracing::warn!(%error, "cluster-info does not name the new CA yet; the next start will mend it");
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.config.pki_dir.join("ca.crt")
    }

    /// What cannot be read for a moment is not a change.
    fn ca(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap_or_else(|error| {
            tracing::error!(%error, file = %self.path().display(), "the cluster's CA cannot be read");
            String::new()
        })
    }

    async fn changed(&self, before: &str) -> String {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.ca();
            if !now.is_empty() && now != before {
                return now;
            }
        }
    }

    fn controllers(&self, ca: &str) -> ControllersConfig {
        ControllersConfig {
            replica: self.config.id,
            identity: format!("kontiki-{}_{}", self.config.id, std::process::id()),
            lease_seconds: 2,
            root_ca_pem: ca.to_owned(),
            powers: self.powers.clone(),
            chosen: self.chosen.clone(),
        }
    }
}
