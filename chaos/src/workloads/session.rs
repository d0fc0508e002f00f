//! One client: makes calls one after the other and writes down what it asked and what it heard.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, VersionMatch};

use super::NAMESPACE;
use super::stage::{Stage, revision};
use crate::history::{Age, Call, Op, Outcome, Selector, Version};

/// A call that takes longer is given up; a write may still take effect.
pub const PATIENCE: Duration = Duration::from_secs(3);

pub struct Session {
    pub stage: Stage,
    process: String,
    workload: &'static str,
    /// Index of the replica it asks.
    at: usize,
    /// Stays at its replica whatever happens. The others go on to the next after a failure.
    pinned: bool,
    values: u64,
    pub ops: Vec<Op>,
}

impl Session {
    pub fn new(stage: &Stage, workload: &'static str, number: usize, pinned: bool) -> Self {
        let (process, at) = (format!("{workload}{number}"), number % stage.clients.len());
        Self { stage: stage.clone(), process, workload, at, pinned, values: 0, ops: Vec::new() }
    }

    pub fn process(&self) -> &str {
        &self.process
    }

    /// A value that nothing else in the round has.
    pub fn value(&mut self) -> String {
        self.values += 1;
        format!("{}-{}", self.process, self.values)
    }

    pub async fn create(&mut self, name: &str, value: String) -> Outcome {
        let object = self.stage.object(name, &value, self.workload, None);
        let call = Call::Create { name: name.to_owned(), value };
        self.call(call, async |api: Api<ConfigMap>| written(api.create(&PostParams::default(), &object).await)).await
    }

    pub async fn update(&mut self, name: &str, value: String, on: Version) -> Outcome {
        let object = self.stage.object(name, &value, self.workload, Some(on.revision));
        let call = Call::Update { name: name.to_owned(), value, on };
        self.call(call, async |api: Api<ConfigMap>| {
            written(api.replace(object.metadata.name.as_deref().unwrap_or(""), &PostParams::default(), &object).await)
        })
        .await
    }

    pub async fn delete(&mut self, name: &str, on: Version) -> Outcome {
        let preconditions = Preconditions { resource_version: Some(on.revision.to_string()), uid: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let call = Call::Delete { name: name.to_owned(), on };
        let name = name.to_owned();
        self.call(call, async |api: Api<ConfigMap>| match api.delete(&name, &parameters).await {
            Ok(_) => Outcome::Deleted,
            Err(error) => failed(error),
        })
        .await
    }

    /// What is there now, when the answer came: the version, or that there is none.
    pub async fn get(&mut self, name: &str) -> Option<Option<Version>> {
        let (call, name) = (Call::Get { name: name.to_owned() }, name.to_owned());
        let outcome = self.call(call, async |api: Api<ConfigMap>| match api.get_opt(&name).await {
            Ok(found) => Outcome::Got(found.and_then(|object| version(&object))),
            Err(error) => failed(error),
        });
        match outcome.await {
            Outcome::Got(found) => Some(found),
            _ => None,
        }
    }

    /// Of this workload's objects: the list's revision, and the objects.
    pub async fn list(&mut self, age: Age) -> Option<(u64, BTreeMap<String, Version>)> {
        let call = Call::List { workload: self.workload.to_owned(), age };
        let parameters = parameters(&self.stage.labels(&Selector::Workload(self.workload.to_owned())), age);
        let outcome = self.call(call, async |api: Api<ConfigMap>| match api.list(&parameters).await {
            Ok(list) => listed(list),
            Err(error) => failed(error),
        });
        match outcome.await {
            Outcome::Listed { revision, objects } => Some((revision, objects.into_iter().collect())),
            _ => None,
        }
    }

    /// All of this workload's objects, so many at a time: the list's state is that of its first page.
    pub async fn list_in_pages(&mut self, page: u32) {
        let call = Call::List { workload: self.workload.to_owned(), age: Age::Latest };
        let labels = self.stage.labels(&Selector::Workload(self.workload.to_owned()));
        let first = ListParams::default().labels(&labels).limit(page);
        self.call(call, async |api: Api<ConfigMap>| pages(&api, first, Duration::ZERO).await).await;
    }

    /// The same of a revision of the past, with a pause before each further page.
    pub async fn list_in_pages_at(&mut self, revision: u64, page: u32, pause: Duration) {
        let age = Age::Exact(revision);
        let call = Call::List { workload: self.workload.to_owned(), age };
        let labels = self.stage.labels(&Selector::Workload(self.workload.to_owned()));
        let first = parameters(&labels, age).limit(page);
        self.call(call, async |api: Api<ConfigMap>| pages(&api, first, pause).await).await;
    }

    /// The next call is through the next replica.
    pub fn hop(&mut self) {
        self.at = (self.at + 1) % self.stage.clients.len();
    }

    async fn call(&mut self, call: Call, act: impl AsyncFnOnce(Api<ConfigMap>) -> Outcome) -> Outcome {
        let (replica, client) = self.stage.clients[self.at].clone();
        let invoked = self.stage.now();
        let answer = tokio::time::timeout(PATIENCE, act(Api::namespaced(client, NAMESPACE))).await;
        let outcome = answer.unwrap_or_else(|_| Outcome::Unknown(format!("no answer in {} s", PATIENCE.as_secs())));
        let returned = self.stage.now();
        let (process, kept) = (self.process.clone(), outcome.clone());
        let op = Op { process, replica, invoked, returned, call, outcome };
        self.stage.count(&op);
        self.ops.push(op);
        if !self.pinned && matches!(kept, Outcome::Unknown(_) | Outcome::Refused { code: 0, .. }) {
            self.at = (self.at + 1) % self.stage.clients.len();
        }
        kept
    }
}

async fn pages(api: &Api<ConfigMap>, mut page: ListParams, pause: Duration) -> Outcome {
    let mut whole: Vec<(String, Version)> = Vec::new();
    let mut at: Option<u64> = None;
    loop {
        let list = match api.list(&page).await {
            Ok(list) => list,
            Err(error) => return failed(error),
        };
        let next = list.metadata.continue_.clone().filter(|token| !token.is_empty());
        match listed(list) {
            Outcome::Listed { revision, .. } if at.is_some_and(|first| first != revision) => {
                return Outcome::Torn { first: at.unwrap_or(0), then: revision };
            }
            Outcome::Listed { revision, objects } => {
                at = Some(revision);
                whole.extend(objects);
            }
            other => return other,
        }
        match next {
            Some(token) => {
                // The token says at which revision.
                page = ListParams { resource_version: None, version_match: None, ..page }.continue_token(&token);
                tokio::time::sleep(pause).await;
            }
            None => return Outcome::Listed { revision: at.unwrap_or(0), objects: whole },
        }
    }
}

fn parameters(labels: &str, age: Age) -> ListParams {
    let parameters = ListParams::default().labels(labels);
    let matching = |version: u64, how| parameters.clone().at(&version.to_string()).matching(how);
    match age {
        Age::Latest => parameters,
        Age::Any => parameters.at("0"),
        Age::NotOlderThan(version) => matching(version, VersionMatch::NotOlderThan),
        Age::Exact(version) => matching(version, VersionMatch::Exact),
    }
}

fn version(object: &ConfigMap) -> Option<Version> {
    let value = object.data.as_ref()?.get("value")?.clone();
    Some(Version { revision: revision(&object.metadata)?, value })
}

pub(super) fn written(answer: Result<ConfigMap, kube::Error>) -> Outcome {
    match answer {
        Ok(object) => match revision(&object.metadata) {
            Some(revision) => Outcome::Written(revision),
            None => Outcome::Unknown("an answer without resourceVersion".to_owned()),
        },
        Err(error) => failed(error),
    }
}

fn listed(list: kube::core::ObjectList<ConfigMap>) -> Outcome {
    let Some(revision) = list.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()) else {
        return Outcome::Unknown("a list without resourceVersion".to_owned());
    };
    let named = |object: &ConfigMap| Some((object.metadata.name.clone()?, version(object)?));
    Outcome::Listed { revision, objects: list.items.iter().filter_map(named).collect() }
}

/// 4xx is definite, and so is a connection that never was; everything else may have taken effect.
pub fn failed(error: kube::Error) -> Outcome {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => {
            Outcome::Refused { code: status.code, why: status.message.clone() }
        }
        error if was_not_sent(&error) => Outcome::Refused { code: 0, why: "not connected".to_owned() },
        error => Outcome::Unknown(error.to_string()),
    }
}

fn was_not_sent(error: &kube::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        cause = error.source();
    }
    false
}
