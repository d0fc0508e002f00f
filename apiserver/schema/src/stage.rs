//! How far a version is.

/// What the name of a version says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionStage {
    Alpha,
    Beta,
    Stable,
}

impl VersionStage {
    /// Of `v1alpha1`, `v2beta1` or `v1`.
    pub(crate) fn of(version: &str) -> Self {
        match version {
            version if version.contains("alpha") => Self::Alpha,
            version if version.contains("beta") => Self::Beta,
            _ => Self::Stable,
        }
    }

    /// Whether it comes before the first stable one.
    pub(crate) fn is_early(self) -> bool {
        self != Self::Stable
    }
}
