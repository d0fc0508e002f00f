//! Kubeconfig files: written for admins and nodes, read by the admin commands.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Failure;

/// Who connects where.
pub(crate) struct Kubeconfig {
    pub(crate) server: String,
    pub(crate) ca_pem: String,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Kubeconfig {
    /// Writes the file, 0600, with everything inline.
    pub(crate) fn write(&self, path: &Path, user: &str) -> Result<(), Failure> {
        let document = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "kontiki",
            "clusters": [{"name": "kontiki", "cluster": {
                "server": self.server, "certificate-authority-data": STANDARD.encode(&self.ca_pem)}}],
            "users": [{"name": user, "user": {
                "client-certificate-data": STANDARD.encode(&self.certificate_pem),
                "client-key-data": STANDARD.encode(&self.key_pem)}}],
            "contexts": [{"name": "kontiki", "context": {"cluster": "kontiki", "user": user}}],
        });
        // One line per field, however long: people and scripts take single fields out of these files.
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        pki::write_private(path, &serde_saphyr::to_string_with_options(&document, options)?)?;
        Ok(())
    }

    /// Reads the current context. Data may be inline or in files beside it.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let document: Value = serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let context = named(&document, "contexts", document["current-context"].as_str(), "context");
        let context = context.ok_or_else(|| format!("{} has no current context", path.display()))?;
        let cluster = named(&document, "clusters", context["cluster"].as_str(), "cluster");
        let cluster = cluster.ok_or_else(|| format!("{} lacks the cluster of its context", path.display()))?;
        let user = named(&document, "users", context["user"].as_str(), "user");
        let user = user.ok_or_else(|| format!("{} lacks the user of its context", path.display()))?;
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        let server = cluster["server"].as_str().ok_or_else(|| format!("{} names no server", path.display()))?;
        Ok(Self {
            server: server.trim_end_matches('/').to_owned(),
            ca_pem: data(cluster, "certificate-authority", &dir)?,
            certificate_pem: data(user, "client-certificate", &dir)?,
            key_pem: data(user, "client-key", &dir)?,
        })
    }
}

/// Has the cluster of a file's current context trusted by another CA as well. Everything else of the file stays.
pub(crate) fn trust_also(path: &Path, ca_pem: &str) -> Result<(), Failure> {
    let known = Kubeconfig::read(path)?.ca_pem;
    if known.contains(ca_pem.trim()) {
        return Ok(());
    }
    let mut document: Value = serde_saphyr::from_str(&std::fs::read_to_string(path)?)?;
    let context = named(&document, "contexts", document["current-context"].as_str(), "context");
    let cluster = context.and_then(|context| context["cluster"].as_str()).unwrap_or("").to_owned();
    let clusters = document["clusters"].as_array_mut().into_iter().flatten();
    for entry in clusters.filter(|entry| entry["name"] == cluster.as_str()) {
        let Some(map) = entry["cluster"].as_object_mut() else { continue };
        map.remove("certificate-authority");
        let both = format!("{}\n{ca_pem}", known.trim_end());
        map.insert("certificate-authority-data".to_owned(), STANDARD.encode(both).into());
    }
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    pki::write_private(path, &serde_saphyr::to_string_with_options(&document, options)?)?;
    Ok(())
}

fn named<'a>(document: &'a Value, list: &str, name: Option<&str>, inner: &str) -> Option<&'a Value> {
    let entries = document.get(list)?.as_array()?;
    entries.iter().find(|entry| entry["name"].as_str() == name && name.is_some())?.get(inner)
}

/// `FIELD-data` in base64, or the file that `FIELD` names.
fn data(section: &Value, field: &str, dir: &Path) -> Result<String, Failure> {
    if let Some(inline) = section[&format!("{field}-data")].as_str() {
        return Ok(String::from_utf8(STANDARD.decode(inline)?)?);
    }
    let name = section[field].as_str().ok_or_else(|| format!("the kubeconfig has no {field}"))?;
    let file: PathBuf = dir.join(name);
    std::fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes_one_line_a_field() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("k");
        let written = Kubeconfig {
            server: "https://127.0.0.1:6443".into(),
            ca_pem: "ca".repeat(300),
            certificate_pem: "certificate".repeat(100),
            key_pem: "key".into(),
        };
        written.write(&path, "admin").expect("writes");
        let read = Kubeconfig::read(&path).expect("reads");
        assert_eq!((read.server, read.ca_pem, read.key_pem), (written.server, written.ca_pem, written.key_pem));
        trust_also(&path, "another").expect("writes");
        trust_also(&path, "another").expect("knows it already");
        let both = Kubeconfig::read(&path).expect("reads");
        assert_eq!((both.ca_pem, both.key_pem), (format!("{}\nanother", "ca".repeat(300)), "key".to_owned()));
        let text = std::fs::read_to_string(&path).expect("text");
        let line = text.lines().find(|line| line.contains("client-certificate-data:")).expect("the field");
        assert!(line.len() > 1000, "{line}");
    }
}
