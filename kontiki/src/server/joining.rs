//! A server on its way into a cluster: it has its number and its keys, and is not a member yet.
//!
//! What it needs to ask again is in a file of the data directory until it is one, so that a join that was
//! interrupted goes on with the next start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pki::join::JoinToken;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::args::ServerArgs;
use super::setup::trusted;
use crate::Failure;
use crate::client::Client;
use crate::config::{self, ServerConfiguration};
use crate::installed::Installed;

/// Adding a member waits until it has caught up.
const JOIN_TIMEOUT: Duration = Duration::from_secs(600);
/// Members are added one at a time: while another is, or a leader is elected, the server asks to come back.
const JOIN_TRIES: u32 = 120;
const JOIN_PAUSE: Duration = Duration::from_secs(1);

/// The file of a join that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pending {
    /// `https://HOST:PORT` of the server that is asked.
    pub(crate) server: String,
    pub(crate) ca: String,
    /// `ID.SECRET`; absent where the replica has the CA's key already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// It gets no vote.
    #[serde(default)]
    pub(crate) learner: bool,
    /// The dead member whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<u64>,
}

/// The join that goes on at the next start.
pub(super) fn read(data_dir: &Path) -> Result<Pending, Failure> {
    config::read(&file(data_dir))
}

/// The next start goes on with it.
pub(crate) fn write(data_dir: &Path, pending: &Pending) -> Result<(), Failure> {
    config::write(&file(data_dir), pending)
}

/// A server to be added once it runs.
pub(crate) struct Joining {
    client: Client,
    id: u64,
    peer: String,
    api: String,
    learner: bool,
    replaces: Option<u64>,
    /// Whether a token is what lets it ask.
    by_token: bool,
    file: PathBuf,
}

impl Joining {
    /// Remembers how to go on.
    pub(crate) fn begin(config: &dyn Installed, pending: &Pending, client: Client) -> Result<Self, Failure> {
        write(config.data_dir(), pending)?;
        Ok(Self::new(config, pending, client))
    }

    /// One that was interrupted; `None`: the server is a member, or was never to join.
    pub(super) async fn resume(args: &ServerArgs, config: &ServerConfiguration) -> Result<Option<Self>, Failure> {
        let file = file(&config.data_dir);
        if let (true, Some(url), Some(token)) = (file.exists(), &args.join, &args.token) {
            // The old token may have expired meanwhile.
            let token = JoinToken::parse(token)?;
            let (client, ca) = trusted(url, &token).await?;
            let before: Pending = config::read(&file)?;
            let pending = Pending { server: url.clone(), ca, token: Some(token.bearer()), ..before };
            return Ok(Some(Self::begin(config, &pending, client)?));
        }
        Self::go_on(config)
    }

    /// As far as an earlier start has got.
    pub(crate) fn go_on(config: &dyn Installed) -> Result<Option<Self>, Failure> {
        let file = file(config.data_dir());
        if !file.exists() {
            return Ok(None);
        }
        let pending: Pending = config::read(&file)?;
        let client = match &pending.token {
            Some(token) => Client::with_token(&pending.server, &pending.ca, token)?,
            None => super::heal::admin_client(config)?.at(&pending.server),
        };
        Ok(Some(Self::new(config, &pending, client)))
    }

    fn new(config: &dyn Installed, pending: &Pending, client: Client) -> Self {
        Self {
            client: client.timeout(JOIN_TIMEOUT),
            id: config.id(),
            peer: config.peer().to_owned(),
            api: config.api_url(),
            learner: pending.learner,
            replaces: pending.replaces,
            by_token: pending.token.is_some(),
            file: file(config.data_dir()),
        }
    }

    /// Asks to be made a member, patiently. To ask again when it is one already changes nothing.
    pub(crate) async fn become_member(&self) -> Result<(), Failure> {
        tracing::info!(server = self.client.server, "asking to become a member of the cluster");
        for _ in 1..JOIN_TRIES {
            let answer = self.ask().await?;
            if answer.status != 503 {
                return self.finish(&answer);
            }
            tracing::info!(why = answer.ok().err().map(|error| error.to_string()), "not a member yet; asking again");
            tokio::time::sleep(JOIN_PAUSE).await;
        }
        self.finish(&self.ask().await?)
    }

    async fn ask(&self) -> Result<crate::client::Answer, Failure> {
        let mut body = json!({"id": self.id, "peer": self.peer, "api": self.api, "voter": !self.learner});
        if let Some(dead) = self.replaces {
            body["replaces"] = dead.into();
        }
        self.client.post("/kontiki/v1/join/server/ready", &body).await
    }

    fn finish(&self, answer: &crate::client::Answer) -> Result<(), Failure> {
        if let Err(error) = answer.ok() {
            let hint = match self.by_token {
                true => "start again, if the token has expired with a new one: --join URL --token T",
                false => "start again",
            };
            return Err(format!("not a member of the cluster yet: {error}; {hint}").into());
        }
        std::fs::remove_file(&self.file).map_err(|error| format!("{}: {error}", self.file.display()).into())
    }
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("join.yaml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoint;

    fn configuration(dir: &Path) -> ServerConfiguration {
        let endpoint = Endpoint { listen: "127.0.0.1:6443".parse().expect("address"), advertise: "a:6443".into() };
        ServerConfiguration::new(7, "c", dir.to_owned(), dir.join("pki"), endpoint.clone(), endpoint)
    }

    fn arguments(dir: &Path) -> ServerArgs {
        ServerArgs {
            config: None,
            data_dir: dir.to_owned(),
            init: false,
            join: None,
            token: None,
            advertise: None,
            api_port: 6443,
            peer_port: 6444,
            etcd_listen: None,
            learner: false,
            replace: None,
            zone: None,
            leader_zones: Vec::new(),
            api: Default::default(),
        }
    }

    #[tokio::test]
    async fn an_interrupted_join_goes_on_and_a_finished_one_does_not() {
        let dir = tempfile::tempdir().expect("dir");
        let (config, args) = (configuration(dir.path()), arguments(dir.path()));
        assert!(Joining::resume(&args, &config).await.expect("reads").is_none(), "nothing has begun");
        let ca = pki::authority::Authority::create("ca", crate::now()).expect("ca");
        let ca = ca.certificate_pem();
        let token = JoinToken::generate(&pki::authority::public_key_hash(ca).expect("hash"));
        let client = Client::with_token("https://b:6443", ca, &token.bearer()).expect("client");
        let pending = Pending {
            server: "https://b:6443".into(),
            ca: ca.into(),
            token: Some(token.bearer()),
            learner: false,
            replaces: Some(3),
        };
        Joining::begin(&config, &pending, client).expect("begins");

        let resumed = Joining::resume(&args, &config).await.expect("reads").expect("goes on");
        assert_eq!((resumed.client.server.as_str(), resumed.id, resumed.replaces), ("https://b:6443", 7, Some(3)));
        let refused = crate::client::Answer { status: 401, body: bytes::Bytes::from_static(b"Unauthorized") };
        let error = resumed.finish(&refused).expect_err("refused").to_string();
        assert!(error.contains("with a new one"), "{error}");
        assert!(Joining::resume(&args, &config).await.expect("reads").is_some(), "still to do");
        let taken = crate::client::Answer { status: 200, body: bytes::Bytes::from_static(b"{}") };
        resumed.finish(&taken).expect("a member");
        assert!(Joining::resume(&args, &config).await.expect("reads").is_none(), "done");
    }
}
