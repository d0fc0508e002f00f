//! The structured configuration files of authentication and authorization, in upstream's formats.

pub mod authentication;
pub mod authorization;
mod duration;
pub mod kubeconfig;

pub use duration::Duration;

use api_cel::{Environment, Expected, Expression};
use api_machinery::{ErrorList, Path, Value};
use serde::de::DeserializeOwned;
use thiserror::Error;

/// A file larger than this is refused (bytes).
pub const MAX_FILE_BYTES: usize = 1 << 20;

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    #[error("{0}")]
    Syntax(String),
    #[error("expected kind {expected} of one of {versions:?}, found {found}")]
    Kind { expected: &'static str, versions: &'static [&'static str], found: String },
    /// Every bad field, in upstream's words.
    #[error("{0}")]
    Invalid(String),
}

/// Reads YAML or JSON of one kind strictly: fields that are not known are refused.
fn read<T: DeserializeOwned>(
    text: &str,
    kind: &'static str,
    versions: &'static [&'static str],
) -> Result<T, ConfigError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge);
    }
    let mut document: Value = serde_saphyr::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
    let take = |document: &mut Value, field: &str| {
        let taken = document.as_object_mut().and_then(|map| map.remove(field));
        taken.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let (version, found) = (take(&mut document, "apiVersion"), take(&mut document, "kind"));
    if found != kind || !versions.contains(&version.as_str()) {
        return Err(ConfigError::Kind { expected: kind, versions, found: format!("{version}, Kind={found}") });
    }
    serde_json::from_value(document).map_err(|error| ConfigError::Syntax(error.to_string()))
}

fn settle(errors: &ErrorList) -> Result<(), ConfigError> {
    if errors.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(errors.message())) }
}

/// Refuses an expression that cannot mean what it should; an empty one is none.
fn check_expression(
    expression: Option<&String>,
    (environment, expected): (&Environment, Expected),
    path: &Path,
    errors: &mut ErrorList,
) {
    if let Some(text) = expression.filter(|expression| !expression.is_empty())
        && let Err(why) = Expression::checked(text, environment, expected)
    {
        errors.invalid(path, &text.as_str().into(), &why);
    }
}
