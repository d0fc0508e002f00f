//! What a controller wants done, as data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::{Value, json};

/// A resource as a path names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvr {
    /// Empty for the core group.
    pub group: Arc<str>,
    pub version: Arc<str>,
    /// `deployments`
    pub resource: Arc<str>,
}

impl Gvr {
    pub fn new(group: &str, version: &str, resource: &str) -> Self {
        Self { group: group.into(), version: version.into(), resource: resource.into() }
    }
    pub fn of<T: k8s_openapi::Resource>() -> Self {
        Self::new(T::GROUP, T::VERSION, T::URL_PATH_SEGMENT)
    }
}

/// One object, or (with an empty name) the place it is created in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    pub gvr: Gvr,
    /// Empty for cluster-scoped resources.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Target {
    pub fn new(gvr: Gvr, namespace: &str, name: &str) -> Self {
        Self { gvr, namespace: namespace.into(), name: name.into() }
    }
    pub fn of<T: Metadata<Ty = ObjectMeta>>(object: &T) -> Self {
        let meta = object.metadata();
        Self::new(
            Gvr::of::<T>(),
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.gvr.resource)?;
        if !self.gvr.group.is_empty() {
            write!(f, ".{}", self.gvr.group)?;
        }
        match self.namespace.is_empty() {
            true => write!(f, " {}", self.name),
            false => write!(f, " {}/{}", self.namespace, self.name),
        }
    }
}

/// How a patch body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Merge,
    Strategic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}

/// What a delete demands and asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteOptions {
    /// Refused when the object has another uid. Empty: any.
    pub uid: String,
    /// Refused when the object has changed since. Empty: any.
    pub resource_version: String,
    pub propagation: Option<Propagation>,
    pub grace_period_seconds: Option<i64>,
}

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Regarding {
    pub api_version: String,
    pub kind: Cow<'static, str>,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

impl Regarding {
    pub fn of<T: Metadata<Ty = ObjectMeta>>(object: &T) -> Self {
        let meta = object.metadata();
        Self {
            api_version: T::API_VERSION.to_owned(),
            kind: T::KIND.into(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// An Event to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    pub regarding: Regarding,
    /// `Warning` rather than `Normal`.
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

/// Events about the outcome of a create or delete, whose texts end with what only the outcome tells:
/// the name of the object, or the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub regarding: Regarding,
    /// `None`: success is not worth an Event.
    pub done: Option<(&'static str, &'static str)>,
    /// The reason is also that of the [`Failure`](crate::Failure) the next reconcile is told of.
    pub failed: (&'static str, Cow<'static, str>),
}

/// A question to authorization: may this user do that, on no object in particular?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
    pub verb: &'static str,
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} may {} {}/{}.{}", self.user, self.verb, self.resource, self.subresource, self.group)
    }
}

/// A certificate to be made by whoever holds the key of the CA, and written into the status of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    pub target: Target,
    pub uid: String,
    /// PEM of a PKCS #10 request.
    pub request: Vec<u8>,
    pub usages: Vec<String>,
    /// As asked for; `None`: as long as the signer lets certificates live.
    pub seconds: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Create {
        target: Target,
        object: Value,
        report: Option<Report>,
        /// An object of that name that exists already is as good.
        existing_is_fine: bool,
    },
    /// Writes the whole object; its `metadata.resourceVersion` must still be the newest.
    Update {
        target: Target,
        subresource: &'static str,
        object: Value,
    },
    /// An object that is gone is no error.
    Patch {
        target: Target,
        subresource: &'static str,
        patch: PatchType,
        body: Value,
    },
    /// An object that is gone is no error.
    Delete {
        target: Target,
        options: DeleteOptions,
        report: Option<Report>,
    },
    /// Deletes everything of a resource in a namespace.
    DeleteCollection {
        gvr: Gvr,
        namespace: Arc<str>,
    },
    /// Fails unless a fresh look finds nothing in the namespace, in any resource.
    RequireEmpty {
        namespace: Arc<str>,
    },
    /// Removes `kubernetes` from `spec.finalizers` of a namespace through `finalize`.
    FinalizeNamespace {
        name: Arc<str>,
        uid: String,
    },
    Event(EventNote),
    /// Performs the first whose question is answered with yes; none where none is.
    WhenAllowed {
        choices: Vec<(Access, Action)>,
    },
    Sign(Signing),
}

/// Steps run one after the other; the first failure ends the plan.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a plan has few steps and lives for one round")]
pub enum Step {
    One(Action),
    /// At the same time, up to the runtime's bound; all are tried, then the first failure counts.
    Together(Vec<Action>),
    /// One, then two, four, ... at the same time; a batch with a failure is the last.
    SlowStart(Vec<Action>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Look again after so long even when nothing changes.
    pub requeue_after: Option<Duration>,
    /// When not empty nothing is done: these are read from the store itself, and reconcile runs again with the answers.
    pub read: Vec<Target>,
    /// Nothing is done: kinds are followed one by one, and reconcile runs again when all of them have come to where
    /// the store is now.
    pub level: bool,
}

impl Plan {
    pub fn nothing() -> Self {
        Self::default()
    }
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.read.is_empty() && !self.level
    }
    /// Asks for another look when all kinds are at one level.
    pub fn level() -> Self {
        Self { level: true, ..Self::default() }
    }
    pub fn push(&mut self, action: Action) {
        self.steps.push(Step::One(action));
    }
    pub fn requeue(&mut self, after: Duration) {
        self.requeue_after = Some(self.requeue_after.map_or(after, |own| own.min(after)));
    }
    pub fn event<T: Metadata<Ty = ObjectMeta>>(&mut self, about: &T, reason: &'static str, message: String) {
        self.note(about, false, reason, message);
    }
    pub fn warn<T: Metadata<Ty = ObjectMeta>>(&mut self, about: &T, reason: &'static str, message: String) {
        self.note(about, true, reason, message);
    }
    fn note<T: Metadata<Ty = ObjectMeta>>(&mut self, about: &T, warning: bool, reason: &'static str, message: String) {
        self.push(Action::Event(EventNote { regarding: Regarding::of(about), warning, reason, message }));
    }
    /// Creates an object in the namespace its metadata names.
    pub fn create<T: Metadata<Ty = ObjectMeta> + Serialize>(&mut self, object: &T) {
        self.push(Action::create(object, None));
    }
    /// Patches what differs between the old and the new state of an object, guarded by its uid.
    /// `subresource` selects what is compared: `"status"` only the status, `""` everything else.
    /// Returns whether there is a difference.
    pub fn change<T: Metadata<Ty = ObjectMeta> + Serialize>(
        &mut self,
        old: &T,
        new: &T,
        subresource: &'static str,
    ) -> bool {
        let body = crate::patch::changes(&to_value(old), &to_value(new), subresource);
        let changed = body.is_some();
        if let Some(body) = body {
            self.push(Action::Patch { target: Target::of(old), subresource, patch: PatchType::Merge, body });
        }
        changed
    }
    /// The same for the status together with annotations, for kinds whose status subresource takes both.
    pub fn change_status_and_annotations<T: Metadata<Ty = ObjectMeta> + Serialize>(&mut self, old: &T, new: &T) {
        let (before, after) = (to_value(old), to_value(new));
        let annotations = crate::patch::diff(&before["metadata"]["annotations"], &after["metadata"]["annotations"]);
        let status = crate::patch::diff(&before["status"], &after["status"]);
        if annotations.is_none() && status.is_none() {
            return;
        }
        let mut body = json!({ "metadata": { "uid": old.metadata().uid } });
        body["metadata"]
            .as_object_mut()
            .expect("made above")
            .extend(annotations.map(|own| ("annotations".to_owned(), own)));
        body.as_object_mut().expect("made above").extend(status.map(|own| ("status".to_owned(), own)));
        self.push(Action::Patch { target: Target::of(old), subresource: "status", patch: PatchType::Merge, body });
    }
    pub fn delete<T: Metadata<Ty = ObjectMeta>>(&mut self, object: &T) {
        self.push(Action::delete(object, DeleteOptions::default()));
    }
}

/// JSON of a typed object. The types of k8s-openapi serialize infallibly: string keys and finite numbers only.
pub fn to_value<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("API types have string keys and finite numbers")
}

impl Action {
    pub fn create<T: Metadata<Ty = ObjectMeta> + Serialize>(object: &T, report: Option<Report>) -> Self {
        Action::Create { target: Target::of(object), object: to_value(object), report, existing_is_fine: false }
    }
    /// Deletes exactly this object: its uid is a precondition.
    pub fn delete<T: Metadata<Ty = ObjectMeta>>(object: &T, mut options: DeleteOptions) -> Self {
        options.uid = object.metadata().uid.clone().unwrap_or_default();
        Action::Delete { target: Target::of(object), options, report: None }
    }
    /// A strategic merge patch of an object's metadata guarded by its uid.
    pub fn patch_metadata<T: Metadata<Ty = ObjectMeta>>(object: &T, mut metadata: Value) -> Self {
        metadata["uid"] = json!(object.metadata().uid);
        let body = json!({ "metadata": metadata });
        Action::Patch { target: Target::of(object), subresource: "", patch: PatchType::Strategic, body }
    }
}

/// The readable form golden tests compare.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for target in &self.read {
            writeln!(f, "read {target}")?;
        }
        if self.level {
            writeln!(f, "wait for all kinds")?;
        }
        for step in &self.steps {
            match step {
                Step::One(action) => writeln!(f, "{action}")?,
                Step::Together(actions) => write_all(f, "together", actions)?,
                Step::SlowStart(actions) => write_all(f, "slow start", actions)?,
            }
        }
        match self.requeue_after {
            Some(after) => writeln!(f, "again in {after:?}"),
            None if self.is_empty() => writeln!(f, "nothing"),
            None => Ok(()),
        }
    }
}

fn write_all(f: &mut fmt::Formatter<'_>, how: &str, actions: &[Action]) -> fmt::Result {
    writeln!(f, "{how}, {}:", actions.len())?;
    let mut seen: Vec<(String, usize)> = Vec::new();
    for action in actions {
        let text = action.to_string();
        match seen.last_mut() {
            Some((last, count)) if *last == text => *count += 1,
            _ => seen.push((text, 1)),
        }
    }
    seen.iter().try_for_each(|(text, count)| match count {
        1 => writeln!(f, "  {text}"),
        _ => writeln!(f, "  {count} x {text}"),
    })
}

fn subresource_suffix(subresource: &str) -> String {
    if subresource.is_empty() { String::new() } else { format!(" {subresource}") }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Create { target, object, .. } => write!(f, "create {target} {object}"),
            Action::Update { target, subresource, object } => {
                write!(f, "update{} {target} {object}", subresource_suffix(subresource))
            }
            Action::Patch { target, subresource, body, .. } => {
                write!(f, "patch{} {target} {body}", subresource_suffix(subresource))
            }
            Action::Delete { target, options, .. } => {
                write!(f, "delete {target} uid={}", options.uid)?;
                if let Some(propagation) = options.propagation {
                    write!(f, " propagation={}", propagation.as_str())?;
                }
                match options.grace_period_seconds {
                    Some(seconds) => write!(f, " grace={seconds}"),
                    None => Ok(()),
                }
            }
            Action::DeleteCollection { gvr, namespace } => write!(f, "delete all {} of {namespace}", gvr.resource),
            Action::RequireEmpty { namespace } => write!(f, "require empty {namespace}"),
            Action::FinalizeNamespace { name, .. } => write!(f, "finalize namespace {name}"),
            Action::WhenAllowed { choices } => {
                write!(f, "the first that is allowed of {}", choices.len())?;
                choices.iter().try_for_each(|(access, action)| write!(f, "\n  if {access}: {action}"))
            }
            Action::Sign(signing) => {
                write!(f, "sign {} for {}", signing.target, signing.usages.join(", "))?;
                signing.seconds.map_or(Ok(()), |seconds| write!(f, ", {seconds} seconds"))
            }
            Action::Event(note) => {
                let severity = if note.warning { "Warning" } else { "Normal" };
                write!(
                    f,
                    "event {} {} {severity} {}: {}",
                    note.regarding.kind, note.regarding.name, note.reason, note.message
                )
            }
        }
    }
}
