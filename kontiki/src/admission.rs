//! Which admission plugins a server runs, and with what configuration: flags, the configuration file, and upstream's
//! `AdmissionConfiguration`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api_admission::Settings;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Failure;

const KIND: &str = "AdmissionConfiguration";
const API_VERSION: &str = "apiserver.config.k8s.io/v1";

/// `admission` of a server's configuration file, and flags under upstream's names.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Admission {
    /// Admission plugins to run besides those that are on by default; their order does not matter
    #[arg(long = "enable-admission-plugins", value_name = "NAMES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    enable_plugins: Vec<String>,
    /// Admission plugins not to run although they are on by default
    #[arg(long = "disable-admission-plugins", value_name = "NAMES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disable_plugins: Vec<String>,
    /// Configuration of admission plugins (kind: AdmissionConfiguration)
    #[arg(long = "admission-control-config-file", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    config_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AdmissionConfiguration {
    api_version: String,
    kind: String,
    #[serde(default)]
    plugins: Vec<PluginConfiguration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PluginConfiguration {
    name: String,
    /// Relative to the file that names it.
    #[serde(default)]
    path: PathBuf,
    #[serde(default)]
    configuration: Value,
}

impl Admission {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// With a file name that means the same to a process in another directory.
    pub(crate) fn absolute(self) -> Result<Self, Failure> {
        let config_file = self.config_file.map(std::path::absolute).transpose()?;
        Ok(Self { config_file, ..self })
    }

    /// Reads what the plugins are configured with. An error names the plugin or flag.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let configuration = match &self.config_file {
            Some(file) => plugins(file)?,
            None => BTreeMap::new(),
        };
        let settings =
            Settings { enable: self.enable_plugins.clone(), disable: self.disable_plugins.clone(), configuration };
        settings.check()?;
        Ok(settings)
    }
}

fn plugins(file: &Path) -> Result<BTreeMap<String, Value>, Failure> {
    let all: AdmissionConfiguration = crate::config::read(file)?;
    if all.api_version != API_VERSION || all.kind != KIND {
        return Err(format!("{}: expected apiVersion {API_VERSION}, kind {KIND}", file.display()).into());
    }
    let dir = file.parent().unwrap_or(Path::new(""));
    let read = |plugin: PluginConfiguration| -> Result<(String, Value), Failure> {
        let own = match plugin.path.as_os_str().is_empty() {
            true => plugin.configuration,
            false => crate::config::read(&dir.join(&plugin.path))?,
        };
        Ok((plugin.name, own))
    };
    all.plugins.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::overlay;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        admission: Admission,
    }

    fn flags(line: &str) -> Admission {
        Cli::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).expect("good flags").admission
    }

    #[test]
    fn flags_go_before_the_file() {
        let file = Admission { enable_plugins: vec!["AlwaysPullImages".into()], ..Admission::default() };
        let over = |line: &str| overlay::over(&flags(line), &file).expect("merges");
        assert_eq!(over(""), file);
        let settings = over("--disable-admission-plugins=PodSecurity,EventRateLimit").settings().expect("settings");
        assert_eq!(settings.enable, ["AlwaysPullImages"]);
        assert_eq!(settings.disable, ["PodSecurity", "EventRateLimit"]);
        assert_eq!(over("--admission-control-config-file=a.yaml").config_file, Some("a.yaml".into()));
        let refused = over("--enable-admission-plugins=Nosuch").settings().expect_err("refused");
        assert_eq!(refused.to_string(), "enable-admission-plugins plugin \"Nosuch\" is unknown");
    }

    #[test]
    fn plugins_are_configured_inline_or_by_a_file_beside() {
        let dir = tempfile::tempdir().expect("dir");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writes");
        write(
            "admission.yaml",
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n\
             - name: PodSecurity\n  configuration:\n    defaults: {enforce: baseline}\n\
             - name: EventRateLimit\n  path: limits.yaml\n",
        );
        write("limits.yaml", "limits:\n- {type: Server, qps: 5, burst: 10}\n");
        let admission = Admission { config_file: Some(dir.path().join("admission.yaml")), ..Admission::default() };
        let settings = admission.settings().expect("settings");
        assert_eq!(settings.configuration["PodSecurity"], json!({"defaults": {"enforce": "baseline"}}));
        assert_eq!(settings.configuration["EventRateLimit"]["limits"][0]["burst"], 10);
        write("admission.yaml", "apiVersion: v1\nkind: AdmissionConfiguration\n");
        assert!(admission.settings().is_err());
    }
}
