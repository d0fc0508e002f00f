//! Who may import whom, and where what may live: the rules of docs/architecture.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Normal dependencies by crate.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().expect("dependencies").iter();
            (name(package), all.filter(|one| one["kind"].is_null()).map(name).collect())
        })
        .collect()
}

/// What each of our crates may import of our crates. A crate that is not here fails the test: say what it may.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("kontiki-proto", &[]),
    ("store-api", &[]),
    ("store-core", &["store-api", "kontiki-proto"]),
    ("store-engine", &["store-api", "store-core", "kontiki-proto"]),
    ("store-node", &["store-api", "store-core", "store-engine", "kontiki-proto"]),
    ("store-etcd", &["store-api", "kontiki-proto"]),
    ("store-sim", &["store-api", "store-core", "store-engine", "store-node", "kontiki-proto"]),
    ("api-machinery", &[]),
    ("api-schema", &["api-machinery"]),
    ("api-codec", &["api-machinery", "api-schema"]),
    ("api-kinds", &["api-cel", "api-machinery", "api-schema"]),
    ("api-admission", &["api-machinery", "api-schema"]),
    ("pki", &[]),
    ("api-auth", &["api-cel", "api-machinery", "pki"]),
    ("api-audit", &["api-machinery"]),
    ("api-cel", &["api-machinery"]),
    ("api-flow", &["api-machinery"]),
    ("api-cache", &["api-machinery", "api-schema", "api-codec", "store-api"]),
    ("api-encryption", &["api-machinery", "kontiki-proto", "store-api"]),
    (
        "api-registry",
        &[
            "api-machinery",
            "api-schema",
            "api-codec",
            "api-kinds",
            "api-admission",
            "api-auth",
            "api-flow",
            "api-cache",
            "pki",
            "store-api",
        ],
    ),
    (
        "api-http",
        &[
            "api-machinery",
            "api-schema",
            "api-codec",
            "api-kinds",
            "api-auth",
            "api-audit",
            "api-flow",
            "api-cache",
            "api-registry",
            "pki",
            "store-api",
        ],
    ),
    ("controller-logic", &["api-machinery"]),
    ("scheduler", &["api-machinery"]),
    // The store only for its leadership key: every object goes through the registry.
    (
        "controller-runtime",
        &[
            "controller-logic",
            "scheduler",
            "api-machinery",
            "api-schema",
            "api-codec",
            "api-cache",
            "api-registry",
            "store-api",
        ],
    ),
    ("kubelet-core", &["api-machinery"]),
    ("kubelet-cri", &["kontiki-proto"]),
    ("kubelet-agent", &["kubelet-core", "kubelet-cri", "kontiki-proto", "api-machinery", "pki"]),
    ("chaos", &["store-sim"]),
    ("system-tests", &["kontiki-proto", "pki"]),
];

/// The binary puts everything together and may import all of it.
const ROOT: &str = "kontiki";

#[test]
fn crates_import_only_what_the_design_lets_them() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let may: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, imports) in &dependencies {
        if name == ROOT {
            continue;
        }
        let Some(allowed) = may.get(name.as_str()) else {
            wrong.push(format!("{name} is not in MAY_IMPORT"));
            continue;
        };
        for import in imports.iter().filter(|import| ours.contains(import.as_str())) {
            if !allowed.contains(&import.as_str()) {
                wrong.push(format!("{name} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn third_party_crates_stay_where_they_belong() {
    // Crate, who may use it.
    let rules: &[(&str, &[&str])] = &[
        ("openraft", &["store-engine", "store-node"]),
        ("rocksdb", &["store-engine"]),
        (
            "tonic",
            &["kontiki-proto", "store-node", "store-etcd", "store-sim", "kubelet-cri", "kontiki", "system-tests"],
        ),
        ("hyper", &["api-http", "api-auth", "kubelet-agent", "kontiki", "chaos", "system-tests"]),
    ];
    let pure = [
        "store-core",
        "api-machinery",
        "api-schema",
        "api-codec",
        "api-kinds",
        "api-cel",
        "api-flow",
        "controller-logic",
        "scheduler",
        "kubelet-core",
    ];
    let mut wrong = Vec::new();
    for (name, imports) in dependencies() {
        for (import, users) in rules {
            if imports.contains(*import) && !users.contains(&name.as_str()) {
                wrong.push(format!("{name} uses {import}"));
            }
        }
        if pure.contains(&name.as_str()) && imports.contains("tokio") {
            wrong.push(format!("{name} decides and must not use tokio"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `file: line` of every line of Rust code under the workspace for which `bad` answers yes.
fn lines(bad: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                let hits = text.lines().filter(|line| bad(line));
                found.extend(hits.map(|line| format!("{}: {}", path.display(), line.trim())));
            }
        }
    }
    found
}

#[test]
fn nothing_unfinished_lands() {
    let words = [concat!("to", "do!("), concat!("un", "implemented!("), concat!("db", "g!(")];
    let found = lines(|line| words.iter().any(|word| line.contains(word)));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
