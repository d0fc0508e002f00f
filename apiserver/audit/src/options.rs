//! What an operator may say about audit, its defaults and checks: upstream's, with its messages.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Backend, IgnoreErrors};
use crate::buffered::{BatchConfig, Buffered};
use crate::log::{FileConfig, Format, Keep, Log};
use crate::policy::Policy;
use crate::spill::Spill;
use crate::truncate::{Bounds, Truncate};
use crate::webhook::{Post, Tries, Webhook};
use crate::{Auditor, Now, log, webhook};

/// Whether requests wait for their records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Batch,
    /// They wait, and go on whatever became of the record.
    Blocking,
    /// A request whose receiving cannot be recorded is refused.
    BlockingStrict,
}

impl Mode {
    const ALL: [(&str, Mode); 3] =
        [("batch", Mode::Batch), ("blocking", Mode::Blocking), ("blocking-strict", Mode::BlockingStrict)];

    fn parse(plugin: &str, text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode);
        let known = Self::ALL.map(|(name, _)| name).join(",");
        found.ok_or_else(|| format!("invalid audit {plugin} mode {text}, allowed modes are {known:?}"))
    }
}

/// `--audit-PLUGIN-mode`, `--audit-PLUGIN-batch-*`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchOptions {
    pub mode: String,
    /// Events.
    pub buffer_size: i64,
    /// Events.
    pub max_size: i64,
    pub max_wait: Duration,
    pub throttle_enable: bool,
    /// Batches a second.
    pub throttle_qps: f64,
    /// Batches.
    pub throttle_burst: i64,
}

/// `--audit-PLUGIN-truncate-*`; bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct TruncateOptions {
    pub enabled: bool,
    pub max_batch_size: i64,
    pub max_event_size: i64,
}

/// `--audit-log-*`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogOptions {
    /// Empty: nowhere. `-`: standard output.
    pub path: String,
    /// Days; 0: without end.
    pub max_age: i64,
    /// Files; 0: without end.
    pub max_backup: i64,
    /// Megabytes; 0: one file without end.
    pub max_size: i64,
    pub format: String,
    pub compress: bool,
    pub version: String,
    pub batch: BatchOptions,
    pub truncate: TruncateOptions,
}

/// `--audit-webhook-*`.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookOptions {
    /// Empty: nowhere.
    pub config_file: PathBuf,
    pub initial_backoff: Duration,
    pub version: String,
    pub batch: BatchOptions,
    pub truncate: TruncateOptions,
    /// Where records wait for the next start that were not taken at the end.
    pub pending: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Empty: what is in `policy`.
    pub policy_file: PathBuf,
    /// The text of a policy for where there is no file; without either there is no audit.
    pub policy: Option<&'static str>,
    pub log: LogOptions,
    pub webhook: WebhookOptions,
}

/// The one version there is.
const VERSION: &str = "audit.k8s.io/v1";
/// Events.
const BUFFER_SIZE: i64 = 10_000;

impl Default for TruncateOptions {
    fn default() -> Self {
        Self { enabled: false, max_batch_size: 10 << 20, max_event_size: 100 << 10 }
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        let batch = BatchOptions {
            mode: "blocking".to_owned(),
            buffer_size: BUFFER_SIZE,
            max_size: 1,
            max_wait: Duration::ZERO,
            throttle_enable: false,
            throttle_qps: 0.0,
            throttle_burst: 0,
        };
        Self {
            path: String::new(),
            max_age: 366,
            max_backup: 100,
            max_size: 100,
            format: "json".to_owned(),
            compress: false,
            version: VERSION.to_owned(),
            batch,
            truncate: TruncateOptions::default(),
        }
    }
}

impl Default for WebhookOptions {
    fn default() -> Self {
        let batch = BatchOptions {
            mode: "batch".to_owned(),
            buffer_size: BUFFER_SIZE,
            max_size: 400,
            max_wait: Duration::from_secs(30),
            throttle_enable: true,
            throttle_qps: 10.0,
            throttle_burst: 15,
        };
        Self {
            config_file: PathBuf::new(),
            initial_backoff: Duration::from_secs(10),
            version: VERSION.to_owned(),
            batch,
            truncate: TruncateOptions::default(),
            pending: None,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy_file: PathBuf::new(),
            policy: None,
            log: LogOptions::default(),
            webhook: WebhookOptions::default(),
        }
    }
}

impl BatchOptions {
    fn check(&self, plugin: &str) -> Result<Mode, String> {
        let mode = Mode::parse(plugin, &self.mode)?;
        let positive = |what: &str, ok: bool, value: &dyn std::fmt::Display| match ok {
            true => Ok(()),
            false => Err(format!("invalid audit batch {plugin} {what} {value}, must be a positive number")),
        };
        if mode == Mode::Batch {
            positive("buffer size", self.buffer_size > 0, &self.buffer_size)?;
            positive("max batch size", self.max_size > 0, &self.max_size)?;
            if self.throttle_enable {
                positive("throttle QPS", self.throttle_qps > 0.0, &self.throttle_qps)?;
                positive("throttle burst", self.throttle_burst > 0, &self.throttle_burst)?;
            }
        }
        Ok(mode)
    }

    /// Checked before.
    fn config(&self, beside: bool) -> BatchConfig {
        #[expect(clippy::cast_precision_loss, reason = "a burst is small")]
        let throttle = self.throttle_enable.then_some((self.throttle_qps, self.throttle_burst as f64));
        BatchConfig {
            buffer: positive(self.buffer_size),
            max_batch: positive(self.max_size),
            max_wait: self.max_wait,
            throttle,
            beside,
        }
    }
}

/// Of a number that was checked to be one.
fn positive(number: i64) -> usize {
    usize::try_from(number).unwrap_or(1).max(1)
}

impl TruncateOptions {
    fn check(&self, plugin: &str) -> Result<(), String> {
        let Self { max_event_size: event, max_batch_size: batch, .. } = self;
        if *event <= 0 {
            return Err(format!("invalid audit truncate {plugin} max event size {event}, must be a positive number"));
        }
        if batch < event {
            return Err(format!(
                "invalid audit truncate {plugin} max batch size {batch}, must be greater than max event size ({event})"
            ));
        }
        Ok(())
    }

    fn wrap(&self, delegate: Arc<dyn Backend>) -> Arc<dyn Backend> {
        if !self.enabled {
            return delegate;
        }
        let bounds = Bounds { max_event: positive(self.max_event_size), max_batch: positive(self.max_batch_size) };
        Arc::new(Truncate { delegate, bounds })
    }
}

fn check_version(version: &str) -> Result<(), String> {
    match version == VERSION {
        true => Ok(()),
        false => Err(format!("invalid group version, allowed versions are [{VERSION:?}]")),
    }
}

fn wrap(mode: Mode, delegate: Arc<dyn Backend>, batch: &BatchOptions, beside: bool) -> Arc<dyn Backend> {
    match mode {
        Mode::BlockingStrict => delegate,
        Mode::Blocking => Arc::new(IgnoreErrors(delegate)),
        Mode::Batch => Arc::new(Buffered::start(delegate, batch.config(beside))),
    }
}

impl LogOptions {
    fn check(&self) -> Vec<String> {
        let mut wrong: Vec<String> = [
            self.batch.check(log::NAME).map(|_| ()),
            self.truncate.check(log::NAME),
            check_version(&self.version),
            self.format().map(|_| ()),
        ]
        .into_iter()
        .filter_map(Result::err)
        .collect();
        for (flag, value) in [("maxage", self.max_age), ("maxbackup", self.max_backup), ("maxsize", self.max_size)] {
            if value < 0 {
                wrong.push(format!("--audit-log-{flag} {value} can't be a negative number"));
            }
        }
        wrong
    }

    fn format(&self) -> Result<Format, String> {
        match self.format.as_str() {
            "json" => Ok(Format::Json),
            "legacy" => Ok(Format::Legacy),
            other => Err(format!("invalid audit log format {other}, allowed formats are \"legacy,json\"")),
        }
    }

    fn file(&self) -> Option<FileConfig> {
        let keep = Keep {
            backups: usize::try_from(self.max_backup).unwrap_or(0),
            days: u32::try_from(self.max_age).unwrap_or(u32::MAX),
        };
        let max_bytes = u64::try_from(self.max_size).unwrap_or(0) << 20;
        (self.path != "-").then(|| FileConfig {
            path: PathBuf::from(&self.path),
            max_bytes,
            keep,
            compress: self.compress,
        })
    }

    fn build(&self, now: Now) -> Result<Arc<dyn Backend>, String> {
        let log = Log::start(self.format()?, self.file(), now)
            .map_err(|error| format!("cannot open the audit log {}: {error}", self.path))?;
        let mode = self.batch.check(log::NAME)?;
        Ok(self.truncate.wrap(wrap(mode, Arc::new(log), &self.batch, false)))
    }
}

impl WebhookOptions {
    fn check(&self) -> Vec<String> {
        let all = [
            self.batch.check(webhook::NAME).map(|_| ()),
            self.truncate.check(webhook::NAME),
            check_version(&self.version),
        ];
        all.into_iter().filter_map(Result::err).collect()
    }

    fn build(&self, post: Arc<dyn Post>) -> Result<Arc<dyn Backend>, String> {
        let mode = self.batch.check(webhook::NAME)?;
        let tries = if mode == Mode::Batch { Tries::UntilTheEnd } else { Tries::AsUpstream };
        let webhook = Arc::new(Webhook::new(post, self.initial_backoff, tries, self.pending.clone().map(Spill::new)));
        let earlier = webhook.clone();
        tokio::spawn(async move { earlier.send_spilled().await });
        Ok(self.truncate.wrap(wrap(mode, webhook, &self.batch, true)))
    }
}

impl Options {
    /// Upstream ignores backends without a policy, and a policy without backends.
    fn somewhere(&self) -> bool {
        !self.log.path.is_empty() || !self.webhook.config_file.as_os_str().is_empty()
    }

    fn has_policy(&self) -> bool {
        !self.policy_file.as_os_str().is_empty() || self.policy.is_some()
    }

    /// Reads the policy, checks everything that is in use, and starts the backends. `Ok(None)`: no audit. Must be
    /// called within a runtime. `post` is asked for only where there is a webhook.
    pub fn start(
        &self,
        post: impl FnOnce(&std::path::Path) -> Result<Arc<dyn Post>, String>,
        now: Now,
    ) -> Result<Option<Auditor>, String> {
        self.check()?;
        if !self.has_policy() {
            if self.somewhere() {
                tracing::warn!("no audit policy file is given: nothing will be recorded");
            }
            return Ok(None);
        }
        let policy = self.read_policy()?;
        if !self.somewhere() {
            return Ok(None);
        }
        let mut backends = Vec::new();
        if !self.log.path.is_empty() {
            backends.push(self.log.build(now)?);
        }
        if !self.webhook.config_file.as_os_str().is_empty() {
            let post = post(&self.webhook.config_file).map_err(|why| format!("initializing audit webhook: {why}"))?;
            backends.push(self.webhook.build(post)?);
        }
        Ok(Some(Auditor { policy, backends, now }))
    }

    fn read_policy(&self) -> Result<Policy, String> {
        let file = self.policy_file.display();
        let (policy, warnings) = match self.policy {
            Some(text) if self.policy_file.as_os_str().is_empty() => {
                Policy::read(text).map_err(|error| format!("the default audit policy: {error}"))?
            }
            _ => Policy::load(&self.policy_file)
                .map_err(|error| format!("loading audit policy file: {error}: from file {file}"))?,
        };
        for warning in warnings {
            tracing::warn!(%file, warning, "the audit policy contains errors");
        }
        Ok(policy)
    }

    fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        if !self.log.path.is_empty() {
            wrong.extend(self.log.check());
        }
        if !self.webhook.config_file.as_os_str().is_empty() {
            wrong.extend(self.webhook.check());
        }
        match wrong.len() {
            0 => Ok(()),
            1 => Err(wrong.remove(0)),
            _ => Err(format!("[{}]", wrong.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> jiff::Timestamp {
        "2026-01-02T03:04:05Z".parse().expect("a time")
    }

    fn wrong(change: impl FnOnce(&mut Options)) -> String {
        let mut options = Options::default();
        options.log.path = "-".to_owned();
        options.webhook.config_file = "/w".into();
        change(&mut options);
        options.check().err().unwrap_or_else(|| "good".to_owned())
    }

    #[test]
    fn what_cannot_be_meant_is_refused_at_start() {
        assert_eq!(wrong(|_| {}), "good");
        assert_eq!(
            wrong(|options| options.log.batch.mode = "later".to_owned()),
            "invalid audit log mode later, allowed modes are \"batch,blocking,blocking-strict\""
        );
        assert_eq!(wrong(|options| options.log.batch.buffer_size = 0), "good", "unused options are not looked at");
        assert_eq!(
            wrong(|options| options.webhook.batch.buffer_size = 0),
            "invalid audit batch webhook buffer size 0, must be a positive number"
        );
        assert_eq!(
            wrong(|options| options.webhook.batch.throttle_qps = -1.0),
            "invalid audit batch webhook throttle QPS -1, must be a positive number"
        );
        assert_eq!(
            wrong(|options| (options.log.max_age, options.log.format) = (-1, "xml".to_owned())),
            "[invalid audit log format xml, allowed formats are \"legacy,json\", --audit-log-maxage -1 can't be a negative number]"
        );
        assert_eq!(
            wrong(|options| options.log.truncate.max_batch_size = 5),
            "invalid audit truncate log max batch size 5, must be greater than max event size (102400)"
        );
        assert_eq!(
            wrong(|options| options.log.version = "audit.k8s.io/v1beta1".to_owned()),
            "invalid group version, allowed versions are [\"audit.k8s.io/v1\"]"
        );
    }

    #[tokio::test]
    async fn nothing_is_recorded_without_a_policy_and_a_bad_one_ends_the_start() {
        let no_webhook = |_: &std::path::Path| Err("there is none".to_owned());
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = Options::default();
        options.log.path = folder.path().join("audit.log").display().to_string();
        assert!(options.start(no_webhook, now).expect("starts").is_none());
        options.policy = Some("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n");
        assert!(options.start(no_webhook, now).expect("starts").is_some(), "the policy for where there is no file");
        options.policy_file = folder.path().join("policy.yaml");
        let missing = options.start(no_webhook, now).err().expect("is missing");
        assert!(missing.starts_with("loading audit policy file: failed to read file path"), "{missing}");
        let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";
        std::fs::write(&options.policy_file, policy).expect("writes");
        let auditor = options.start(no_webhook, now).expect("starts").expect("there is one");
        assert_eq!(auditor.backends.len(), 1);
        options.webhook.config_file = "/nowhere".into();
        assert_eq!(options.start(no_webhook, now).err().as_deref(), Some("initializing audit webhook: there is none"));
    }
}
