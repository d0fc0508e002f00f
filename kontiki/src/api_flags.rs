//! Flags of the API server under upstream's names: for `kontiki server`, and for every replica of `kontiki up`.

use std::path::PathBuf;

use api_schema::Schema;
use clap::Args;
use controller_runtime::Chosen;

use crate::access::Access;
use crate::admission::Admission;
use crate::config::ServerConfiguration;
use crate::server::audit::args::AuditConfiguration;
use crate::server::flow::FlowConfiguration;
use crate::{Failure, overlay};

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ApiFlags {
    /// Whether containers may be privileged (upstream's default is false; network and storage plugins need them)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    allow_privileged: Option<bool>,
    /// Encrypt in the store what this EncryptionConfiguration says (the same on every replica)
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
    /// Read that file again whenever it changes
    #[arg(long, requires = "encryption_provider_config")]
    encryption_provider_config_automatic_reload: bool,
    /// Versions and resources to serve or not, as upstream's flag: api/beta=true,apps/v1=false,batch/v1/jobs=false
    #[arg(long, value_name = "VERSIONS")]
    runtime_config: Option<String>,
    /// Features to switch on or off, as upstream's flag: WatchList=false,AllBeta=true
    #[arg(long, value_name = "GATES")]
    feature_gates: Option<String>,
    /// Controllers to run, as kube-controller-manager's flag: `*` all, `NAME` that one, `-NAME` all but that one; and
    /// kube-scheduler. Empty: none, where standard components do the work
    #[arg(long, value_name = "NAMES", value_delimiter = ',', allow_hyphen_values = true)]
    controllers: Option<Vec<String>>,
    #[command(flatten)]
    admission: Admission,
    #[command(flatten)]
    audit: AuditConfiguration,
    #[command(flatten)]
    flow_control: FlowConfiguration,
    #[command(flatten)]
    access: Access,
}

impl ApiFlags {
    /// What can be told to be wrong before anything is touched.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let (versions, gates) = (self.runtime_config.as_deref(), self.feature_gates.as_deref());
        Schema::check(versions.unwrap_or_default(), gates.unwrap_or_default())?;
        self.controllers.as_deref().map(Chosen::parse).transpose()?;
        self.admission.settings().map(drop)
    }

    /// What is said on the command line goes before what the file says, and means the same to a process in another
    /// directory.
    pub(crate) fn over(&self, config: &mut ServerConfiguration) -> Result<(), Failure> {
        config.allow_privileged = self.allow_privileged.unwrap_or(config.allow_privileged);
        if let Some(file) = &self.encryption_provider_config {
            config.encryption_provider_config = Some(std::path::absolute(file)?);
        }
        config.encryption_provider_config_automatic_reload |= self.encryption_provider_config_automatic_reload;
        if let Some(versions) = &self.runtime_config {
            config.runtime_config.clone_from(versions);
        }
        if let Some(gates) = &self.feature_gates {
            config.feature_gates.clone_from(gates);
        }
        if let Some(controllers) = &self.controllers {
            config.controllers.clone_from(controllers);
        }
        Chosen::parse(&config.controllers)?;
        config.admission = overlay::over(&self.admission, &config.admission)?.absolute()?;
        config.admission.settings()?;
        config.audit = overlay::over(&self.audit, &config.audit)?.absolute()?;
        config.flow_control = overlay::over(&self.flow_control, &config.flow_control)?;
        config.access = overlay::over(&self.access, &config.access)?.absolute()?;
        Ok(())
    }
}
