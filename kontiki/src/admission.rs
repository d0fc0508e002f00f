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

/// Flags, upstream's names.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AdmissionArgs {
    /// Admission plugins to run besides those that are on by default; their order does not matter
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    enable_admission_plugins: Vec<String>,
    /// Admission plugins not to run although they are on by default
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    disable_admission_plugins: Vec<String>,
    /// Configuration of admission plugins (kind: AdmissionConfiguration)
    #[arg(long, value_name = "FILE")]
    admission_control_config_file: Option<PathBuf>,
}

/// `admission` of a server's configuration file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Admission {
    #[serde(default)]
    enable_plugins: Vec<String>,
    #[serde(default)]
    disable_plugins: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

    /// What flags say goes before what the file says.
    pub(crate) fn or_flags(self, args: &AdmissionArgs) -> Self {
        let names = |flag: &Vec<String>, own: Vec<String>| if flag.is_empty() { own } else { flag.clone() };
        Self {
            enable_plugins: names(&args.enable_admission_plugins, self.enable_plugins),
            disable_plugins: names(&args.disable_admission_plugins, self.disable_plugins),
            config_file: args.admission_control_config_file.clone().or(self.config_file),
        }
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
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_go_before_the_file() {
        let file = Admission { enable_plugins: vec!["AlwaysPullImages".into()], ..Admission::default() };
        let flags = AdmissionArgs { disable_admission_plugins: vec!["PodSecurity".into()], ..AdmissionArgs::default() };
        let settings = file.clone().or_flags(&flags).settings().expect("settings");
        assert_eq!(
            (settings.enable, settings.disable),
            (vec!["AlwaysPullImages".to_owned()], vec!["PodSecurity".to_owned()])
        );
        let flags = AdmissionArgs { enable_admission_plugins: vec!["Nosuch".into()], ..AdmissionArgs::default() };
        let refused = file.or_flags(&flags).settings().expect_err("refused");
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
