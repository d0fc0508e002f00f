//! Images made from files of this machine, in milliseconds and without a registry: what the runtime
//! imports is a tar in the layout of OCI images.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The image every sandbox holds its namespaces with.
pub const PAUSE: &str = "kontiki.local/pause:1";
/// A web server and a shell, for a first Deployment. Listens on port 8080.
pub const SAMPLE: &str = "kontiki.local/sample:1";

/// Whether an image was made on this node: nothing could pull it again.
pub(crate) fn is_local(reference: &str) -> bool {
    reference.starts_with("kontiki.local/")
}

/// Debian's statically linked busybox.
const BUSYBOX: &str = "/bin/busybox";

/// A file of an image.
#[derive(Clone, Debug)]
pub enum Entry {
    Directory,
    File { content: Vec<u8>, executable: bool },
    Link { target: String },
}

/// An image of one layer.
#[derive(Clone, Debug)]
pub struct Image {
    pub reference: String,
    /// Absolute path to entry. Parents are added where missing.
    pub files: BTreeMap<String, Entry>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
}

/// The pause image: busybox that sleeps for ever and ends at once when told to.
pub fn pause() -> io::Result<Image> {
    let script = include_str!("../../../deploy/images/pause/pause.sh");
    let mut files = BTreeMap::new();
    files.insert("/bin/busybox".to_owned(), executable(fs::read(BUSYBOX)?));
    files.insert("/pause".to_owned(), executable(script.as_bytes().to_vec()));
    Ok(image(PAUSE, files, &["/bin/busybox", "sh", "/pause"]))
}

/// The sample image: busybox with its applets, serving `/www` on port 8080.
pub fn sample() -> io::Result<Image> {
    let mut files = BTreeMap::new();
    files.insert("/bin/busybox".to_owned(), executable(fs::read(BUSYBOX)?));
    for applet in include_str!("../../../deploy/images/sample/applets").split_whitespace() {
        files.insert(format!("/bin/{applet}"), Entry::Link { target: "busybox".to_owned() });
    }
    let page = include_bytes!("../../../deploy/images/sample/index.html");
    files.insert("/www/index.html".to_owned(), Entry::File { content: page.to_vec(), executable: false });
    let run = include_str!("../../../deploy/images/sample/run.sh");
    files.insert("/run.sh".to_owned(), executable(run.as_bytes().to_vec()));
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n".to_vec();
    files.insert("/etc/passwd".to_owned(), Entry::File { content: passwd, executable: false });
    for dir in ["/tmp", "/root", "/proc", "/sys", "/dev"] {
        files.insert(dir.to_owned(), Entry::Directory);
    }
    // A command and no entrypoint: `kubectl run ... -- COMMAND` replaces it.
    let command = vec!["/bin/sh".to_owned(), "/run.sh".to_owned()];
    Ok(Image { command, ..image(SAMPLE, files, &[]) })
}

/// Writes the pause and the sample image below `dir`; the answer is their tar files.
pub fn write_all(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir)?;
    let images = [("pause.tar", pause()?), ("sample.tar", sample()?)];
    let write = |(name, image): &(&str, Image)| {
        let path = dir.join(name);
        write_tar(image, fs::File::create(&path)?)?;
        Ok(path)
    };
    images.iter().map(write).collect()
}

fn executable(content: Vec<u8>) -> Entry {
    Entry::File { content, executable: true }
}

fn image(reference: &str, files: BTreeMap<String, Entry>, entrypoint: &[&str]) -> Image {
    Image {
        reference: reference.to_owned(),
        files,
        entrypoint: entrypoint.iter().map(|s| (*s).to_owned()).collect(),
        command: Vec::new(),
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        working_dir: "/".to_owned(),
    }
}

struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: hex::encode(Sha256::digest(&bytes)), bytes }
    }

    fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.bytes.len()})
    }
}

/// Writes an image as a tar in OCI layout. The same files give the same bytes.
pub fn write_tar(image: &Image, output: impl Write) -> io::Result<()> {
    let layer = Blob::new(layer(&image.files)?);
    let config = Blob::json(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint, "Cmd": image.command, "Env": image.env, "WorkingDir": image.working_dir,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
        "history": [{"created_by": "kontiki"}],
    }));
    let manifest = Blob::json(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    }));
    let mut named = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    named["annotations"] = json!({"io.containerd.image.name": image.reference, "org.opencontainers.image.ref.name": tag(&image.reference)});
    let index = json!({"schemaVersion": 2, "manifests": [named]}).to_string();
    let mut tar = tar::Builder::new(output);
    add_file(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, false)?;
    add_file(&mut tar, "index.json", index.as_bytes(), false)?;
    for blob in [&manifest, &config, &layer] {
        add_file(&mut tar, &format!("blobs/sha256/{}", blob.digest), &blob.bytes, false)?;
    }
    tar.into_inner()?.flush()
}

fn tag(reference: &str) -> &str {
    reference.rsplit_once(':').map_or("latest", |(_, tag)| tag)
}

/// As images name this machine's architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn layer(files: &BTreeMap<String, Entry>) -> io::Result<Vec<u8>> {
    let mut all = files.clone();
    for path in files.keys() {
        let parents =
            Path::new(path).ancestors().skip(1).filter_map(Path::to_str).filter(|p| *p != "/" && !p.is_empty());
        for parent in parents {
            all.entry(parent.to_owned()).or_insert(Entry::Directory);
        }
    }
    let mut tar = tar::Builder::new(Vec::new());
    for (path, entry) in &all {
        let name = path.trim_start_matches('/');
        match entry {
            Entry::File { content, executable } => add_file(&mut tar, name, content, *executable)?,
            Entry::Directory => {
                let mut header = header(tar::EntryType::Directory, if name == "tmp" { 0o1777 } else { 0o755 }, 0);
                tar.append_data(&mut header, format!("{name}/"), io::empty())?;
            }
            Entry::Link { target } => {
                let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                tar.append_link(&mut header, name, target)?;
            }
        }
    }
    tar.into_inner()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn add_file<W: Write>(tar: &mut tar::Builder<W>, name: &str, content: &[u8], executable: bool) -> io::Result<()> {
    let mut header = header(tar::EntryType::Regular, if executable { 0o755 } else { 0o644 }, content.len() as u64);
    tar.append_data(&mut header, name, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_names_what_it_holds() {
        let files = BTreeMap::from([("/a/b".to_owned(), executable(b"x".to_vec()))]);
        let mut bytes = Vec::new();
        write_tar(&image("kontiki.local/t:1", files, &["/a/b"]), &mut bytes).expect("a tar");
        let mut names = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().expect("entries") {
            let mut entry = entry.expect("entry");
            let name = entry.path().expect("path").display().to_string();
            let mut content = Vec::new();
            io::Read::read_to_end(&mut entry, &mut content).expect("content");
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(hex::encode(Sha256::digest(&content)), digest);
            }
            names.push(name);
        }
        assert_eq!(names.len(), 5);
        assert_eq!(&names[..2], ["oci-layout", "index.json"]);
    }
}
