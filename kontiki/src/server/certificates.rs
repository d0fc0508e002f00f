//! Certificates of a running replica: what there is, renewing, and one CA taking over from another. Everything that
//! serves or checks certificates reads its files again by itself; nothing is restarted.
//!
//! A CA is replaced in steps, each of which every replica takes before any takes the next: the new one is *trusted*
//! besides the old one; it *signs*, and the replica's own certificates are made anew; the old one is *dropped*. Each
//! step may be taken again.

use std::path::{Path, PathBuf};

use api_machinery::{ApiError, Value};
use jiff::Timestamp;
use pki::authority::{Authority, CertifiedKey, expiry};
use serde_json::json;

use super::identity::{Authorities, ETCD_CA, Identity, Which};
use super::setup;
use crate::Failure;
use crate::installed::{Installed, Kind};
use crate::store;

/// The CAs that can be replaced: names of their files, and what they call themselves.
const AUTHORITIES: [(&str, &str); 3] =
    [("ca", "kontiki-ca"), ("peer-ca", "kontiki-peer-ca"), (ETCD_CA, "kontiki-etcd-ca")];
/// The admin credentials that `--init` and `--join` write.
const ADMIN: &str = "admin.kubeconfig";
/// Admin credentials are made anew when less than this is left.
const RENEW_ADMIN_SECONDS: i64 = 60 * 86_400;
const EXPIRES: &str = "kontiki_certificate_expiration_timestamp_seconds";

/// Name and end of every certificate of this replica, its CAs included, and what it keeps for clients.
pub(super) fn expiries(config: &dyn Installed, identity: &Identity) -> Vec<(String, Timestamp)> {
    let of = |name: &str, file: PathBuf| Some((name.to_owned(), expiry(&std::fs::read_to_string(file).ok()?).ok()?));
    let client = keeps_client(config).then(|| of("client", client_file(config))).flatten();
    let authorities = AUTHORITIES.iter().filter_map(|(name, _)| of(name, path(config, name, "crt")));
    identity.expiries().into_iter().chain(client).chain(authorities).collect()
}

/// What a stand-alone store has written for etcd's clients.
fn client_file(config: &dyn Installed) -> PathBuf {
    config.data_dir().join("client.crt")
}

fn keeps_client(config: &dyn Installed) -> bool {
    config.kind() == Kind::Store && client_file(config).exists()
}

/// Shows when each certificate ends.
fn measure(config: &dyn Installed, identity: &Identity) {
    for (name, end) in expiries(config, identity) {
        metrics::gauge!(EXPIRES, "name" => name).set(end.as_second() as f64);
    }
}

/// Makes what is missing or soon ends, and measures what there is.
pub(crate) fn ensure(config: &dyn Installed, now: Timestamp) -> Result<Identity, Failure> {
    issue(config, Which::Due, now)
}

fn issue(config: &dyn Installed, which: Which, now: Timestamp) -> Result<Identity, Failure> {
    let identity = Identity::ensure(config, which, now)?;
    let admin = config.data_dir().join(ADMIN);
    if admin.exists() && (which == Which::All || ends_soon(&admin, now)) {
        write_admin(config)?;
    }
    if keeps_client(config) {
        let authorities = Authorities::of_replica(config, now)?;
        store::write_client(config.data_dir(), config.pki_dir(), &authorities, which, now)?;
    }
    measure(config, &identity);
    Ok(identity)
}

fn ends_soon(admin: &Path, now: Timestamp) -> bool {
    let kubeconfig = crate::kubeconfig::Kubeconfig::read(admin).ok();
    let end = kubeconfig.and_then(|own| expiry(&own.certificate_pem).ok());
    end.is_none_or(|end| end.as_second() - now.as_second() < RENEW_ADMIN_SECONDS)
}

fn write_admin(config: &dyn Installed) -> Result<(), Failure> {
    setup::write_admin(&authority(config, "ca")?, &config.api_url(), &config.data_dir().join(ADMIN))
}

fn path(config: &dyn Installed, name: &str, kind: &str) -> PathBuf {
    config.pki_dir().join(format!("{name}.{kind}"))
}

fn authority(config: &dyn Installed, name: &str) -> Result<Authority, Failure> {
    let read = |kind: &str| {
        let path = path(config, name, kind);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    Ok(Authority::from_pem(&read("crt")?, &read("key")?)?)
}

/// `certificates/...`
pub(crate) fn call(config: &dyn Installed, what: &str, body: &Value, now: Timestamp) -> Result<Value, ApiError> {
    let step = || Step::of(config, body);
    let done = match what {
        "renew" => renew(config, now),
        "ca/state" => step()?.state(),
        "ca/make" => step()?.make(now),
        "ca/trust" => step()?.trust(body, now),
        "ca/sign" => step()?.sign(now),
        "ca/drop" => step()?.drop_old(now),
        _ => return Err(ApiError::no_such_path()),
    };
    done.map_err(|error| ApiError::internal(format!("the certificates of this replica were not changed: {error}")))
}

/// All own certificates anew, however long the present ones are good.
fn renew(config: &dyn Installed, now: Timestamp) -> Result<Value, Failure> {
    let identity = issue(config, Which::All, now)?;
    let all = identity.expiries().into_iter().map(|(name, end)| json!({"name": name, "expires": end.to_string()}));
    Ok(json!({"certificates": all.collect::<Vec<_>>()}))
}

/// One CA on its way to be replaced.
struct Step<'a> {
    config: &'a dyn Installed,
    name: &'static str,
    common_name: &'static str,
}

impl<'a> Step<'a> {
    fn of(config: &'a dyn Installed, body: &Value) -> Result<Self, ApiError> {
        let asked = body["ca"].as_str().unwrap_or("");
        let found = AUTHORITIES.iter().find(|(name, _)| *name == asked && path(config, name, "crt").exists());
        let (name, common_name) =
            *found.ok_or_else(|| ApiError::bad_request(format!("there is no CA {asked:?} here")))?;
        Ok(Self { config, name, common_name })
    }

    fn next(&self, kind: &str) -> PathBuf {
        self.config.pki_dir().join(format!("{}-next.{kind}", self.name))
    }

    fn trusted(&self) -> Result<String, Failure> {
        Ok(std::fs::read_to_string(path(self.config, self.name, "crt"))?)
    }

    fn next_pair(&self) -> Result<Option<CertifiedKey>, Failure> {
        if !self.next("crt").exists() {
            return Ok(None);
        }
        let read = |kind: &str| std::fs::read_to_string(self.next(kind));
        Ok(Some(CertifiedKey { certificate_pem: read("crt")?, key_pem: read("key")? }))
    }

    /// Which certificate signs, which is to, and how many are trusted.
    fn state(&self) -> Result<Value, Failure> {
        let signing = authority(self.config, self.name)?.signing_pem();
        let next = self.next_pair()?.map(|pair| pair.certificate_pem);
        Ok(json!({"signing": signing, "next": next, "trusted": blocks(&self.trusted()?).len()}))
    }

    /// The CA to come, with its key: for the other replicas, over the admin's connection. Made once.
    fn make(&self, now: Timestamp) -> Result<Value, Failure> {
        let pair = match self.next_pair()? {
            Some(pair) => pair,
            None => {
                let made = Authority::create(self.common_name, now)?;
                let pair = CertifiedKey { certificate_pem: made.signing_pem(), key_pem: made.key_pem() };
                pair.write(self.config.pki_dir(), &format!("{}-next", self.name))?;
                pair
            }
        };
        Ok(json!({"certificate": pair.certificate_pem, "key": pair.key_pem}))
    }

    /// Nothing is to be done where it signs already.
    fn trust(&self, body: &Value, now: Timestamp) -> Result<Value, Failure> {
        let text = |field: &str| body[field].as_str().ok_or_else(|| format!("{field} is missing"));
        let pair = CertifiedKey { certificate_pem: text("certificate")?.to_owned(), key_pem: text("key")?.to_owned() };
        let given = Authority::from_pem(&pair.certificate_pem, &pair.key_pem)?.signing_pem();
        if authority(self.config, self.name)?.signing_pem() == given {
            return self.state();
        }
        pair.write(self.config.pki_dir(), &format!("{}-next", self.name))?;
        let mut all = blocks(&self.trusted()?);
        if !all.contains(&given) {
            all.push(given);
            self.write_trusted(&all)?;
            // What is kept for clients names the CAs, too.
            ensure(self.config, now)?;
        }
        self.state()
    }

    /// The key is what decides who signs: it changes last, in one rename, and the order of the certificates before it
    /// says nothing.
    fn sign(&self, now: Timestamp) -> Result<Value, Failure> {
        if let Some(pair) = self.next_pair()? {
            let next = Authority::from_pem(&pair.certificate_pem, &pair.key_pem)?.signing_pem();
            let mut all = blocks(&self.trusted()?);
            all.retain(|own| *own != next);
            all.insert(0, next);
            self.write_trusted(&all)?;
            pki::write_private(&path(self.config, self.name, "key"), &pair.key_pem)?;
            std::fs::remove_file(self.next("crt"))?;
            std::fs::remove_file(self.next("key"))?;
        }
        // Also where another replica changed the files that both have.
        ensure(self.config, now)?;
        if self.config.data_dir().join(ADMIN).exists() {
            write_admin(self.config)?;
        }
        self.state()
    }

    fn drop_old(&self, now: Timestamp) -> Result<Value, Failure> {
        if self.next("crt").exists() {
            return Err("another CA is to take over: go on with that first".into());
        }
        self.write_trusted(&[authority(self.config, self.name)?.signing_pem()])?;
        // What is kept for clients names the CAs, too.
        ensure(self.config, now)?;
        if self.config.data_dir().join(ADMIN).exists() {
            write_admin(self.config)?;
        }
        self.state()
    }

    fn write_trusted(&self, all: &[String]) -> Result<(), Failure> {
        Ok(pki::write_public(&path(self.config, self.name, "crt"), &all.concat())?)
    }
}

/// The certificates of a text, each in one form.
fn blocks(pem: &str) -> Vec<String> {
    pki::authority::certificates(pem).unwrap_or_else(|error| {
        tracing::error!(%error, "the certificates of a CA cannot be read");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Endpoint, ServerConfiguration};

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().expect("a time")
    }

    fn replica(dir: &Path, id: u64) -> ServerConfiguration {
        let endpoint = |port: u16| Endpoint {
            listen: format!("127.0.0.1:{port}").parse().expect("an address"),
            advertise: format!("127.0.0.1:{port}"),
        };
        let data = dir.join(format!("data-{id}"));
        ServerConfiguration::new(id, "c0ffee00", data.clone(), data.join("pki"), endpoint(6443), endpoint(6444))
    }

    fn server_certificate(config: &ServerConfiguration) -> String {
        std::fs::read_to_string(config.data_dir.join("certificates/apiserver.crt")).expect("a certificate")
    }

    fn step(config: &ServerConfiguration, what: &str, body: &Value) -> Value {
        call(config, &format!("ca/{what}"), body, now()).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    #[test]
    fn renewing_makes_everything_anew() {
        let dir = tempfile::tempdir().expect("dir");
        let config = replica(dir.path(), 1);
        ensure(&config, now()).expect("made");
        let before = server_certificate(&config);
        ensure(&config, now()).expect("kept");
        assert_eq!(server_certificate(&config), before, "a good one is kept");
        let answer = call(&config, "renew", &json!({}), now()).expect("renewed");
        assert_ne!(server_certificate(&config), before);
        assert_eq!(answer["certificates"].as_array().map(Vec::len), Some(3));
    }

    /// Two replicas of one CA, and every step taken twice, as after an interruption.
    #[test]
    fn a_ca_takes_over_step_by_step() {
        let dir = tempfile::tempdir().expect("dir");
        let replicas = [replica(dir.path(), 1), replica(dir.path(), 2)];
        ensure(&replicas[0], now()).expect("made");
        std::fs::create_dir_all(&replicas[1].pki_dir).expect("dir");
        for name in ["ca.crt", "ca.key", "peer-ca.crt", "peer-ca.key"] {
            std::fs::copy(replicas[0].pki_dir.join(name), replicas[1].pki_dir.join(name)).expect("copied");
        }
        ensure(&replicas[1], now()).expect("made");
        let ca = json!({"ca": "ca"});
        let old = step(&replicas[0], "state", &ca)["signing"].clone();
        let made = step(&replicas[0], "make", &ca);
        assert_eq!(step(&replicas[0], "make", &ca), made, "made once");
        let trust = json!({"ca": "ca", "certificate": made["certificate"], "key": made["key"]});
        for replica in replicas.iter().chain(&replicas) {
            let state = step(replica, "trust", &trust);
            assert_eq!((&state["signing"], &state["next"], &state["trusted"]), (&old, &made["certificate"], &json!(2)));
        }
        assert!(call(&replicas[0], "ca/drop", &ca, now()).is_err(), "not while another is to come");
        for replica in replicas.iter().chain(&replicas) {
            let before = server_certificate(replica);
            let state = step(replica, "sign", &ca);
            assert_eq!(
                (&state["signing"], &state["next"], &state["trusted"]),
                (&made["certificate"], &Value::Null, &json!(2))
            );
            let trusted = std::fs::read_to_string(replica.pki_dir.join("ca.crt")).expect("the CA");
            assert!(trusted.starts_with(made["certificate"].as_str().expect("PEM")), "the new one first");
            // The second time there is nothing left to do.
            assert_eq!(server_certificate(replica) == before, replica.data_dir.join("seen").exists());
            std::fs::write(replica.data_dir.join("seen"), "").expect("written");
        }
        for replica in replicas.iter().chain(&replicas) {
            assert_eq!(step(replica, "drop", &ca)["trusted"], 1);
            assert_eq!(step(replica, "trust", &trust)["trusted"], 1, "it signs already");
        }
        assert!(call(&replicas[0], "ca/state", &json!({"ca": "other"}), now()).is_err());
    }

    #[test]
    fn a_store_renews_what_it_shows_and_what_it_keeps_for_clients() {
        let dir = tempfile::tempdir().expect("dir");
        let (data, now) = (dir.path().join("data"), crate::now());
        let endpoint = replica(dir.path(), 1).api;
        let pki_dir = data.join("pki");
        let config =
            store::StoreConfiguration::new(1, "c0ffee00", data.clone(), pki_dir.clone(), endpoint.clone(), endpoint);
        let authorities = Authorities::of_replica(&config, now).expect("made");
        store::write_client(&data, &pki_dir, &authorities, Which::Due, now).expect("written");
        let all = || {
            ["certificates/etcd.crt", "certificates/peer.crt", "client.crt"]
                .map(|name| std::fs::read(data.join(name)).ok())
        };
        ensure(&config, now).expect("made");
        let before = all();
        assert!(before.iter().all(Option::is_some));
        ensure(&config, now + jiff::SignedDuration::from_hours(24 * 300)).expect("kept");
        assert_eq!(all(), before);
        ensure(&config, now + jiff::SignedDuration::from_hours(24 * 310)).expect("renewed");
        assert!(all().iter().zip(&before).all(|(now, before)| now != before), "60 days before they end");
    }

    #[test]
    fn admin_credentials_are_renewed_before_they_end() {
        let dir = tempfile::tempdir().expect("dir");
        let config = replica(dir.path(), 1);
        ensure(&config, crate::now()).expect("made");
        write_admin(&config).expect("written");
        let admin = || std::fs::read_to_string(config.data_dir.join(ADMIN)).expect("there");
        let before = admin();
        ensure(&config, crate::now()).expect("kept");
        assert_eq!(admin(), before);
        ensure(&config, crate::now() + jiff::SignedDuration::from_hours(24 * 310)).expect("renewed");
        assert_ne!(admin(), before);
    }
}
