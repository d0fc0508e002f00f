//! Validation of what a pod says for Windows, and of what pods of one system may not say.

use api_machinery::{ErrorList, Value, names};

use crate::at::{At, child};

/// Bytes of a credential specification.
const MAX_CREDENTIAL: usize = 64 * 1024;
/// Characters of the parts of `DOMAIN\user`.
const MAX_DOMAIN: usize = 256;
const MAX_USER: usize = 104;
/// Characters of a NetBIOS name.
const MAX_NETBIOS: usize = 15;
const NOT_IN_USER: &str = "\"/\\:;|=,+*?<>@[]";

pub(crate) fn validate_options(options: &At<'_>, errors: &mut ErrorList) {
    if !options.present() {
        return;
    }
    let (name, credential) = (options.field("gmsaCredentialSpecName"), options.field("gmsaCredentialSpec"));
    if name.present() {
        name.format(errors, names::dns1123_subdomain);
    }
    match credential.str().len() {
        0 if credential.present() => credential.invalid(errors, "gmsaCredentialSpec cannot be an empty string"),
        length if length > MAX_CREDENTIAL => {
            credential.invalid(errors, "gmsaCredentialSpec size must be under 64 KiB");
        }
        _ => {}
    }
    let user = options.field("runAsUserName");
    if user.present() {
        validate_user(&user, errors);
    }
}

fn validate_user(name: &At<'_>, errors: &mut ErrorList) {
    let text = name.str();
    if text.is_empty() {
        return name.invalid(errors, "runAsUserName cannot be an empty string");
    }
    if text.bytes().any(|c| c.is_ascii_control()) {
        return name.invalid(errors, "runAsUserName cannot contain control characters");
    }
    let (domain, user) = match text.split_once('\\') {
        Some((_, rest)) if rest.contains('\\') => {
            return name.invalid(errors, "runAsUserName cannot contain more than one backslash");
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, text),
    };
    if domain.is_some_and(|domain| domain.len() >= MAX_DOMAIN) {
        name.invalid(errors, "runAsUserName's Domain length must be under 256 characters");
    }
    if domain.is_some_and(|domain| !is_netbios(domain) && !is_dns(domain)) {
        name.invalid(errors, "runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    match user.len() {
        0 => name.invalid(errors, "runAsUserName's User cannot be empty"),
        length if length > MAX_USER => {
            name.invalid(errors, "runAsUserName's User length must not be longer than 104 characters");
        }
        _ => {}
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        name.invalid(errors, "runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(|c| NOT_IN_USER.contains(c)) {
        let detail = "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]";
        name.invalid(errors, detail);
    }
}

fn is_netbios(domain: &str) -> bool {
    let inner = |c: char| !"\\/:*?\"<>|".contains(c);
    let count = domain.chars().count();
    (1..=MAX_NETBIOS).contains(&count) && domain.chars().all(inner) && !domain.starts_with('.')
}

fn is_dns(domain: &str) -> bool {
    let label = |label: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        label.len() <= 63
            && edge(label.chars().next())
            && edge(label.chars().next_back())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    domain.split('.').all(label)
}

/// Calls with each container of a pod, in the order upstream visits them.
pub(crate) fn each_container(spec: &At<'_>, visit: &mut dyn FnMut(&At<'_>)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.field(list).items() {
            visit(&container);
        }
    }
}

/// All containers are processes of the host, or none is.
pub(crate) fn validate_host_process(spec: &At<'_>, errors: &mut ErrorList) {
    const FIELD: &str = "securityContext.windowsOptions.hostProcess";
    let of_pod = child(spec.value, FIELD).as_bool();
    let (mut all, mut of_host) = (0, 0);
    each_container(spec, &mut |container| {
        let own = container.field(FIELD);
        if let (Some(of_pod), Some(own_value)) = (of_pod, own.value.as_bool())
            && of_pod != own_value
        {
            own.invalid(
                errors,
                &format!("pod hostProcess value must be identical if both are specified, was {of_pod}"),
            );
        }
        all += 1;
        of_host += usize::from(own.value.as_bool().or(of_pod).unwrap_or(false));
    });
    if of_host == 0 {
        return;
    }
    if of_host != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(&spec.path(), &Value::from(""), detail);
    }
    let network = spec.field("hostNetwork");
    if !network.flag() {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&network.path(), &Value::Bool(false), detail);
    }
}

/// `os`: a known one, and nothing of the other.
pub(crate) fn validate_os(spec: &At<'_>, errors: &mut ErrorList) {
    let os = spec.field("os");
    if !os.present() {
        return;
    }
    match os.field("name").str() {
        "" => os.field("name").required(errors, ""),
        "linux" => validate_linux(spec, errors),
        "windows" => validate_windows(spec, errors),
        name => errors.not_supported(&os.path(), &Value::from(name), &["linux", "windows"]),
    }
}

fn validate_linux(spec: &At<'_>, errors: &mut ErrorList) {
    const DETAIL: &str = "windows options cannot be set for a linux pod";
    let mut check = |holder: &At<'_>| {
        let options = holder.field("securityContext.windowsOptions");
        if options.present() {
            options.forbidden(errors, DETAIL);
        }
    };
    check(spec);
    each_container(spec, &mut check);
}

fn validate_windows(spec: &At<'_>, errors: &mut ErrorList) {
    /// Whether it is enough to be there, or must be more than `false` or nothing.
    const OF_POD: [(&str, bool); 15] = [
        ("securityContext.appArmorProfile", true),
        ("securityContext.seLinuxOptions", true),
        ("hostUsers", true),
        ("hostPID", false),
        ("hostIPC", false),
        ("securityContext.seccompProfile", true),
        ("securityContext.fsGroup", true),
        ("securityContext.fsGroupChangePolicy", true),
        ("securityContext.sysctls", false),
        ("shareProcessNamespace", true),
        ("securityContext.runAsUser", true),
        ("securityContext.runAsGroup", true),
        ("securityContext.supplementalGroups", true),
        ("securityContext.supplementalGroupsPolicy", true),
        ("securityContext.seLinuxChangePolicy", true),
    ];
    const OF_CONTAINER: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    const DETAIL: &str = "cannot be set for a windows pod";
    for (field, by_presence) in OF_POD {
        let at = spec.field(field);
        if at.present() && (by_presence || !(at.is_empty() || at.value == &Value::Bool(false))) {
            at.forbidden(errors, DETAIL);
        }
    }
    each_container(spec, &mut |container| {
        let context = container.field("securityContext");
        for field in OF_CONTAINER {
            let at = context.field(field);
            if at.present() {
                at.forbidden(errors, DETAIL);
            }
        }
    });
}
