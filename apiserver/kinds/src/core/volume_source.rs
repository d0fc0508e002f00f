//! Validation of kinds of storage that a pod and a persistent volume may name in the same way.

use api_machinery::{ErrorList, Value, names};

use crate::at::At;
use crate::formats;

/// What names the storage: in a volume, a reference to a secret has a namespace too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Pod,
    Volume,
}

/// Driver names of CSI have at most so many bytes.
const MAX_DRIVER_NAME: usize = 63;
/// Bytes of a volume's name, a colon and the portal, where an initiator has a name.
const MAX_INITIATOR: usize = 64;
/// Bytes of a tenant's name.
const MAX_TENANT: usize = 64;
/// The largest partition and unit number.
const MAX_NUMBER: i64 = 255;
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Fields a kind of storage must have; the kinds with more rules follow below.
fn needed(kind: &str) -> &'static [&'static str] {
    match kind {
        "rbd" => &["monitors", "image"],
        "cephfs" => &["monitors"],
        "glusterfs" => &["endpoints", "path"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "portworxVolume" | "cinder" => &["volumeID"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "azureFile" => &["secretName", "shareName"],
        "azureDisk" => &["diskName", "diskURI"],
        _ => &[],
    }
}

pub(crate) fn validate(kind: &str, of: Of, source: &At<'_>, errors: &mut ErrorList) {
    for field in needed(kind) {
        source.field(field).need(errors);
    }
    match kind {
        "hostPath" => validate_host_path(source, errors),
        "nfs" => validate_nfs(source, errors),
        "gitRepo" => {
            source.field("repository").need(errors);
            formats::local_descending_path(&source.field("directory"), errors);
        }
        "gcePersistentDisk" => validate_disk(source, "persistentDisk", "pdName", errors),
        "awsElasticBlockStore" => validate_disk(source, "awsElasticBlockStore", "volumeID", errors),
        "iscsi" => validate_iscsi(source, of, errors),
        "fc" => validate_fc(source, errors),
        "flocker" => validate_flocker(source, errors),
        "quobyte" => validate_quobyte(source, errors),
        "flexVolume" => validate_flex(source, errors),
        "azureDisk" => validate_azure_disk(source, errors),
        "storageos" => validate_storageos(source, of, errors),
        "cinder" => validate_secret_ref(&source.field("secretRef"), of, errors),
        "glusterfs" if of == Of::Volume => validate_endpoints_namespace(source, errors),
        "azureFile" if of == Of::Volume => {
            let namespace = source.field("secretNamespace");
            if namespace.present() {
                namespace.need(errors);
            }
        }
        "local" => {
            let path = source.field("path");
            if path.need(errors) {
                formats::no_backsteps(&path, errors);
            }
        }
        "csi" => validate_csi(source, errors),
        _ => {}
    }
}

fn validate_host_path(source: &At<'_>, errors: &mut ErrorList) {
    let path = source.field("path");
    if !path.need(errors) {
        return;
    }
    formats::no_backsteps(&path, errors);
    let kind = source.field("type");
    if !HOST_PATH_TYPES.contains(&kind.str()) {
        kind.unsupported(errors, &HOST_PATH_TYPES);
    }
}

fn validate_nfs(source: &At<'_>, errors: &mut ErrorList) {
    source.field("server").need(errors);
    let path = source.field("path");
    path.need(errors);
    if !path.str().starts_with('/') {
        errors.invalid(&path.path(), &Value::from(path.str()), "must be an absolute path");
    }
}

/// The path of a Google disk has another name than the field.
fn validate_disk(source: &At<'_>, called: &str, id: &str, errors: &mut ErrorList) {
    let place = source.renamed(called);
    place.field(id).need(errors);
    let partition = place.field("partition");
    if partition.int().is_some_and(|number| !(0..=MAX_NUMBER).contains(&number)) {
        partition.invalid(errors, "must be between 1 and 255, inclusive");
    }
}

/// A pod's secret is named only; a volume's is in a namespace.
fn validate_secret_ref(reference: &At<'_>, of: Of, errors: &mut ErrorList) {
    if !reference.present() {
        return;
    }
    reference.field("name").need(errors);
    if of == Of::Volume {
        reference.field("namespace").need(errors);
    }
}

fn validate_iscsi(source: &At<'_>, of: Of, errors: &mut ErrorList) {
    source.field("targetPortal").need(errors);
    let iqn = source.field("iqn");
    if iqn.need(errors) {
        validate_initiator(&iqn, of, errors);
    }
    source.field("lun").between(errors, 0, MAX_NUMBER);
    let secret = source.field("secretRef");
    let needs_secret = source.field("chapAuthDiscovery").flag() || source.field("chapAuthSession").flag();
    if needs_secret && !secret.present() {
        secret.required(errors, "");
    }
    if of == Of::Volume && secret.present() {
        secret.field("name").need(errors);
    }
    let initiator = source.field("initiatorName");
    if initiator.present() {
        validate_initiator(&source.field("initiatorname").with(initiator.value), of, errors);
    }
}

/// `iqn.2001-04.com.example:storage`, `eui.` and 16, `naa.` and 32 characters.
fn validate_initiator(name: &At<'_>, of: Of, errors: &mut ErrorList) {
    let text = name.str();
    let rest = |text: &str, prefix: &str, length: usize| {
        let rest: Vec<char> = text.strip_prefix(prefix).unwrap_or("").chars().skip(1).collect();
        rest.len() == length && rest.iter().all(char::is_ascii_alphanumeric)
    };
    let fits = match text.get(..3) {
        Some("iqn") => is_qualified_iscsi_name(text),
        Some("eui") => rest(text, "eui", 16),
        Some("naa") => rest(text, "naa", 32),
        _ if of == Of::Pod => return name.invalid(errors, "must be valid format starting with iqn, eui, or naa"),
        _ => false,
    };
    if !fits {
        name.invalid(errors, "must be valid format");
    }
}

/// `iqn`, the year and month its owner had a domain, the domain reversed, and a name of the owner's.
fn is_qualified_iscsi_name(text: &str) -> bool {
    let Some((date, rest)) = text.strip_prefix("iqn.").and_then(|rest| rest.split_once('.')) else { return false };
    let dated = date.split_once('-').is_some_and(|(year, month)| {
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|c| c.is_ascii_digit());
        digits(year, 4) && digits(month, 2)
    });
    let Some((domain, name)) = rest.split_once(':') else { return false };
    let in_domain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
    let in_name = |c: char| !",;*&$|".contains(c) && !c.is_ascii_whitespace();
    dated && !domain.is_empty() && domain.bytes().all(in_domain) && !name.is_empty() && name.chars().all(in_name)
}

/// The kernel has so much room for a target with a named initiator.
pub(crate) fn validate_initiator_length(place: &At<'_>, name: &str, source: &At<'_>, errors: &mut ErrorList) {
    let portal = source.field("targetPortal").str();
    if source.field("initiatorName").present() && name.len() + 1 + portal.len() > MAX_INITIATOR {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                      iscsi.initiatorName is specified.";
        place.invalid(errors, detail);
    }
}

fn validate_fc(source: &At<'_>, errors: &mut ErrorList) {
    let (targets, wwids, lun) = (source.field("targetWWNs"), source.field("wwids"), source.field("lun"));
    if targets.is_empty() && wwids.is_empty() {
        targets.required(errors, "must specify either targetWWNs or wwids, but not both");
    }
    if targets.is_empty() {
        return;
    }
    if !wwids.is_empty() {
        targets.invalid(errors, "targetWWNs and wwids can not be specified simultaneously");
    }
    if lun.present() {
        lun.between(errors, 0, MAX_NUMBER);
    } else {
        lun.required(errors, "lun is required if targetWWNs is specified");
    }
}

fn validate_flocker(source: &At<'_>, errors: &mut ErrorList) {
    let (name, uuid) = (source.field("datasetName"), source.field("datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => source.required(errors, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid(&source.path(), &Value::from("resource"), detail);
        }
        _ => {}
    }
    if name.str().contains('/') {
        name.invalid(errors, "must not contain '/'");
    }
}

fn validate_quobyte(source: &At<'_>, errors: &mut ErrorList) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, tenant) = (source.field("registry"), source.field("tenant"));
    if registry.is_empty() {
        registry.required(errors, PAIRS);
    } else if tenant.str().len() > MAX_TENANT {
        tenant.required(errors, "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.str().split(',').filter(|pair| !is_host_and_port(pair)) {
            registry.invalid(errors, PAIRS);
        }
    }
    source.field("volume").need(errors);
}

/// As Go's `SplitHostPort` takes it: one colon, or an address in brackets before the last.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = |text: &str| !text.contains(['[', ']', ':']);
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => !inner.contains(['[', ']']) && plain(port),
        None => plain(host) && plain(port),
    }
}

fn validate_flex(source: &At<'_>, errors: &mut ErrorList) {
    source.field("driver").need(errors);
    let options = source.field("options");
    for (key, _) in options.entries() {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let normal = format!(".{}", namespace.to_lowercase());
        if normal.ends_with(".kubernetes.io") || normal.ends_with(".k8s.io") {
            let place = options.key(key);
            errors.invalid(&place.path(), &Value::from(key), "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn validate_azure_disk(source: &At<'_>, errors: &mut ErrorList) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let (caching, kind, uri) = (source.field("cachingMode"), source.field("kind"), source.field("diskURI"));
    caching.one_of_if_present(errors, &["None", "ReadOnly", "ReadWrite"]);
    kind.one_of_if_present(errors, &["Dedicated", "Managed", "Shared"]);
    match kind.str() {
        _ if !kind.present() => {}
        "Managed" if !uri.str().starts_with("/subscriptions/") => uri.unsupported(errors, &[MANAGED]),
        "Managed" => {}
        _ if !uri.str().starts_with("https://") => uri.unsupported(errors, &[BLOB]),
        _ => {}
    }
}

fn validate_storageos(source: &At<'_>, of: Of, errors: &mut ErrorList) {
    let name = source.field("volumeName");
    if name.need(errors) {
        name.format(errors, names::dns1123_label);
    }
    source.field("volumeNamespace").format_if_set(errors, names::dns1123_label);
    validate_secret_ref(&source.field("secretRef"), of, errors);
}

fn validate_endpoints_namespace(source: &At<'_>, errors: &mut ErrorList) {
    let namespace = source.field("endpointsNamespace");
    if !namespace.present() {
        return;
    }
    if namespace.is_empty() {
        namespace.invalid(errors, "if the endpointnamespace is set, it must be a valid namespace name");
    } else {
        namespace.format(errors, names::dns1123_label);
    }
}

/// A driver name: subdomain-like, upper case allowed, at most 63 bytes.
pub(crate) fn validate_driver_name(name: &At<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        return name.required(errors, "");
    }
    if name.str().len() > MAX_DRIVER_NAME {
        name.too_long(errors, MAX_DRIVER_NAME);
    }
    for message in names::dns1123_subdomain(&name.str().to_lowercase()) {
        name.invalid(errors, &message);
    }
}

/// Of persistent volumes; a pod's own has other fields.
fn validate_csi(source: &At<'_>, errors: &mut ErrorList) {
    const SECRETS: [&str; 4] =
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
    validate_driver_name(&source.field("driver"), errors);
    source.field("volumeHandle").need(errors);
    for secret in SECRETS {
        let reference = source.field(secret);
        if !reference.present() {
            continue;
        }
        let (name, namespace) = (reference.field("name"), reference.field("namespace"));
        if name.need(errors) {
            name.format(errors, names::dns1123_subdomain);
        }
        if namespace.need(errors) {
            namespace.format(errors, names::dns1123_label);
        }
    }
}
