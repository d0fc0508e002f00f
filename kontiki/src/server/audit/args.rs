//! Audit: flags, and the section `audit` of the configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api_audit::options::{BatchOptions, LogOptions, Options, TruncateOptions, WebhookOptions};
use api_machinery::duration;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// What is recorded where no policy is named.
const DEFAULT_POLICY: &str = include_str!("../../../../deploy/audit-policy.yaml");
/// The log where none is named, in the data directory: at most ten files of 100 MB beside the one in use, a month long.
const DEFAULT_LOG: &str = "audit/audit.log";
const DEFAULT_LOG_DAYS: i64 = 30;
const DEFAULT_LOG_FILES: i64 = 10;

/// What is absent has upstream's default, but that there is a log and a policy.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[command(next_help_heading = "Audit")]
pub(crate) struct AuditConfiguration {
    /// Policy that says which requests are recorded, and how much of them (audit.k8s.io/v1); by default metadata of
    /// all but heartbeats, health checks and what components read
    #[arg(long = "audit-policy-file", value_name = "FILE")]
    pub(crate) policy_file: Option<PathBuf>,
    /// File that records are written to, one a line; - is standard output, "" nowhere
    /// [DATA-DIR/audit/audit.log, at most ten files of 100 MB and 30 days]
    #[arg(long = "audit-log-path", value_name = "FILE")]
    pub(crate) log_path: Option<String>,
    /// Days that old log files are kept; 0: without end [366]
    #[arg(long = "audit-log-maxage", value_name = "DAYS")]
    pub(crate) log_maxage: Option<i64>,
    /// Old log files that are kept; 0: all [100]
    #[arg(long = "audit-log-maxbackup", value_name = "FILES")]
    pub(crate) log_maxbackup: Option<i64>,
    /// Megabytes after which a log file is put aside; 0: never [100]
    #[arg(long = "audit-log-maxsize", value_name = "MB")]
    pub(crate) log_maxsize: Option<i64>,
    /// json, or legacy: one line of text [json]
    #[arg(long = "audit-log-format", value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Compress log files that were put aside
    #[arg(long = "audit-log-compress", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) log_compress: Option<bool>,
    /// Version of the records in the log [audit.k8s.io/v1]
    #[arg(long = "audit-log-version", value_name = "VERSION")]
    pub(crate) log_version: Option<String>,
    /// Whether requests wait for the log: blocking, blocking-strict (and fail without it), batch [blocking]
    #[arg(long = "audit-log-mode", value_name = "MODE")]
    pub(crate) log_mode: Option<String>,
    /// Records that may wait for the log in batch mode; more are lost [10000]
    #[arg(long = "audit-log-batch-buffer-size", value_name = "EVENTS")]
    pub(crate) log_batch_buffer_size: Option<i64>,
    /// Records written at once in batch mode [1]
    #[arg(long = "audit-log-batch-max-size", value_name = "EVENTS")]
    pub(crate) log_batch_max_size: Option<i64>,
    /// How long a record waits for others in batch mode [0s]
    #[arg(long = "audit-log-batch-max-wait", value_name = "DURATION")]
    pub(crate) log_batch_max_wait: Option<String>,
    /// Limit the batches in a second
    #[arg(long = "audit-log-batch-throttle-enable", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) log_batch_throttle_enable: Option<bool>,
    /// Batches in a second
    #[arg(long = "audit-log-batch-throttle-qps", value_name = "BATCHES")]
    pub(crate) log_batch_throttle_qps: Option<f64>,
    /// Batches at once, when there were fewer before
    #[arg(long = "audit-log-batch-throttle-burst", value_name = "BATCHES")]
    pub(crate) log_batch_throttle_burst: Option<i64>,
    /// Leave the bodies out of records that are too large
    #[arg(long = "audit-log-truncate-enabled", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) log_truncate_enabled: Option<bool>,
    /// Bytes of records written at once [10485760]
    #[arg(long = "audit-log-truncate-max-batch-size", value_name = "BYTES")]
    pub(crate) log_truncate_max_batch_size: Option<i64>,
    /// Bytes of one record; one that is larger without its bodies is lost [102400]
    #[arg(long = "audit-log-truncate-max-event-size", value_name = "BYTES")]
    pub(crate) log_truncate_max_event_size: Option<i64>,
    /// Kubeconfig of a webhook that records are sent to
    #[arg(long = "audit-webhook-config-file", value_name = "FILE")]
    pub(crate) webhook_config_file: Option<PathBuf>,
    /// How long to wait before the first batch that was not taken is sent again [10s]
    #[arg(
        long = "audit-webhook-initial-backoff",
        alias = "audit-webhook-batch-initial-backoff",
        value_name = "DURATION"
    )]
    pub(crate) webhook_initial_backoff: Option<String>,
    /// Version of the records that are sent [audit.k8s.io/v1]
    #[arg(long = "audit-webhook-version", value_name = "VERSION")]
    pub(crate) webhook_version: Option<String>,
    /// Whether requests wait for the webhook: batch, blocking, blocking-strict (and fail without it) [batch]
    #[arg(long = "audit-webhook-mode", value_name = "MODE")]
    pub(crate) webhook_mode: Option<String>,
    /// Records that may wait for the webhook in batch mode; more are lost [10000]
    #[arg(long = "audit-webhook-batch-buffer-size", value_name = "EVENTS")]
    pub(crate) webhook_batch_buffer_size: Option<i64>,
    /// Records sent at once in batch mode [400]
    #[arg(long = "audit-webhook-batch-max-size", value_name = "EVENTS")]
    pub(crate) webhook_batch_max_size: Option<i64>,
    /// How long a record waits for others in batch mode [30s]
    #[arg(long = "audit-webhook-batch-max-wait", value_name = "DURATION")]
    pub(crate) webhook_batch_max_wait: Option<String>,
    /// Limit the batches in a second [true]
    #[arg(long = "audit-webhook-batch-throttle-enable", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) webhook_batch_throttle_enable: Option<bool>,
    /// Batches in a second [10]
    #[arg(long = "audit-webhook-batch-throttle-qps", value_name = "BATCHES")]
    pub(crate) webhook_batch_throttle_qps: Option<f64>,
    /// Batches at once, when there were fewer before [15]
    #[arg(long = "audit-webhook-batch-throttle-burst", value_name = "BATCHES")]
    pub(crate) webhook_batch_throttle_burst: Option<i64>,
    /// Leave the bodies out of records that are too large
    #[arg(long = "audit-webhook-truncate-enabled", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) webhook_truncate_enabled: Option<bool>,
    /// Bytes of records sent at once [10485760]
    #[arg(long = "audit-webhook-truncate-max-batch-size", value_name = "BYTES")]
    pub(crate) webhook_truncate_max_batch_size: Option<i64>,
    /// Bytes of one record; one that is larger without its bodies is lost [102400]
    #[arg(long = "audit-webhook-truncate-max-event-size", value_name = "BYTES")]
    pub(crate) webhook_truncate_max_event_size: Option<i64>,
}

fn set<T: Clone>(own: &mut T, said: Option<&T>) {
    if let Some(said) = said {
        own.clone_from(said);
    }
}

/// `30s`, `1m30s`, as Go writes durations.
fn wait(own: &mut Duration, flag: &str, said: Option<&String>) -> Result<(), Failure> {
    let Some(text) = said else { return Ok(()) };
    *own = duration::parse(text).ok_or_else(|| format!("--{flag}: {text:?} is no duration (like 30s)"))?;
    Ok(())
}

impl AuditConfiguration {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Files by their whole path: another process, in another directory, opens them.
    pub(crate) fn absolute(mut self) -> Result<Self, Failure> {
        for file in [&mut self.policy_file, &mut self.webhook_config_file].into_iter().flatten() {
            *file = std::path::absolute(&*file)?;
        }
        if let Some(path) = self.log_path.as_mut().filter(|path| !matches!(path.as_str(), "" | "-")) {
            *path = std::path::absolute(&*path)?.display().to_string();
        }
        Ok(self)
    }

    /// For one of several replicas on a machine: a log of its own, `audit-2.log` of `audit.log`.
    pub(crate) fn of_replica(mut self, number: u16) -> Self {
        if let Some(path) = self.log_path.as_mut().filter(|path| !matches!(path.as_str(), "" | "-")) {
            let file = Path::new(&*path);
            let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
            let ending = part(file.extension()).map(|ending| format!(".{ending}"));
            let name =
                part(file.file_stem()).into_iter().chain([format!("-{number}")]).chain(ending).collect::<String>();
            *path = file.with_file_name(name).display().to_string();
        }
        self
    }

    /// Records that the webhook has not taken when the server ends wait in the data directory.
    pub(crate) fn options(&self, data_dir: &Path) -> Result<Options, Failure> {
        let pending = Some(data_dir.join("audit-webhook.pending"));
        let mut options = Options {
            policy: Some(DEFAULT_POLICY),
            webhook: WebhookOptions { pending, ..WebhookOptions::default() },
            ..Options::default()
        };
        if self.log_path.is_none() {
            options.log.path = data_dir.join(DEFAULT_LOG).display().to_string();
            (options.log.max_age, options.log.max_backup) = (DEFAULT_LOG_DAYS, DEFAULT_LOG_FILES);
        }
        set(&mut options.policy_file, self.policy_file.as_ref());
        self.log(&mut options.log)?;
        self.webhook(&mut options.webhook)?;
        Ok(options)
    }

    fn log(&self, log: &mut LogOptions) -> Result<(), Failure> {
        set(&mut log.path, self.log_path.as_ref());
        set(&mut log.max_age, self.log_maxage.as_ref());
        set(&mut log.max_backup, self.log_maxbackup.as_ref());
        set(&mut log.max_size, self.log_maxsize.as_ref());
        set(&mut log.format, self.log_format.as_ref());
        set(&mut log.compress, self.log_compress.as_ref());
        set(&mut log.version, self.log_version.as_ref());
        let BatchOptions { mode, buffer_size, max_size, max_wait, throttle_enable, throttle_qps, throttle_burst } =
            &mut log.batch;
        set(mode, self.log_mode.as_ref());
        set(buffer_size, self.log_batch_buffer_size.as_ref());
        set(max_size, self.log_batch_max_size.as_ref());
        set(throttle_enable, self.log_batch_throttle_enable.as_ref());
        set(throttle_qps, self.log_batch_throttle_qps.as_ref());
        set(throttle_burst, self.log_batch_throttle_burst.as_ref());
        let TruncateOptions { enabled, max_batch_size, max_event_size } = &mut log.truncate;
        set(enabled, self.log_truncate_enabled.as_ref());
        set(max_batch_size, self.log_truncate_max_batch_size.as_ref());
        set(max_event_size, self.log_truncate_max_event_size.as_ref());
        wait(max_wait, "audit-log-batch-max-wait", self.log_batch_max_wait.as_ref())
    }

    fn webhook(&self, webhook: &mut WebhookOptions) -> Result<(), Failure> {
        set(&mut webhook.config_file, self.webhook_config_file.as_ref());
        set(&mut webhook.version, self.webhook_version.as_ref());
        let backoff = self.webhook_initial_backoff.as_ref();
        wait(&mut webhook.initial_backoff, "audit-webhook-initial-backoff", backoff)?;
        let BatchOptions { mode, buffer_size, max_size, max_wait, throttle_enable, throttle_qps, throttle_burst } =
            &mut webhook.batch;
        set(mode, self.webhook_mode.as_ref());
        set(buffer_size, self.webhook_batch_buffer_size.as_ref());
        set(max_size, self.webhook_batch_max_size.as_ref());
        set(throttle_enable, self.webhook_batch_throttle_enable.as_ref());
        set(throttle_qps, self.webhook_batch_throttle_qps.as_ref());
        set(throttle_burst, self.webhook_batch_throttle_burst.as_ref());
        let TruncateOptions { enabled, max_batch_size, max_event_size } = &mut webhook.truncate;
        set(enabled, self.webhook_truncate_enabled.as_ref());
        set(max_batch_size, self.webhook_truncate_max_batch_size.as_ref());
        set(max_event_size, self.webhook_truncate_max_event_size.as_ref());
        wait(max_wait, "audit-webhook-batch-max-wait", self.webhook_batch_max_wait.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use api_audit::policy::Policy;

    use super::*;

    #[test]
    fn the_default_policy_is_good() {
        let (_, warnings) = Policy::read(DEFAULT_POLICY).expect("a policy");
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn what_is_not_said_has_upstreams_default() {
        let said = AuditConfiguration { log_path: Some("/l".into()), ..AuditConfiguration::default() };
        let options = said.options(Path::new("/d")).expect("good");
        let pending = Some(PathBuf::from("/d/audit-webhook.pending"));
        let webhook = WebhookOptions { pending, ..WebhookOptions::default() };
        let log = LogOptions { path: "/l".into(), ..LogOptions::default() };
        assert_eq!(options, Options { policy: Some(DEFAULT_POLICY), log, webhook, ..Options::default() });
        let said = AuditConfiguration {
            log_path: Some("-".into()),
            log_maxsize: Some(7),
            webhook_batch_max_wait: Some("1m30s".into()),
            webhook_mode: Some("blocking".into()),
            ..AuditConfiguration::default()
        };
        let options = said.options(Path::new("/d")).expect("good");
        assert_eq!((options.log.path.as_str(), options.log.max_size), ("-", 7));
        assert_eq!(options.webhook.batch.max_wait, Duration::from_secs(90));
        assert_eq!(options.webhook.batch.mode, "blocking");
        let options = AuditConfiguration::default().options(Path::new("/d")).expect("good");
        let LogOptions { path, max_age, max_backup, max_size, .. } = options.log;
        assert_eq!((path.as_str(), max_age, max_backup, max_size), ("/d/audit/audit.log", 30, 10, 100));
        let third = |path: &str| {
            let said = AuditConfiguration { log_path: Some(path.into()), ..AuditConfiguration::default() };
            said.of_replica(3).log_path
        };
        for (path, wanted) in [("/l/audit.log", "/l/audit-3.log"), ("/l/a", "/l/a-3"), ("", ""), ("-", "-")] {
            assert_eq!(third(path).as_deref(), Some(wanted));
        }
        for bad in ["x", "-5s", "5"] {
            let said = AuditConfiguration { log_batch_max_wait: Some(bad.into()), ..AuditConfiguration::default() };
            let error = said.options(Path::new("/d")).expect_err("is no duration").to_string();
            assert!(error.starts_with("--audit-log-batch-max-wait"), "{bad}: {error}");
        }
    }
}
