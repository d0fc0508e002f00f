//! Workloads against running clusters, and checkers of what they saw.
//!
//! A workload acts and records; a checker is a pure function over records and answers violations.
//! Faults are made by whoever runs both.

pub mod checkers;
pub mod history;
pub mod workloads;

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig};

/// A client of one replica, without retries of its own: what happened must reach the record.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
    // Another part of the process may have chosen the provider already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(std::time::Duration::from_secs(1));
    config.read_timeout = None;
    Ok(kube::Client::try_from(config)?)
}
