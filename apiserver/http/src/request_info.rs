//! What a request asks for, read from method, path and query by upstream's rules
//! (`k8s.io/apiserver/pkg/endpoints/request.RequestInfoFactory`). Pure: authorization, flow control,
//! metrics and dispatch all use this one reading.

use api_auth::authz::AuthzAttributes;
use api_machinery::error::Result;
use api_machinery::fields::{self, FieldSelector};
use api_machinery::labels::{self, Selector};
use api_machinery::{ApiError, UserInfo};
use api_schema::{Resource, Schema};
use http::Method;

use crate::path::{RequestPath, percent_decode};
use crate::query::Query;

/// A request as data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    pub is_resource: bool,
    /// `list`, `deletecollection`, ...; the lower-case method for non-resource requests.
    pub verb: String,
    /// `api` or `apis`.
    pub prefix: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    /// Whether the resource stands behind a namespace in the path.
    pub in_namespace: bool,
    /// Also set by a `metadata.name=` field selector, which authorization may then use.
    pub name: String,
    /// Whether the name is part of the path.
    pub named_in_path: bool,
    /// Segments beyond the subresource: no API resource has such.
    pub extra_segments: usize,
    /// `/watch/` came before the resource, as before Kubernetes 1.11.
    pub watch_prefix: bool,
    /// Whether it runs something in a pod, or reaches into one.
    pub runs: bool,
    pub path: String,
    /// Of a list, watch or deletecollection; none where a selector cannot be read.
    pub field_selector: Vec<fields::Term>,
    pub label_selector: Vec<labels::Requirement>,
}

/// The only segments after a namespace's name that are subresources of it and not resources in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// What the paths begin with by which a kubelet runs something in a pod.
const KUBELET_RUNS: [&str; 5] = ["exec", "attach", "portForward", "run", "cri"];

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

impl RequestInfo {
    pub(crate) fn new(method: &Method, path: &RequestPath, query: &Query) -> Result<Self> {
        let mut info = Self { verb: method.as_str().to_ascii_lowercase(), path: path.text.clone(), ..Self::default() };
        let mut parts: &[String] = &path.segments;
        if parts.len() < 3 || !matches!(parts[0].as_str(), "api" | "apis") {
            return Ok(info);
        }
        info.prefix = parts[0].clone();
        parts = &parts[1..];
        if info.prefix == "apis" {
            if parts.len() < 3 {
                return Ok(info);
            }
            info.group = parts[0].clone();
            parts = &parts[1..];
        }
        info.is_resource = true;
        info.version = parts[0].clone();
        info.read_resource(method, &parts[1..])?;
        info.refine_verb(query);
        info.runs = info.is_running(path.proxy_tail.as_deref().unwrap_or(""));
        Ok(info)
    }

    /// `[watch/][namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE]]`
    fn read_resource(&mut self, method: &Method, mut parts: &[String]) -> Result<()> {
        if parts[0] == "watch" {
            parts = &parts[1..];
            if parts.is_empty() {
                let text = format!("unable to determine kind and namespace from url, {}", self.path);
                return Err(ApiError::bad_request(text));
            }
            self.watch_prefix = true;
            self.verb = "watch".to_owned();
        } else {
            self.verb = verb_of(method).to_owned();
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            self.namespace = parts[1].clone();
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2].as_str()) {
                parts = &parts[2..];
                self.in_namespace = true;
            }
        }
        self.resource = parts[0].clone();
        self.name = parts.get(1).cloned().unwrap_or_default();
        self.named_in_path = parts.len() > 1;
        self.subresource = parts.get(2).cloned().unwrap_or_default();
        self.extra_segments = parts.len().saturating_sub(3);
        Ok(())
    }

    /// Without a name a get is a list or a watch, and a delete is a deletecollection.
    fn refine_verb(&mut self, query: &Query) {
        if !self.name.is_empty() {
            return self.read_selectors(query);
        }
        match self.verb.as_str() {
            "get" => self.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned(),
            "delete" => self.verb = "deletecollection".to_owned(),
            _ => {}
        }
        self.read_selectors(query);
        let named = self.field_selector.iter().find(|term| term.field == "metadata.name" && term.equal);
        if let Some(name) = named.map(|term| term.value.clone()).filter(|name| is_path_segment(name)) {
            self.name = name;
        }
    }

    /// A bad selector is refused where the options are read; here it only narrows nothing.
    fn read_selectors(&mut self, query: &Query) {
        if !matches!(self.verb.as_str(), "list" | "watch" | "deletecollection") {
            return;
        }
        let fields = query.get("fieldSelector").and_then(|text| FieldSelector::parse(text).ok());
        self.field_selector = fields.map(|selector| selector.terms).unwrap_or_default();
        let labels = query.get("labelSelector").and_then(|text| Selector::parse(text).ok());
        self.label_selector = labels.map(|selector| selector.requirements).unwrap_or_default();
    }

    /// Watches and streams: they are not counted against the in-flight bound and have no deadline. So are the two
    /// requests of our own that copy a whole store.
    pub(crate) fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || (!self.is_resource
                && matches!(self.path.as_str(), "/kontiki/v1/backup" | "/kontiki/v1/join/server/ready"))
            || (self.is_resource
                && matches!(self.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy"))
    }

    /// `tail`: what follows `/proxy`, as it came.
    fn is_running(&self, tail: &str) -> bool {
        match (self.group.as_str(), self.resource.as_str(), self.subresource.as_str()) {
            ("", "pods", "exec" | "attach" | "portforward") => true,
            ("", "nodes", "proxy") => {
                let tail = percent_decode(tail).unwrap_or_default();
                let first = tail.trim_start_matches('/').split('/').next().unwrap_or("");
                KUBELET_RUNS.contains(&first)
            }
            _ => false,
        }
    }

    pub(crate) fn is_mutating(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch" | "head")
    }

    /// The resource that the path names, whatever else is wrong with the path.
    pub(crate) fn resource<'a>(&self, schema: &'a Schema) -> Option<&'a Resource> {
        schema.resource(&self.group, &self.version, &self.resource).filter(|_| self.is_resource)
    }

    /// What authorization is asked.
    pub(crate) fn attributes(&self, user: &UserInfo) -> AuthzAttributes {
        AuthzAttributes {
            user: user.clone(),
            verb: self.verb.clone(),
            resource_request: self.is_resource,
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            subresource: self.subresource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            path: self.path.clone(),
            field_selector: self.field_selector.clone(),
            label_selector: self.label_selector.clone(),
        }
    }
}

fn is_path_segment(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(method: &str, target: &str) -> String {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let path = RequestPath::parse(path).expect("a good path");
        let query = Query::parse(query).expect("a good query");
        match RequestInfo::new(&method, &path, &query) {
            Err(error) => format!("{} {}", error.code, error.message),
            Ok(info) if !info.is_resource => format!("{} path {}", info.verb, info.path),
            Ok(info) => format!(
                "{} {}/{} ns={} {}/{} name={}",
                info.verb, info.group, info.version, info.namespace, info.resource, info.subresource, info.name
            ),
        }
    }

    #[test]
    fn a19_what_runs_something_in_a_pod() {
        let runs = |target: &str| {
            let path = RequestPath::parse(target).expect("a good path");
            RequestInfo::new(&Method::GET, &path, &Query::default()).expect("a good request").runs
        };
        for target in [
            "/api/v1/namespaces/a/pods/p/exec",
            "/api/v1/namespaces/a/pods/p/portforward",
            "/api/v1/nodes/n/proxy/exec/a/p/c",
            "/api/v1/nodes/n:10250/proxy//attach/a/p/c",
            "/api/v1/nodes/n/proxy/%65xec/a/p/c",
            "/api/v1/nodes/n/proxy/exec%2Fa%2Fp%2Fc",
            "/api/v1/nodes/n/proxy/run/a/p/c",
        ] {
            assert!(runs(target), "{target}");
        }
        for target in [
            "/api/v1/namespaces/a/pods/p/log",
            "/api/v1/nodes/n/proxy",
            "/api/v1/nodes/n/proxy/metrics/exec",
            "/api/v1/nodes/n/proxy/execs",
            "/api/v1/namespaces/a/pods/p/proxy/exec",
        ] {
            assert!(!runs(target), "{target}");
        }
    }

    /// The table of upstream's documentation of RequestInfo, and the odd ones.
    #[test]
    fn table() {
        for (method, target, want) in [
            ("GET", "/", "get path /"),
            ("GET", "/api", "get path /api"),
            ("GET", "/api/v1", "get path /api/v1"),
            ("GET", "/apis/apps/v1", "get path /apis/apps/v1"),
            ("POST", "/healthz/ping", "post path /healthz/ping"),
            ("GET", "/openapi/v3/apis/apps/v1", "get path /openapi/v3/apis/apps/v1"),
            ("GET", "/api/v1/namespaces", "list /v1 ns= namespaces/ name="),
            ("GET", "/api/v1/namespaces/other", "get /v1 ns=other namespaces/ name=other"),
            ("PUT", "/api/v1/namespaces/other/finalize", "update /v1 ns=other namespaces/finalize name=other"),
            ("PATCH", "/api/v1/namespaces/other/status", "patch /v1 ns=other namespaces/status name=other"),
            ("GET", "/api/v1/namespaces/other/pods", "list /v1 ns=other pods/ name="),
            ("GET", "/api/v1/namespaces/other/pods/foo", "get /v1 ns=other pods/ name=foo"),
            ("HEAD", "/api/v1/namespaces/other/pods/foo", "get /v1 ns=other pods/ name=foo"),
            ("GET", "/api/v1/pods", "list /v1 ns= pods/ name="),
            ("GET", "/api/v1/pods?watch=true", "watch /v1 ns= pods/ name="),
            ("GET", "/api/v1/pods?watch=1&fieldSelector=metadata.name%3Dp", "watch /v1 ns= pods/ name=p"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name=..", "list /v1 ns= pods/ name="),
            ("GET", "/api/v1/namespaces/other/pods/foo?watch=true", "get /v1 ns=other pods/ name=foo"),
            ("GET", "/api/v1/watch/pods", "watch /v1 ns= pods/ name="),
            ("GET", "/api/v1/watch/namespaces/other/pods", "watch /v1 ns=other pods/ name="),
            ("GET", "/api/v1/watch/namespaces/other/pods/foo", "watch /v1 ns=other pods/ name=foo"),
            ("GET", "/api/v1/watch", "400 unable to determine kind and namespace from url, /api/v1/watch"),
            ("POST", "/api/v1/namespaces/other/pods", "create /v1 ns=other pods/ name="),
            ("POST", "/api/v1/namespaces/other/pods/foo/exec", "create /v1 ns=other pods/exec name=foo"),
            ("GET", "/api/v1/namespaces/other/pods/foo/exec", "get /v1 ns=other pods/exec name=foo"),
            ("DELETE", "/api/v1/namespaces/other/pods", "deletecollection /v1 ns=other pods/ name="),
            ("DELETE", "/apis/apps/v1/namespaces/d/deployments/x", "delete apps/v1 ns=d deployments/ name=x"),
            ("PATCH", "/apis/apps/v1/namespaces/d/deployments/x/scale", "patch apps/v1 ns=d deployments/scale name=x"),
            ("GET", "/api/v1/nodes/n1/proxy/stats/summary", "get /v1 ns= nodes/proxy name=n1"),
            ("OPTIONS", "/api/v1/pods", " /v1 ns= pods/ name="),
            ("OPTIONS", "/api/v1/nodes/n1/proxy/stats", " /v1 ns= nodes/proxy name=n1"),
        ] {
            assert_eq!(shown(method, target), want, "{method} {target}");
        }
    }
}
