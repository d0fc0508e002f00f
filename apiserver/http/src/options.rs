//! Query parameters and `DeleteOptions` bodies as typed options, with upstream's validation
//! (`k8s.io/apimachinery/pkg/apis/meta/{v1,internalversion}/validation`). Pure.

use std::time::Duration;

use api_codec::decode::{self, FieldValidation};
use api_machinery::error::Result;
use api_machinery::fields::FieldSelector;
use api_machinery::labels::Selector;
use api_machinery::{ApiError, ErrorList, GroupKind, Path, Value, duration, object};
use api_registry::{DeleteOptions, ListOptions, VersionMatch};
use api_schema::Schema;

use crate::query::Query;

/// What a request may take when it does not say, and the most it may ask for.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// `fieldManager` is at most this long (bytes).
const MAX_FIELD_MANAGER: usize = 128;

/// `LIST`, `WATCH` and `DELETECOLLECTION` parameters.
#[derive(Debug)]
pub(crate) struct ListParameters {
    pub list: ListOptions,
    pub timeout: Option<Duration>,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

/// `dryRun`, `fieldManager` and `fieldValidation` of any write, `force` of an apply.
#[derive(Debug)]
pub(crate) struct WriteParameters {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    pub force: bool,
}

/// What a write's options are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Create,
    Update,
    Patch,
    Apply,
}

impl Write {
    fn options(self) -> &'static str {
        match self {
            Self::Create => "CreateOptions",
            Self::Update => "UpdateOptions",
            Self::Patch | Self::Apply => "PatchOptions",
        }
    }
}

fn invalid(kind: &str, errors: ErrorList) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&GroupKind { group: "meta.k8s.io".into(), kind: kind.into() }, "", errors))
}

/// `resourceVersion` of a get or a watch: empty is `None`; 400 when it is not a decimal number, where upstream has no code
/// of its own and answers 500.
pub(crate) fn resource_version(text: &str) -> Result<Option<u64>> {
    parsed_version(text).map_err(ApiError::bad_request)
}

/// The same of a list, which has a code for it.
fn listed_version(text: &str) -> Result<Option<u64>> {
    parsed_version(text).map_err(|why| ApiError::bad_request(format!("invalid resource version: {why}")))
}

fn parsed_version(text: &str) -> std::result::Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
    })
}

/// How a watch may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    /// With what there is: the feature gate WatchList.
    pub(crate) may_list: bool,
}

/// Options of a list, a watch (`watch`) or a deletecollection.
pub(crate) fn list_parameters(query: &Query, watch: Option<Watch>) -> Result<ListParameters> {
    let label_selector = Selector::parse(query.text("labelSelector")).map_err(ApiError::bad_request)?;
    let field_selector = FieldSelector::parse(query.text("fieldSelector")).map_err(ApiError::bad_request)?;
    let limit = query.integer("limit")?.unwrap_or(0);
    let seconds = query.integer("timeoutSeconds")?.filter(|seconds| *seconds > 0);
    let send_initial_events = query.optional_flag("sendInitialEvents");
    let mut errors = ErrorList::new();
    match watch {
        Some(watch) => check_watch(query, send_initial_events, watch, &mut errors),
        None => check_list(query, send_initial_events, &mut errors),
    }
    invalid("ListOptions", errors)?;
    let version_match = match query.text("resourceVersionMatch") {
        "Exact" => VersionMatch::Exact,
        "NotOlderThan" => VersionMatch::NotOlderThan,
        _ => VersionMatch::Unset,
    };
    let list = ListOptions {
        label_selector,
        field_selector,
        resource_version: match watch {
            Some(_) => resource_version(query.text("resourceVersion"))?,
            None => listed_version(query.text("resourceVersion"))?,
        },
        version_match,
        limit: usize::try_from(limit).unwrap_or(0),
        continue_token: query.text("continue").to_owned(),
    };
    let timeout = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    Ok(ListParameters { list, timeout, bookmarks: query.flag("allowWatchBookmarks"), send_initial_events })
}

const MATCH: &str = "resourceVersionMatch";

fn check_list(query: &Query, send_initial_events: Option<bool>, errors: &mut ErrorList) {
    let field = Path::new(MATCH);
    let wanted = query.text(MATCH);
    let version = query.text("resourceVersion");
    if !wanted.is_empty() {
        if version.is_empty() {
            errors.forbidden(&field, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !query.text("continue").is_empty() {
            errors.forbidden(&field, "resourceVersionMatch is forbidden when continue is provided");
        }
        if wanted != "Exact" && wanted != "NotOlderThan" {
            errors.not_supported_listed(&field, &wanted.into(), &["Exact", "NotOlderThan", ""]);
        }
        if wanted == "Exact" && version == "0" {
            errors.forbidden(&field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    if send_initial_events.is_some() {
        errors.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
    }
}

fn check_watch(query: &Query, send_initial_events: Option<bool>, watch: Watch, errors: &mut ErrorList) {
    let field = Path::new(MATCH);
    let (mut says_how_to_begin, mut wanted) = (send_initial_events.is_some(), query.text(MATCH));
    // As upstream has it, what says nothing else asks for initial events, and for those that are not older.
    let legacy = matches!(query.text("resourceVersion"), "" | "0");
    if watch.may_list && legacy && !says_how_to_begin && wanted.is_empty() {
        (says_how_to_begin, wanted) = (true, "NotOlderThan");
    }
    if says_how_to_begin && wanted != "NotOlderThan" {
        errors.forbidden(&field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if says_how_to_begin && !watch.may_list {
        let field = Path::new("sendInitialEvents");
        errors
            .forbidden(&field, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled");
    }
    if wanted.is_empty() {
        return;
    }
    if !says_how_to_begin {
        errors.forbidden(&field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    if wanted != "NotOlderThan" {
        errors.not_supported(&field, &wanted.into(), &["NotOlderThan"]);
    }
    if !query.text("continue").is_empty() {
        errors.forbidden(&field, "resourceVersionMatch is forbidden when continue is provided");
    }
}

fn check_dry_run(values: &[&str], errors: &mut ErrorList) {
    if values.iter().any(|value| *value != "All") {
        let shown: Vec<Value> = values.iter().map(|value| Value::from(*value)).collect();
        errors.not_supported(&Path::new("dryRun"), &Value::Array(shown), &["All"]);
    }
}

fn check_field_manager(manager: &str, errors: &mut ErrorList) {
    let field = Path::new("fieldManager");
    if manager.len() > MAX_FIELD_MANAGER {
        errors.too_long(&field, MAX_FIELD_MANAGER);
    }
    for (at, bad) in manager.char_indices().filter(|(_, char)| !is_printable(*char)) {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(bad));
        errors.invalid(&field, &manager.into(), &detail);
    }
}

/// As Go's `unicode.IsPrint`: of all spaces only the ASCII one.
fn is_printable(char: char) -> bool {
    // What Rust escapes after another character is neither a graphic character nor a mark on one.
    let escaped = || format!("a{char}").escape_debug().to_string().contains("\\u");
    char == ' ' || (!char.is_whitespace() && !char.is_control() && !escaped())
}

/// The manager of a client that does not name one: what it calls itself, as far as that can be a manager's name.
pub(crate) fn manager_of_agent(agent: &str) -> String {
    let mut name = String::new();
    for char in agent.split('/').next().unwrap_or("").chars().filter(|char| is_printable(*char)) {
        if name.len() + char.len_utf8() > MAX_FIELD_MANAGER {
            break;
        }
        name.push(char);
    }
    name
}

fn check_force(query: &Query, write: Write, errors: &mut ErrorList) {
    if write == Write::Apply {
        if query.text("fieldManager").is_empty() {
            errors.required(&Path::new("fieldManager"), "is required for apply patch");
        }
    } else if write == Write::Patch && query.get("force").is_some() {
        errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
    }
}

/// Options of create, update, patch or apply.
pub(crate) fn write_parameters(query: &Query, write: Write) -> Result<WriteParameters> {
    let mut errors = ErrorList::new();
    let dry_run: Vec<&str> = query.all("dryRun").filter(|value| !value.is_empty()).collect();
    let manager = query.text("fieldManager");
    check_force(query, write, &mut errors);
    check_field_manager(manager, &mut errors);
    check_dry_run(&dry_run, &mut errors);
    let field_validation = match query.text("fieldValidation") {
        "Ignore" => FieldValidation::Ignore,
        "" | "Warn" => FieldValidation::Warn,
        "Strict" => FieldValidation::Strict,
        other => {
            let supported = ["", "Ignore", "Warn", "Strict"];
            errors.not_supported(&Path::new("fieldValidation"), &other.into(), &supported);
            FieldValidation::Strict
        }
    };
    invalid(write.options(), errors)?;
    let (dry_run, field_manager) = (!dry_run.is_empty(), manager.to_owned());
    Ok(WriteParameters { dry_run, field_manager, field_validation, force: query.flag("force") })
}

/// `timeout`, a Go duration; the answer is at most [`REQUEST_TIMEOUT`]. 400 as upstream when malformed.
pub(crate) fn deadline(query: &Query) -> Result<Duration> {
    match query.text("timeout") {
        "" => Ok(REQUEST_TIMEOUT),
        text => match duration::parse(text) {
            Some(Duration::ZERO) => Ok(REQUEST_TIMEOUT),
            Some(duration) => Ok(duration.min(REQUEST_TIMEOUT)),
            None => Err(ApiError::bad_request(format!(
                "invalid timeout specified in the request URL - time: invalid duration {text:?}"
            ))),
        },
    }
}

/// Options of a delete.
#[derive(Debug)]
pub(crate) struct DeleteParameters {
    pub options: DeleteOptions,
    pub dry_run: bool,
    /// It asks that dependents go first: 202 says that the object is still there.
    pub waits: bool,
}

/// Options of a delete: from the body where there is one, else from the query.
pub(crate) fn delete_options(query: &Query, body: Option<&Value>) -> Result<DeleteParameters> {
    let raw = match body {
        Some(value) => from_body(value)?,
        None => from_query(query)?,
    };
    let mut errors = ErrorList::new();
    let field = Path::new("propagationPolicy");
    if raw.orphan_dependents.is_some() && raw.propagation_policy.is_some() {
        let bad = raw.propagation_policy.clone().into();
        errors.invalid(&field, &bad, "orphanDependents and deletionPropagation cannot be both set");
    }
    if let Some(policy) = &raw.propagation_policy
        && !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan")
    {
        errors.not_supported_listed(&field, &policy.as_str().into(), &["Foreground", "Background", "Orphan", "nil"]);
    }
    let dry_run: Vec<&str> = raw.dry_run.iter().map(String::as_str).collect();
    check_dry_run(&dry_run, &mut errors);
    invalid("DeleteOptions", errors)?;
    let orphan = raw.orphan_dependents.map(|orphan| if orphan { "Orphan" } else { "Background" }.to_owned());
    let options = DeleteOptions {
        grace_period_seconds: raw.grace_period_seconds,
        precondition_uid: raw.uid,
        precondition_resource_version: raw.resource_version,
        propagation_policy: raw.propagation_policy.or(orphan),
    };
    let waits = raw.orphan_dependents == Some(false) || options.propagation_policy.as_deref() == Some("Foreground");
    Ok(DeleteParameters { options, dry_run: !raw.dry_run.is_empty(), waits })
}

#[derive(Default)]
struct RawDelete {
    grace_period_seconds: Option<i64>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    dry_run: Vec<String>,
}

fn from_query(query: &Query) -> Result<RawDelete> {
    Ok(RawDelete {
        grace_period_seconds: query.integer("gracePeriodSeconds")?,
        orphan_dependents: query.optional_flag("orphanDependents"),
        propagation_policy: query.get("propagationPolicy").filter(|text| !text.is_empty()).map(str::to_owned),
        dry_run: query.all("dryRun").filter(|text| !text.is_empty()).map(str::to_owned).collect(),
        ..RawDelete::default()
    })
}

fn from_body(body: &Value) -> Result<RawDelete> {
    if body.is_null() {
        return Ok(RawDelete::default());
    }
    if let Some(why) = decode::no_kind(body) {
        return Err(ApiError::bad_request(why));
    }
    let or = |field: &str, default: &'static str| match object::str_at(body, field) {
        "" => default.to_owned(),
        text => text.to_owned(),
    };
    // Of any version, as upstream.
    let (kind, version) = (or("kind", "DeleteOptions"), or("apiVersion", "v1"));
    if kind != "DeleteOptions" {
        let text = format!("no kind {kind:?} is registered for version {version:?} at this path");
        return Err(ApiError::bad_request(text));
    }
    let schema = Schema::builtin();
    let type_id = schema.type_named("meta.v1.DeleteOptions").ok_or_else(|| ApiError::internal("no DeleteOptions"))?;
    let mut options = body.clone();
    decode::check(schema, type_id, &mut options, Vec::new(), FieldValidation::Ignore).map_err(ApiError::bad_request)?;
    let text = |path: &str| object::at(&options, path).and_then(Value::as_str).map(str::to_owned);
    let dry_run = options.get("dryRun").and_then(Value::as_array).into_iter().flatten();
    Ok(RawDelete {
        grace_period_seconds: options.get("gracePeriodSeconds").and_then(Value::as_i64),
        orphan_dependents: options.get("orphanDependents").and_then(Value::as_bool),
        propagation_policy: text("propagationPolicy"),
        uid: text("preconditions.uid"),
        resource_version: text("preconditions.resourceVersion"),
        dry_run: dry_run.filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text)).expect("a good query")
    }

    #[test]
    fn refused_parameters() {
        let mut out = String::new();
        let mut note = |what: &str, error: Option<ApiError>| {
            let shown = error
                .map_or("ok".to_owned(), |error| format!("{} {} {}", error.code, error.reason.as_str(), error.message));
            out.push_str(&format!("{what}: {shown}\n"));
        };
        for text in [
            "limit=ten",
            "timeoutSeconds=1s",
            "resourceVersion=abc",
            "resourceVersion=-1",
            "resourceVersionMatch=Exact",
            "resourceVersionMatch=Exact&resourceVersion=0",
            "resourceVersionMatch=Newest&resourceVersion=5",
            "resourceVersionMatch=NotOlderThan&resourceVersion=5&continue=x",
            "sendInitialEvents=true",
            "limit=5&resourceVersion=0",
        ] {
            note(&format!("list {text}"), list_parameters(&query(text), None).err());
        }
        for text in [
            "sendInitialEvents=true",
            "resourceVersionMatch=NotOlderThan",
            "resourceVersionMatch=Exact&sendInitialEvents=true",
            "resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=1",
            "continue=x&resourceVersion=0",
            "continue=x&resourceVersion=5",
        ] {
            note(&format!("watch {text}"), list_parameters(&query(text), Some(Watch { may_list: true })).err());
        }
        for text in ["dryRun=Some", "fieldValidation=Loose", "fieldManager=a%07", "dryRun=All&fieldValidation=Strict"] {
            note(&format!("write {text}"), write_parameters(&query(text), Write::Create).err());
        }
        for text in ["fieldManager=me&force=true", "force=true", &*format!("fieldManager={}", "m".repeat(129))] {
            note(&format!("apply {text}"), write_parameters(&query(text), Write::Apply).err());
        }
        note("patch force=false", write_parameters(&query("force=false"), Write::Patch).err());
        for text in ["timeout=5", "timeout=5s", "timeout=x", "timeout=-5s"] {
            note(text, deadline(&query(text)).err());
        }
        for body in [
            json!({"propagationPolicy": "Sideways"}),
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            json!({"gracePeriodSeconds": "1"}),
            json!({"dryRun": ["None"]}),
            json!({"dryRun": "All"}),
            json!({"preconditions": {"uid": 1}}),
            json!({"kind": "Pod"}),
            json!({"kind": 1}),
            json!([]),
            json!(null),
        ] {
            note(&format!("delete {body}"), delete_options(&query(""), Some(&body)).err());
        }
        expect![[r#"
            list limit=ten: 400 BadRequest strconv.ParseInt: parsing "ten": invalid syntax
            list timeoutSeconds=1s: 400 BadRequest strconv.ParseInt: parsing "1s": invalid syntax
            list resourceVersion=abc: 400 BadRequest invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax
            list resourceVersion=-1: 400 BadRequest invalid resource version: resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": invalid syntax
            list resourceVersionMatch=Exact: 422 Invalid ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided
            list resourceVersionMatch=Exact&resourceVersion=0: 422 Invalid ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"
            list resourceVersionMatch=Newest&resourceVersion=5: 422 Invalid ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Newest": supported values: "Exact", "NotOlderThan", ""
            list resourceVersionMatch=NotOlderThan&resourceVersion=5&continue=x: 422 Invalid ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided
            list sendInitialEvents=true: 422 Invalid ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list
            list limit=5&resourceVersion=0: ok
            watch sendInitialEvents=true: 422 Invalid ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan
            watch resourceVersionMatch=NotOlderThan: 422 Invalid ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided
            watch resourceVersionMatch=Exact&sendInitialEvents=true: 422 Invalid ListOptions.meta.k8s.io "" is invalid: [resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]
            watch resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=1: ok
            watch continue=x&resourceVersion=0: 422 Invalid ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided
            watch continue=x&resourceVersion=5: ok
            write dryRun=Some: 422 Invalid CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"
            write fieldValidation=Loose: 422 Invalid CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Loose": supported values: "", "Ignore", "Strict", "Warn"
            write fieldManager=a%07: 422 Invalid CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\a": invalid character U+0007 (at position 1)
            write dryRun=All&fieldValidation=Strict: ok
            apply fieldManager=me&force=true: ok
            apply force=true: 422 Invalid PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch
            apply fieldManager=mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm: 422 Invalid PatchOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes
            patch force=false: 422 Invalid PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch
            timeout=5: 400 BadRequest invalid timeout specified in the request URL - time: invalid duration "5"
            timeout=5s: ok
            timeout=x: 400 BadRequest invalid timeout specified in the request URL - time: invalid duration "x"
            timeout=-5s: 400 BadRequest invalid timeout specified in the request URL - time: invalid duration "-5s"
            delete {"propagationPolicy":"Sideways"}: 422 Invalid DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Sideways": supported values: "Foreground", "Background", "Orphan", "nil"
            delete {"orphanDependents":true,"propagationPolicy":"Orphan"}: 422 Invalid DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set
            delete {"gracePeriodSeconds":"1"}: 400 BadRequest json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64
            delete {"dryRun":["None"]}: 422 Invalid DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["None"]: supported values: "All"
            delete {"dryRun":"All"}: 400 BadRequest json: cannot unmarshal string into Go struct field DeleteOptions.dryRun of type []string
            delete {"preconditions":{"uid":1}}: 400 BadRequest json: cannot unmarshal number into Go struct field Preconditions.preconditions.uid of type types.UID
            delete {"kind":"Pod"}: 400 BadRequest no kind "Pod" is registered for version "v1" at this path
            delete {"kind":1}: 400 BadRequest couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string
            delete []: 400 BadRequest couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }
            delete null: ok
        "#]].assert_eq(&out);
    }

    #[test]
    fn managers_of_agents() {
        for (agent, manager) in [
            ("kubectl/v1.36.0 (linux/amd64) kubernetes/abc", "kubectl"),
            ("Go-http-client/2.0", "Go-http-client"),
            ("", ""),
            ("/x", ""),
            ("a\u{7}\u{a0}\u{200b}b c", "ab c"),
            ("e\u{301}", "e\u{301}"),
        ] {
            assert_eq!(manager_of_agent(agent), manager);
        }
        assert_eq!(manager_of_agent(&"é".repeat(100)), "é".repeat(64));
    }

    #[test]
    fn read_parameters() {
        let read = list_parameters(&query("limit=500&resourceVersion=7&timeoutSeconds=30&continue=c"), None);
        let read = read.expect("good");
        assert_eq!((read.list.limit, read.list.resource_version), (500, Some(7)));
        assert_eq!((read.timeout, read.list.continue_token.as_str()), (Some(Duration::from_secs(30)), "c"));
        assert_eq!(deadline(&query("timeout=1m30s")).expect("good"), REQUEST_TIMEOUT);
        assert_eq!(deadline(&query("timeout=1.5s")).expect("good"), Duration::from_millis(1500));
        let body = json!({"kind": "DeleteOptions", "gracePeriodSeconds": 0, "orphanDependents": true,
            "preconditions": {"uid": "u"}, "dryRun": ["All"]});
        let read = delete_options(&query("gracePeriodSeconds=9"), Some(&body)).expect("good");
        assert_eq!((read.options.grace_period_seconds, read.dry_run, read.waits), (Some(0), true, false));
        assert_eq!(read.options.propagation_policy.as_deref(), Some("Orphan"));
        assert_eq!(read.options.precondition_uid.as_deref(), Some("u"));
        for (text, waits) in [
            ("", false),
            ("propagationPolicy=Background", false),
            ("propagationPolicy=Foreground", true),
            ("orphanDependents=false", true),
        ] {
            assert_eq!(delete_options(&query(text), None).expect("good").waits, waits, "{text}");
        }
    }
}
