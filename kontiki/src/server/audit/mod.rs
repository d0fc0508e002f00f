//! Audit, as this server is configured for it.

pub(crate) mod args;
mod inside;
mod webhook;

use std::sync::Arc;

use api_audit::Auditor;
use api_audit::options::LogOptions;
pub(super) use inside::Inside;

use crate::Failure;
use crate::config::ServerConfiguration;

/// Reads the policy and starts the backends; `None` where nothing is recorded. Whatever is wrong ends the start.
pub(super) fn start(config: &ServerConfiguration) -> Result<Option<Arc<Auditor>>, Failure> {
    let options = config.audit.options(&config.data_dir)?;
    let post = |path: &std::path::Path| webhook::read(path).map_err(|error| error.to_string());
    let auditor = options.start(post, crate::now)?.map(Arc::new);
    let LogOptions { path, max_age, max_backup, max_size, .. } = &options.log;
    match auditor.is_some() {
        true => tracing::info!(
            log = path,
            max_age_days = max_age,
            max_backup,
            max_size_megabytes = max_size,
            webhook = %options.webhook.config_file.display(),
            "requests are recorded"
        ),
        false => tracing::warn!("requests are not recorded: there is no audit log"),
    }
    Ok(auditor)
}
