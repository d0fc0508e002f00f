//! The one list of checks, with the versions they changed in.

mod containers;
mod host;
mod profiles;
#[cfg(test)]
mod tests;
mod text;
mod users;
mod volumes;

use super::pods::Pod;
use super::policy::Level;

/// Why a pod is not allowed.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) reason: String,
    /// Where; may be empty.
    pub(crate) detail: String,
}

pub(crate) type Look = fn(Pod<'_>) -> Option<Finding>;

pub(crate) struct Check {
    pub(crate) id: &'static str,
    pub(crate) level: Level,
    /// By the minor of `v1.N` they came with, growing.
    versions: &'static [(u32, Look)],
    /// The check of a lower level that this one makes needless.
    pub(crate) replaces: Option<&'static str>,
}

impl Check {
    /// As it was in a version. `None`: it was not yet.
    pub(crate) fn at(&self, minor: u32) -> Option<Look> {
        self.versions.iter().rev().find(|(since, _)| *since <= minor).map(|(_, look)| *look)
    }
}

const fn baseline(id: &'static str, versions: &'static [(u32, Look)]) -> Check {
    Check { id, level: Level::Baseline, versions, replaces: None }
}

const fn restricted(id: &'static str, versions: &'static [(u32, Look)], replaces: Option<&'static str>) -> Check {
    Check { id, level: Level::Restricted, versions, replaces }
}

/// The newest minor in which a check changed; what `latest` means.
pub(crate) const NEWEST: u32 = 35;

/// Baseline first, each level by id: the order of the findings in messages.
pub(crate) const CHECKS: &[Check] = &[
    baseline("appArmorProfile", &[(0, profiles::app_armor)]),
    baseline("capabilities_baseline", &[(0, containers::added_capabilities)]),
    baseline("hostNamespaces", &[(0, host::namespaces)]),
    baseline("hostPathVolumes", &[(0, volumes::host_paths)]),
    baseline("hostPorts", &[(0, containers::host_ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, containers::probed_hosts)]),
    baseline("privileged", &[(0, containers::privileged)]),
    baseline("procMount", &[(0, containers::proc_mount), (35, containers::proc_mount_unless_own_users)]),
    baseline("seLinuxOptions", &[(0, profiles::se_linux), (31, profiles::se_linux_with_engine)]),
    baseline("seccompProfile_baseline", &[(0, profiles::seccomp_annotations), (19, profiles::seccomp)]),
    baseline(
        "sysctls",
        &[(0, host::sysctls_0), (27, host::sysctls_27), (29, host::sysctls_29), (32, host::sysctls_32)],
    ),
    baseline("windowsHostProcess", &[(0, host::windows_process)]),
    restricted(
        "allowPrivilegeEscalation",
        &[(8, containers::escalation), (25, containers::escalation_unless_windows)],
        None,
    ),
    restricted(
        "capabilities_restricted",
        &[(22, containers::kept_capabilities), (25, containers::kept_capabilities_unless_windows)],
        Some("capabilities_baseline"),
    ),
    restricted("procMount_restricted", &[(35, containers::proc_mount)], Some("procMount")),
    restricted("restrictedVolumes", &[(0, volumes::restricted)], Some("hostPathVolumes")),
    restricted("runAsNonRoot", &[(0, users::non_root), (35, users::non_root_unless_own_users)], None),
    restricted("runAsUser", &[(23, users::user), (35, users::user_unless_own_users)], None),
    restricted(
        "seccompProfile_restricted",
        &[(19, profiles::seccomp_required), (25, profiles::seccomp_required_unless_windows)],
        Some("seccompProfile_baseline"),
    ),
];
