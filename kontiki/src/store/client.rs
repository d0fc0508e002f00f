//! What etcd's clients of a store need.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use pki::authority::Authority;

use crate::Failure;
use crate::installed::{self, Installed, Kind};
use crate::server::identity::{self, Authorities, Ca, Identity, Which};

/// `ca.crt`, `client.crt` and `client.key` in a directory.
pub(crate) fn write_client(
    dir: &Path,
    pki_dir: &Path,
    authorities: &Authorities,
    which: Which,
    now: Timestamp,
) -> Result<(), Failure> {
    let leaf = identity::etcd_client(Ca::Cluster);
    let identity = Identity::issue(pki_dir.to_owned(), authorities, vec![leaf], which, now)?;
    pki::write_public(&dir.join("ca.crt"), authorities.cluster.certificate_pem())?;
    let certificate = std::fs::read_to_string(identity.certificate(identity::ETCD_CLIENT))?;
    pki::write_public(&dir.join("client.crt"), &certificate)?;
    let key = std::fs::read_to_string(identity.key(identity::ETCD_CLIENT))?;
    pki::write_private(&dir.join("client.key"), &key)?;
    Ok(())
}

/// One more client of etcd's API.
#[derive(Args, Debug)]
pub(crate) struct ClientArgs {
    /// What it is called in its certificate, and its files
    name: String,
    /// Where NAME.crt, NAME.key and ca.crt are written
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Of a replica on this machine: its CA signs
    #[arg(long, default_value = "/var/lib/kontiki")]
    data_dir: PathBuf,
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

pub(crate) fn issue(args: &ClientArgs) -> Result<(), Failure> {
    let (config, _) = installed::read(&args.data_dir)?;
    let now = crate::now();
    issue_with(&*config, args, now)?;
    let (name, out) = (&args.name, args.out.display());
    println!("{out}/{name}.crt and {out}/{name}.key for {} days, with {out}/ca.crt", args.days);
    Ok(())
}

fn issue_with(config: &dyn Installed, args: &ClientArgs, now: Timestamp) -> Result<(), Failure> {
    check(&args.name)?;
    let authorities = Authorities::of_replica(config, now)?;
    let authority: &Authority = match (config.kind(), config.has_etcd_ca()) {
        (_, true) => authorities.of(Ca::Etcd)?,
        (Kind::Store, _) => authorities.of(Ca::Cluster)?,
        _ => return Err("this replica serves no clients of etcd (kontiki server --etcd-listen)".into()),
    };
    let mut request = identity::etcd_client(Ca::Cluster).request;
    (request.common_name, request.days) = (args.name.clone(), args.days);
    std::fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    authority.issue(&request, now)?.write(&args.out, &args.name)?;
    pki::write_public(&args.out.join("ca.crt"), authority.certificate_pem())?;
    Ok(())
}

/// A name of files, too, and of none that is another's.
fn check(name: &str) -> Result<(), Failure> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.len() <= 64 && name.chars().all(is_good) && !name.starts_with('.') && name != "ca" {
        true => Ok(()),
        false => {
            Err(format!("{name:?} is no name for a client: up to 64 letters, digits, '-', '_', '.', and not ca").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Endpoint, ServerConfiguration};
    use crate::store::StoreConfiguration;

    #[test]
    fn each_client_may_have_a_certificate_of_its_own() {
        let dir = tempfile::tempdir().expect("dir");
        let endpoint = Endpoint { listen: "127.0.0.1:1".parse().expect("address"), advertise: "a:1".into() };
        let parts = |name: &str| (dir.path().join(name), dir.path().join(name).join("pki"), endpoint.clone());
        let (data, pki_dir, at) = parts("store");
        let config = StoreConfiguration::new(1, "c", data.clone(), pki_dir, at.clone(), at);
        let args = |name: &str, days: u32| ClientArgs {
            name: name.to_owned(),
            out: dir.path().join("out"),
            data_dir: data.clone(),
            days,
        };
        let now = crate::now();
        issue_with(&config, &args("app-1", 30), now).expect("issued");
        let read = |name: &str| std::fs::read_to_string(dir.path().join("out").join(name)).expect("written");
        let end = pki::authority::expiry(&read("app-1.crt")).expect("a certificate").as_second() - now.as_second();
        assert_eq!(end / 86_400, 30);
        let authorities = Authorities::of_replica(&config, now).expect("made");
        assert!(authorities.cluster.has_signed(&read("app-1.crt")));
        assert_eq!(read("ca.crt"), authorities.cluster.certificate_pem());
        for name in ["", "ca", "../ca", ".hidden", "a b"] {
            assert!(issue_with(&config, &args(name, 1), now).is_err(), "{name:?}");
        }
        let (data_dir, pki_dir, at) = parts("server");
        let mut server = ServerConfiguration::new(1, "c", data_dir, pki_dir, at.clone(), at);
        assert!(
            issue_with(&server, &args("app-2", 1), now).is_err_and(|error| error.to_string().contains("etcd-listen"))
        );
        server.etcd_listen = Some("127.0.0.1:2".parse().expect("address"));
        issue_with(&server, &args("app-2", 1), now).expect("issued");
        let ca = Authority::load_or_create(&server.pki_dir, identity::ETCD_CA, "other", now).expect("there");
        assert!(ca.has_signed(&read("app-2.crt")));
    }
}
