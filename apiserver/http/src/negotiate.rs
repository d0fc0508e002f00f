//! Content negotiation: which format and which shape an answer has, and what a body is in. Pure.

use api_codec::decode::Format;
use api_codec::patch::PatchKind;
use api_codec::protobuf;
use api_machinery::ApiError;
use api_machinery::error::Result;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};

use crate::query::Query;

/// What of an object is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    #[default]
    Object,
    /// `as=Table`
    Table,
    /// `as=PartialObjectMetadata` or `...List`
    Partial,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub format: Format,
    pub shape: Shape,
    /// `apiVersion` of tables and partial objects: `v1`, or `v1beta1` where asked for.
    pub meta_beta: bool,
    pub pretty: bool,
    pub gzip: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self { format: Format::Json, shape: Shape::Object, meta_beta: false, pretty: false, gzip: false }
    }
}

impl Output {
    /// `apiVersion` of what this server wraps around objects.
    pub(crate) fn meta_version(self) -> &'static str {
        if self.meta_beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }
}

/// One clause of an Accept header.
#[derive(Debug)]
pub(crate) struct Clause<'a> {
    /// `application/json`
    pub kind: &'a str,
    pub parameters: Vec<(&'a str, &'a str)>,
    quality: f64,
}

/// What comes behind this many clauses is not looked at: sorting takes the square of it.
const MAX_CLAUSES: usize = 100;

impl<'a> Clause<'a> {
    /// `None` for what is no media type. A quality that cannot be read is none.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = match parts.next().unwrap_or("") {
            "*" => "*/*",
            kind if kind.matches('/').count() == 1 => kind,
            _ => return None,
        };
        let mut parameters = Vec::new();
        let mut quality = 1.0;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            if name == "q" {
                quality = value.parse().unwrap_or(0.0);
            } else {
                parameters.push((name.trim(), value));
            }
        }
        Some(Self { kind, parameters, quality })
    }
    pub(crate) fn parameter(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }
    /// As upstream compares two neighbours: what is wanted more, or more particular, goes first. That is no order, for
    /// two can each go before the other: then they change places.
    fn goes_before(&self, other: &Self) -> bool {
        let more_particular = |is_any: fn(&str) -> bool| !is_any(self.kind) && is_any(other.kind);
        self.quality > other.quality
            || more_particular(|kind| kind.starts_with("*/"))
            || more_particular(|kind| kind.ends_with("/*"))
    }
}

/// Accept clauses in the order in which upstream tries them; an absent header is `*/*`. None is dropped: what is not
/// wanted at all (`q=0`) is still taken where nothing else can be had.
pub(crate) fn accepted(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let texts = values.flat_map(|value| value.split(',')).map(str::trim).filter(|text| !text.is_empty());
    let mut texts = texts.take(MAX_CLAUSES).peekable();
    if texts.peek().is_none() {
        return Clause::parse("*/*").into_iter().collect();
    }
    let mut sorted: Vec<Clause<'_>> = Vec::new();
    for clause in texts.filter_map(Clause::parse) {
        let passed = sorted.iter().rev().take_while(|other| clause.goes_before(other)).count();
        sorted.insert(sorted.len() - passed, clause);
    }
    sorted
}

/// What kinds of answer an endpoint can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Objects: also as Table and PartialObjectMetadata.
    Objects,
    /// A list: also as Table and PartialObjectMetadataList.
    List,
    /// A stream of events: not as YAML.
    Watch,
    /// Anything else: no other shapes.
    Plain,
}

fn shape_of(clause: &Clause<'_>, endpoint: Endpoint) -> Option<(Shape, bool)> {
    let kind = clause.parameter("as");
    if ["as", "g", "v"].iter().all(|name| clause.parameter(name).is_empty()) {
        return Some((Shape::Object, false));
    }
    let beta = match (clause.parameter("g"), clause.parameter("v")) {
        ("meta.k8s.io", "v1") => false,
        ("meta.k8s.io", "v1beta1") => true,
        _ => return None,
    };
    let shape = match (kind, endpoint) {
        (_, Endpoint::Plain) => return None,
        ("Table", _) => Shape::Table,
        ("PartialObjectMetadata", Endpoint::Objects | Endpoint::Watch) => Shape::Partial,
        ("PartialObjectMetadataList", Endpoint::List) => Shape::Partial,
        _ => return None,
    };
    Some((shape, beta))
}

fn format_of(kind: &str, endpoint: Endpoint) -> Option<Format> {
    match kind {
        "application/json" | "*/*" | "application/*" => Some(Format::Json),
        "application/yaml" if endpoint != Endpoint::Watch => Some(Format::Yaml),
        protobuf::MEDIA_TYPE => Some(Format::Protobuf),
        _ => None,
    }
}

/// The first acceptable clause wins; 406 with the list of what there is when none does.
pub(crate) fn output(headers: &HeaderMap, query: &Query, endpoint: Endpoint) -> Result<Output> {
    let clauses = accepted(headers);
    if endpoint != Endpoint::Plain && clauses.iter().all(|clause| format_of(clause.kind, Endpoint::Plain).is_none()) {
        return Err(not_produced(produced(endpoint)));
    }
    for clause in clauses {
        let Some(format) = format_of(clause.kind, endpoint) else { continue };
        check_listed(&clause, endpoint)?;
        let Some((shape, meta_beta)) = shape_of(&clause, endpoint) else { continue };
        let streamed = matches!(clause.parameter("stream"), "" | "watch");
        // Protobuf has no message for tables.
        if !streamed || format == Format::Protobuf && shape == Shape::Table {
            continue;
        }
        let pretty = endpoint != Endpoint::Watch && wants_pretty(headers, query, &clause);
        return Ok(Output { format, shape, meta_beta, pretty, gzip: accepts_gzip(headers) });
    }
    let known = match endpoint {
        Endpoint::Watch => "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json, application/yaml, application/vnd.kubernetes.protobuf",
    };
    Err(ApiError::not_acceptable(format!("only the following media types are accepted: {known}")))
}

/// What aggregated discovery is asked for in. Upstream looks at no clause that does not ask for it: the first that does
/// counts, however much less it is wanted than others.
pub(crate) fn aggregated_discovery(headers: &HeaderMap, query: &Query) -> Option<Output> {
    accepted(headers).iter().find_map(|clause| {
        let [kind, group, version] = ["as", "g", "v"].map(|name| clause.parameter(name));
        let asked = (kind, group, version) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2");
        let format = format_of(clause.kind, Endpoint::Plain).filter(|_| asked)?;
        let pretty = wants_pretty(headers, query, clause);
        Some(Output { format, pretty, gzip: accepts_gzip(headers), ..Output::default() })
    })
}

fn produced(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::List | Endpoint::Watch => {
            "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch"
        }
        Endpoint::Objects | Endpoint::Plain => {
            "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        }
    }
}

/// What upstream's router says before it looks at parameters.
pub(crate) fn not_produced(produced: &str) -> ApiError {
    let text = format!("406: Not Acceptable\n\nAvailable representations: {produced}");
    ApiError::not_acceptable(text).with_empty_details()
}

/// Metadata of one object is not that of a list; upstream notices when it has the answer, and tries nothing else then.
fn check_listed(clause: &Clause<'_>, endpoint: Endpoint) -> Result<()> {
    let wanted = clause.parameter("as");
    let is = match (wanted, endpoint) {
        ("PartialObjectMetadata", Endpoint::List) => "is a list",
        ("PartialObjectMetadataList", Endpoint::Objects) => "is not a list",
        _ => return Ok(()),
    };
    Err(ApiError::not_acceptable(format!("you requested {wanted}, but the requested object {is}")))
}

/// For errors: whatever is possible, JSON else.
pub(crate) fn output_or_json(headers: &HeaderMap, query: &Query) -> Output {
    output(headers, query, Endpoint::Plain).unwrap_or_default()
}

/// `pretty=true`, `;pretty=1`, or a person's browser or curl, as upstream guesses.
fn wants_pretty(headers: &HeaderMap, query: &Query, clause: &Clause<'_>) -> bool {
    let agent = || headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_person = || ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent().starts_with(name));
    clause.parameter("pretty") == "1"
        || match query.text("pretty") {
            "" => is_person(),
            text => matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        }
}

pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|text| text.split_once(';').unwrap_or((text, "")))
        .any(|(coding, weight)| coding.trim() == "gzip" && !is_zero(weight))
}

/// `q=0`
fn is_zero(weight: &str) -> bool {
    let quality = weight.trim().strip_prefix("q=").map(|text| text.trim().parse::<f64>());
    quality.is_some_and(|quality| quality == Ok(0.0))
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim()
}

fn unknown_format(known: &str) -> ApiError {
    let text = format!("the body of the request was in an unknown format - accepted media types include: {known}");
    ApiError::unsupported_media_type(text)
}

/// Format of an object body; 415 for everything unknown. Without a Content-Type it is JSON.
pub(crate) fn body_format(headers: &HeaderMap) -> Result<Format> {
    match media_type(headers).to_ascii_lowercase().as_str() {
        "" | "application/json" | "text/json" => Ok(Format::Json),
        "application/yaml" | "text/yaml" | "application/x-yaml" => Ok(Format::Yaml),
        protobuf::MEDIA_TYPE => Ok(Format::Protobuf),
        _ => Err(unknown_format("application/json, application/yaml, application/vnd.kubernetes.protobuf")),
    }
}

/// What the body of a PATCH is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchBody {
    Patch(PatchKind),
    /// A configuration to apply, YAML or JSON.
    Apply,
}

/// 415 for what is no patch. The CBOR form of apply is none, as upstream without its feature gate.
pub(crate) fn patch_body(headers: &HeaderMap) -> Result<PatchBody> {
    match media_type(headers) {
        "application/json-patch+json" => Ok(PatchBody::Patch(PatchKind::Json)),
        "application/merge-patch+json" => Ok(PatchBody::Patch(PatchKind::Merge)),
        "application/strategic-merge-patch+json" => Ok(PatchBody::Patch(PatchKind::Strategic)),
        "application/apply-patch+yaml" => Ok(PatchBody::Apply),
        _ => Err(unknown_format(
            "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
             application/apply-patch+yaml",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header value"));
        headers
    }

    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const PARTIAL: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
        application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

    #[test]
    fn accept() {
        use Endpoint::{List, Objects, Plain, Watch};
        let read = |text: &str, endpoint| {
            let output = output(&headers(text), &Query::default(), endpoint);
            output.map(|output| (output.format, output.shape)).map_err(|error| error.code)
        };
        let kubectl = format!("{TABLE},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json");
        for (text, endpoint, want) in [
            ("*/*", Objects, Ok((Format::Json, Shape::Object))),
            ("application/vnd.kubernetes.protobuf,application/json", List, Ok((Format::Protobuf, Shape::Object))),
            ("application/vnd.kubernetes.protobuf;q=0.5,application/json", List, Ok((Format::Json, Shape::Object))),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", List, Err(406)),
            ("application/vnd.kubernetes.protobuf;stream=watch", Watch, Ok((Format::Protobuf, Shape::Object))),
            ("application/cbor", List, Err(406)),
            ("text/html", List, Err(406)),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                List,
                Ok((Format::Json, Shape::Object)),
            ),
            ("application/json;q=0.1, application/yaml", Objects, Ok((Format::Yaml, Shape::Object))),
            ("application/json;q=0", Objects, Ok((Format::Json, Shape::Object))),
            ("application/json;q=0, application/yaml;q=0.1", Objects, Ok((Format::Yaml, Shape::Object))),
            ("*/*, application/yaml", Objects, Ok((Format::Yaml, Shape::Object))),
            ("*/*;q=1, application/yaml;q=0.1", Objects, Ok((Format::Yaml, Shape::Object))),
            ("application/*, application/yaml;q=0.1", Objects, Ok((Format::Yaml, Shape::Object))),
            ("application/yaml;q=high, application/json;q=0.1", Objects, Ok((Format::Json, Shape::Object))),
            ("application/yaml; q=0.2;pretty=1, application/json ; q=0.1", Objects, Ok((Format::Yaml, Shape::Object))),
            ("*", Objects, Ok((Format::Json, Shape::Object))),
            ("json", Objects, Err(406)),
            (", ,application/yaml,", Objects, Ok((Format::Yaml, Shape::Object))),
            ("", Objects, Ok((Format::Json, Shape::Object))),
            ("application/json;g=meta.k8s.io;v=v1", Objects, Err(406)),
            ("application/json;charset=utf-8", Objects, Ok((Format::Json, Shape::Object))),
            ("application/yaml", Watch, Err(406)),
            ("application/json;stream=watch", Watch, Ok((Format::Json, Shape::Object))),
            (&kubectl, List, Ok((Format::Json, Shape::Table))),
            (&kubectl, Plain, Ok((Format::Json, Shape::Object))),
            (TABLE, Plain, Err(406)),
            (PARTIAL, Objects, Ok((Format::Protobuf, Shape::Partial))),
            (PARTIAL, List, Err(406)),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                List,
                Ok((Format::Json, Shape::Partial)),
            ),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", List, Err(406)),
        ] {
            assert_eq!(read(text, endpoint), want, "{text} {endpoint:?}");
        }
    }

    #[test]
    fn bodies() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, text.parse().expect("a header value"));
            headers
        };
        assert_eq!(body_format(&HeaderMap::new()), Ok(Format::Json));
        assert_eq!(body_format(&of("application/json; charset=utf-8")), Ok(Format::Json));
        assert_eq!(body_format(&of("application/yaml")), Ok(Format::Yaml));
        assert_eq!(body_format(&of("application/vnd.kubernetes.protobuf")), Ok(Format::Protobuf));
        assert_eq!(body_format(&of("application/cbor")).map_err(|error| error.code), Err(415));
        assert_eq!(
            patch_body(&of("application/strategic-merge-patch+json")),
            Ok(PatchBody::Patch(PatchKind::Strategic))
        );
        assert_eq!(patch_body(&of("application/apply-patch+yaml; charset=utf-8")), Ok(PatchBody::Apply));
        assert_eq!(patch_body(&of("application/apply-patch+cbor")).map_err(|error| error.code), Err(415));
        assert_eq!(patch_body(&HeaderMap::new()).map_err(|error| error.code), Err(415));
    }

    #[test]
    fn compression() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, text.parse().expect("a header value"));
            accepts_gzip(&headers)
        };
        assert!(of("gzip") && of("deflate, gzip;q=0.5") && !of("gzip;q=0") && !of("br"));
    }
}
