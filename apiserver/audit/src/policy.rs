//! `audit.k8s.io/v1 Policy`: the first rule that matches a request says how much of it is recorded. Pure.

use api_machinery::UserInfo;

use crate::event::{Level, Stage};
pub use crate::policy_file::PolicyError;

/// A policy that was found to be good. Made by [`Policy::read`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(crate) rules: Vec<Rule>,
    pub(crate) omit_stages: Vec<Stage>,
    pub(crate) omit_managed_fields: bool,
}

/// What is empty matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) level: Level,
    pub(crate) users: Vec<String>,
    pub(crate) user_groups: Vec<String>,
    pub(crate) verbs: Vec<String>,
    pub(crate) resources: Vec<GroupResources>,
    /// `""` is what has no namespace.
    pub(crate) namespaces: Vec<String>,
    pub(crate) non_resource_urls: Vec<String>,
    /// Those of the policy as well.
    pub(crate) omit_stages: Vec<Stage>,
    pub(crate) omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupResources {
    pub(crate) group: String,
    pub(crate) resources: Vec<String>,
    pub(crate) resource_names: Vec<String>,
}

/// A request, as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// `None`: nobody was authenticated.
    pub user: Option<&'a UserInfo>,
    pub verb: &'a str,
    pub is_resource: bool,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: &'a str,
}

/// What a policy decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub level: Level,
    pub omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

impl Policy {
    /// Level `None` where no rule matches, as upstream.
    pub fn decide(&self, asked: &Attributes<'_>) -> Decision {
        match self.rules.iter().find(|rule| rule.matches(asked)) {
            Some(rule) => Decision {
                level: rule.level,
                omit_stages: rule.omit_stages.clone(),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
            },
            None => Decision {
                level: Level::None,
                omit_stages: self.omit_stages.clone(),
                omit_managed_fields: self.omit_managed_fields,
            },
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == wanted)
}

impl Rule {
    fn matches(&self, asked: &Attributes<'_>) -> bool {
        if !self.users.is_empty() && !asked.user.is_some_and(|user| has(&self.users, &user.name)) {
            return false;
        }
        let in_group = |user: &UserInfo| user.groups.iter().any(|group| has(&self.user_groups, group));
        if !self.user_groups.is_empty() && !asked.user.is_some_and(in_group) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, asked.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return asked.is_resource && self.matches_resource(asked);
        }
        let url = |spec: &String| is_below(asked.path, spec);
        self.non_resource_urls.is_empty() || (!asked.is_resource && self.non_resource_urls.iter().any(url))
    }

    fn matches_resource(&self, asked: &Attributes<'_>) -> bool {
        if !self.namespaces.is_empty() && !has(&self.namespaces, asked.namespace) {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|resources| resources.matches(asked))
    }
}

/// `/healthz*` is everything that begins with `/healthz`.
fn is_below(path: &str, spec: &str) -> bool {
    spec == "*" || spec == path || (spec.ends_with('*') && path.starts_with(spec.trim_end_matches('*')))
}

impl GroupResources {
    fn matches(&self, asked: &Attributes<'_>) -> bool {
        if self.group != asked.group && self.group != "*" {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.resource_names.is_empty() || has(&self.resource_names, asked.name);
        named && self.resources.iter().any(|resource| is_of(resource, asked))
    }
}

/// `pods` is only pods, `pods/log` only their logs, `pods/*` both and all other subresources, `*/scale` the scale of
/// anything, `*` everything.
fn is_of(spec: &str, asked: &Attributes<'_>) -> bool {
    let exact = match spec.split_once('/') {
        None => asked.subresource.is_empty() && spec == asked.resource,
        Some((resource, subresource)) => {
            !asked.subresource.is_empty() && resource == asked.resource && subresource == asked.subresource
        }
    };
    let of_any = spec.strip_prefix("*/").is_some_and(|sub| !asked.subresource.is_empty() && sub == asked.subresource);
    exact || spec == "*" || of_any || spec.strip_suffix("/*").is_some_and(|resource| resource == asked.resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
  resources: [{group: "", resources: [endpoints, services]}]
- level: None
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/api*", /version]
- level: Request
  resources: [{group: "", resources: [configmaps]}]
  namespaces: [kube-system]
  omitManagedFields: false
- level: RequestResponse
  resources: [{group: "*", resources: ["*/scale"]}, {group: "", resources: ["pods/*"], resourceNames: [p]}]
  omitStages: [Panic]
- level: Metadata
  resources: [{group: "", resources: [secrets, "serviceaccounts/token"]}, {group: extensions}]
- level: Request
  namespaces: [""]
- level: Metadata
  nonResourceURLs: ["*"]
"#;

    /// `VERB GROUP/RESOURCE/SUBRESOURCE NAMESPACE/NAME as USER`, or `VERB PATH as USER`.
    fn decide(asked: &str) -> String {
        let (policy, warnings) = Policy::read(POLICY).expect("a good policy");
        assert_eq!(warnings, [""; 0]);
        let (asked, name) = asked.split_once(" as ").unwrap_or((asked, ""));
        let user =
            UserInfo { name: name.to_owned(), groups: vec!["system:authenticated".into()], ..UserInfo::default() };
        let words: Vec<&str> = asked.split(' ').collect();
        let path = words[1].starts_with('/') && words.len() == 2;
        let mut parts = if path { [""; 3].to_vec() } else { words[1].split('/').collect() };
        parts.resize(3, "");
        let (namespace, object) = words.get(2).and_then(|of| of.split_once('/')).unwrap_or(("", ""));
        let decision = policy.decide(&Attributes {
            user: (!name.is_empty()).then_some(&user),
            verb: words[0],
            is_resource: !path,
            group: parts[0],
            version: "v1",
            resource: parts[1],
            subresource: parts[2],
            namespace,
            name: object,
            path: if path { words[1] } else { "" },
        });
        let stages: Vec<&str> = decision.omit_stages.iter().map(|stage| stage.as_str()).collect();
        let fields = if decision.omit_managed_fields { "" } else { " +managedFields" };
        format!("{} -{}{fields}", decision.level.as_str(), stages.join(","))
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        for (asked, want) in [
            ("watch /endpoints a/ as system:kube-proxy", "None -RequestReceived"),
            ("watch /endpoints/status a/ as system:kube-proxy", "None -RequestReceived"),
            ("list /endpoints a/ as system:kube-proxy", "None -RequestReceived"),
            ("get /apis as u", "None -RequestReceived"),
            ("get /version as u", "None -RequestReceived"),
            ("get /version", "Metadata -RequestReceived"),
            ("get /healthz as u", "Metadata -RequestReceived"),
            ("update /configmaps kube-system/c as u", "Request -RequestReceived +managedFields"),
            ("update /configmaps a/c as u", "None -RequestReceived"),
            ("patch apps/deployments/scale a/d as u", "RequestResponse -RequestReceived,Panic"),
            ("patch apps/deployments a/d as u", "None -RequestReceived"),
            ("create /pods/exec a/p as u", "RequestResponse -RequestReceived,Panic"),
            ("create /pods a/p as u", "RequestResponse -RequestReceived,Panic"),
            ("create /pods a/q as u", "None -RequestReceived"),
            ("get /secrets a/s as u", "Metadata -RequestReceived"),
            ("create /serviceaccounts/token a/s as u", "Metadata -RequestReceived"),
            ("create /serviceaccounts a/s as u", "None -RequestReceived"),
            ("get extensions/ingresses a/i as u", "Metadata -RequestReceived"),
            ("get /nodes /n as u", "Request -RequestReceived"),
            ("delete /nodes/proxy /n as u", "Request -RequestReceived"),
        ] {
            assert_eq!(decide(asked), want, "{asked}");
        }
    }
}
