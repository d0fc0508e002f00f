//! FlowSchemas and PriorityLevelConfigurations (`flowcontrol.apiserver.k8s.io/v1`) as they are used.

use api_machinery::{Value, object};

use crate::bootstrap::EXEMPT;
use crate::queue_set::Queuing;
use crate::shuffle;

/// A level that can be used: what the API objects cannot say wrongly, they do not.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorityLevel {
    pub name: String,
    pub uid: String,
    pub shares: u64,
    /// Of the nominal seats so many percent are lent when they are not used.
    pub lendable_percent: u64,
    /// `None`: borrows as much as there is.
    pub borrowing_percent: Option<u64>,
    pub queuing: Queuing,
}

impl PriorityLevel {
    pub fn is_exempt(&self) -> bool {
        self.queuing == Queuing::Exempt
    }

    /// Why it cannot be used; upstream then acts as if it were not there.
    pub fn read(value: &Value) -> Result<Self, String> {
        let (name, spec) = (object::name(value).to_owned(), &value["spec"]);
        let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
        let kind = spec["type"].as_str().unwrap_or("");
        if (kind == "Limited") != limited.is_object() || (kind == "Exempt") != exempt.is_object() {
            return Err("its type does not fit what it says".to_owned());
        }
        if (kind == "Exempt") != (name == EXEMPT) {
            return Err("only the level named exempt is exempt".to_owned());
        }
        let part = if kind == "Exempt" { exempt } else { limited };
        let queuing = if kind == "Exempt" { Queuing::Exempt } else { queuing(&limited["limitResponse"])? };
        let number = |field: &str| part[field].as_u64();
        Ok(Self {
            uid: object::uid(value).to_owned(),
            shares: number("nominalConcurrencyShares").unwrap_or(if kind == "Exempt" { 0 } else { DEFAULT_SHARES }),
            lendable_percent: number("lendablePercent").unwrap_or(0),
            borrowing_percent: number("borrowingLimitPercent"),
            queuing,
            name,
        })
    }
}

/// Upstream's default of `nominalConcurrencyShares`.
const DEFAULT_SHARES: u64 = 30;

fn queuing(response: &Value) -> Result<Queuing, String> {
    let queuing = &response["queuing"];
    let number = |field: &str| queuing[field].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
    match (response["type"].as_str().unwrap_or(""), queuing.is_object()) {
        ("Reject", false) => Ok(Queuing::Reject),
        ("Queue", true) => {
            let (queues, hand, length) = (number("queues"), number("handSize"), number("queueLengthLimit"));
            match shuffle::is_dealable(queues, hand) {
                true => Ok(Queuing::Queue { queues, hand, length }),
                false => Err(format!("a hand of {hand} cannot be dealt from {queues} queues")),
            }
        }
        _ => Err("its limit response does not fit its type".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    /// All requests of the schema are one flow.
    None,
    ByUser,
    ByNamespace,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FlowSchema {
    pub name: String,
    pub uid: String,
    pub level: String,
    /// Lower is looked at before higher.
    pub precedence: i64,
    pub distinguisher: Distinguisher,
    pub rules: Vec<Rule>,
}

/// For these subjects, those requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub subjects: Vec<Subject>,
    pub resources: Vec<ResourceRule>,
    pub urls: Vec<UrlRule>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

#[derive(Clone, Debug, PartialEq)]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    /// With their subresources: `pods/log`.
    pub resources: Vec<String>,
    pub cluster_scope: bool,
    pub namespaces: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UrlRule {
    pub verbs: Vec<String>,
    pub urls: Vec<String>,
}

/// Upstream's default of `matchingPrecedence`.
const DEFAULT_PRECEDENCE: i64 = 1000;

impl FlowSchema {
    pub fn read(value: &Value) -> Self {
        let spec = &value["spec"];
        Self {
            name: object::name(value).to_owned(),
            uid: object::uid(value).to_owned(),
            level: object::str_at(value, "spec.priorityLevelConfiguration.name").to_owned(),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(DEFAULT_PRECEDENCE),
            distinguisher: match object::str_at(value, "spec.distinguisherMethod.type") {
                "ByUser" => Distinguisher::ByUser,
                "ByNamespace" => Distinguisher::ByNamespace,
                _ => Distinguisher::None,
            },
            rules: items(&spec["rules"]).iter().map(rule).collect(),
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<String> {
    items(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn rule(value: &Value) -> Rule {
    Rule {
        subjects: items(&value["subjects"]).iter().filter_map(subject).collect(),
        resources: items(&value["resourceRules"]).iter().map(resource_rule).collect(),
        urls: items(&value["nonResourceRules"])
            .iter()
            .map(|rule| UrlRule { verbs: texts(&rule["verbs"]), urls: texts(&rule["nonResourceURLs"]) })
            .collect(),
    }
}

fn subject(value: &Value) -> Option<Subject> {
    let text = |path: &str| object::str_at(value, path).to_owned();
    match value["kind"].as_str()? {
        "User" => Some(Subject::User(text("user.name"))),
        "Group" => Some(Subject::Group(text("group.name"))),
        "ServiceAccount" => Some(Subject::ServiceAccount {
            namespace: text("serviceAccount.namespace"),
            name: text("serviceAccount.name"),
        }),
        _ => None,
    }
}

fn resource_rule(value: &Value) -> ResourceRule {
    ResourceRule {
        verbs: texts(&value["verbs"]),
        groups: texts(&value["apiGroups"]),
        resources: texts(&value["resources"]),
        cluster_scope: value["clusterScope"] == true,
        namespaces: texts(&value["namespaces"]),
    }
}
