//! What a backup holds: a description with the cluster's keys, then one snapshot of the store, as a replica sends it.
//!
//! ```text
//! length u32, big-endian
//! description       JSON of that length
//! snapshot          to the end, in the store's own format, with its own checksums
//! ```

use std::collections::BTreeMap;
use std::io::Read;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::installed::{Installed, Kind};

/// Longest description that is read.
const MAX_DESCRIPTION_BYTES: u32 = 4 << 20;
/// The newest form of a description that this version writes and reads: of a stand-alone store. That of a control
/// plane is the first one still.
const FORMAT: u32 = 2;

fn format(kind: Kind) -> u32 {
    match kind {
        Kind::Server => 1,
        Kind::Store => 2,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Description {
    pub(crate) format: u32,
    /// Of which it is.
    #[serde(default, skip_serializing_if = "Kind::is_server")]
    pub(crate) kind: Kind,
    /// The version of kontiki that made it.
    pub(crate) version: String,
    #[serde(rename = "clusterID")]
    pub(crate) cluster_id: String,
    pub(crate) created: Timestamp,
    /// The newest revision in it.
    pub(crate) revision: u64,
    /// Of a control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service_cidr: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node_ports: Option<(u16, u16)>,
    /// CAs and service-account keys, by file name: without them no client of the cluster would know it again.
    pub(crate) files: BTreeMap<String, String>,
}

impl Description {
    /// Of a store whose keys are nowhere but on its machines: the new one gets keys of its own.
    pub(crate) fn of_keyless_store(created: Timestamp, revision: u64) -> Self {
        Self {
            format: format(Kind::Store),
            kind: Kind::Store,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: String::new(),
            created,
            revision,
            service_cidr: None,
            node_ports: None,
            files: BTreeMap::new(),
        }
    }
}

/// The beginning of a backup, made on a replica.
pub(crate) fn head(config: &dyn Installed, revision: u64, now: Timestamp) -> Result<Vec<u8>, Failure> {
    let description = Description {
        format: format(config.kind()),
        kind: config.kind(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_id: config.cluster_id().to_owned(),
        created: now,
        revision,
        service_cidr: config.services().map(|(cidr, _)| cidr.to_owned()),
        node_ports: config.services().map(|(_, ports)| ports),
        files: keys(config.pki_dir())?,
    };
    let json = serde_json::to_vec(&description)?;
    let length = u32::try_from(json.len())?;
    Ok([&length.to_be_bytes()[..], &json].concat())
}

/// The CAs and service-account keys, by file name.
pub(crate) fn keys(pki_dir: &std::path::Path) -> Result<BTreeMap<String, String>, Failure> {
    let entries = std::fs::read_dir(pki_dir).map_err(|error| format!("{}: {error}", pki_dir.display()))?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_key(&name) {
            let content = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            files.insert(name, content);
        }
    }
    Ok(files)
}

/// What replicas share, and nothing that merely lies there.
fn is_key(name: &str) -> bool {
    let ca = ["ca", "peer-ca", "etcd-ca"].iter().any(|ca| name == format!("{ca}.crt") || name == format!("{ca}.key"));
    ca || (name.starts_with("sa") && name.ends_with(".key"))
}

/// Reads the description; the snapshot follows.
pub(crate) fn read(content: &mut impl Read) -> Result<Description, Failure> {
    let mut length = [0; 4];
    content.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_DESCRIPTION_BYTES {
        return Err(format!("its description has {length} bytes, at most {MAX_DESCRIPTION_BYTES} are read").into());
    }
    let mut json = vec![0; length as usize];
    content.read_exact(&mut json)?;
    let format = serde_json::from_slice::<serde_json::Value>(&json)?["format"].as_u64();
    if !format.is_some_and(|format| (1..=u64::from(FORMAT)).contains(&format)) {
        let found = format.map_or("unknown".to_owned(), |format| format.to_string());
        return Err(format!(
            "the form of its description is {found}, this version reads up to {FORMAT}: use a newer kontiki"
        )
        .into());
    }
    let description: Description = serde_json::from_slice(&json)?;
    if let Some(name) = description.files.keys().find(|name| !is_key(name)) {
        return Err(format!("it names a file {name:?}, which is no key of a cluster").into());
    }
    Ok(description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Endpoint, ServerConfiguration};
    use crate::store::StoreConfiguration;

    #[test]
    fn a_description_is_read_back_and_others_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        for name in ["ca.crt", "ca.key", "sa.key", "sa-old.key", "notes.txt"] {
            std::fs::write(dir.path().join(name), name).expect("written");
        }
        let endpoint = Endpoint { listen: "127.0.0.1:1".parse().expect("address"), advertise: "a:1".into() };
        let config =
            ServerConfiguration::new(1, "abcd", "/d".into(), dir.path().into(), endpoint.clone(), endpoint.clone());
        let now = "2026-11-22T00:00:00Z".parse().expect("time");
        let mut bytes = head(&config, 7, now).expect("made");
        bytes.extend_from_slice(b"snapshot");
        let mut rest = bytes.as_slice();
        let found = read(&mut rest).expect("read");
        assert_eq!(
            (found.cluster_id.as_str(), found.revision, found.created, rest),
            ("abcd", 7, now, &b"snapshot"[..])
        );
        assert_eq!((found.format, found.kind, found.node_ports), (1, Kind::Server, Some((30000, 32767))));
        let store = StoreConfiguration::new(1, "abcd", "/d".into(), dir.path().into(), endpoint.clone(), endpoint);
        let bytes_of_store = head(&store, 7, now).expect("made");
        let of_store = read(&mut bytes_of_store.as_slice()).expect("read");
        assert_eq!((of_store.format, of_store.kind, of_store.service_cidr), (2, Kind::Store, None));
        let names: Vec<&str> = found.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["ca.crt", "ca.key", "sa-old.key", "sa.key"]);

        let made = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut json = serde_json::to_value(&found).expect("JSON");
            change(&mut json);
            let json = json.to_string();
            let length = u32::try_from(json.len()).expect("short").to_be_bytes();
            let bytes = [&length[..], json.as_bytes()].concat();
            read(&mut bytes.as_slice()).expect_err("refused").to_string()
        };
        assert!(made(&|json| json["format"] = 3.into()).contains("use a newer kontiki"));
        assert!(made(&|json| json["files"]["../x"] = "y".into()).contains("no key of a cluster"));
        assert!(read(&mut &bytes[..20]).is_err(), "cut short");
        assert!(read(&mut &[0xff; 8][..]).is_err(), "no description");
    }
}
