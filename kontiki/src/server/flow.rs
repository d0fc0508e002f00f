//! Priority and fairness: flags, and the section `flowControl` of the configuration file.

use api_http::FlowConfig;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// What is absent has upstream's default.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[command(next_help_heading = "Priority and fairness")]
pub(crate) struct FlowConfiguration {
    /// Queue requests by FlowSchemas and priority levels; without it requests beyond the two bounds are refused [true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) enable_priority_and_fairness: Option<bool>,
    /// Reads worked on at once; with priority and fairness, its sum with that of writes is divided among all [400]
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) max_requests_inflight: Option<usize>,
    /// Writes worked on at once [200]
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) max_mutating_requests_inflight: Option<usize>,
}

impl FlowConfiguration {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Fails where nobody would ever be served.
    pub(crate) fn config(&self) -> Result<FlowConfig, Failure> {
        let default = FlowConfig::default();
        let config = FlowConfig {
            enabled: self.enable_priority_and_fairness.unwrap_or(default.enabled),
            max_reads: self.max_requests_inflight.unwrap_or(default.max_reads),
            max_writes: self.max_mutating_requests_inflight.unwrap_or(default.max_writes),
            ..default
        };
        if config.max_reads + config.max_writes == 0 {
            let text = "--max-requests-inflight and --max-mutating-requests-inflight must not both be 0";
            return Err(text.into());
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_upstreams_default() {
        let config = |said: FlowConfiguration| said.config();
        assert_eq!(config(FlowConfiguration::default()).expect("good"), FlowConfig::default());
        let off = FlowConfiguration { enable_priority_and_fairness: Some(false), ..FlowConfiguration::default() };
        assert!(!config(off).expect("good").enabled);
        let none = FlowConfiguration {
            max_requests_inflight: Some(0),
            max_mutating_requests_inflight: Some(0),
            ..FlowConfiguration::default()
        };
        assert!(config(none).is_err());
    }
}
