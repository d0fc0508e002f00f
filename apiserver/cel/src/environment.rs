//! What expressions know at the places where there are some: their variables, and what is special there.

use std::collections::BTreeMap;

use crate::functions::{self, AUTHORIZER, QUANTITY, RESOURCE_CHECK};
use crate::types::Type;

/// What an expression may speak of.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, Type>,
    /// Types with fields, by their names: they are values too.
    objects: BTreeMap<String, Type>,
    is_device: bool,
    makes_patches: bool,
}

/// What a rule of a schema knows of the value that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// The rule is not asked when there was none.
    Needed,
    Optional,
}

const NAMESPACE: &str = "namespaceObject";
const OBJECT: &str = "Object";
const PATCH: &str = "JSONPatch";

impl Environment {
    /// A rule of the schema of a custom resource.
    pub fn rule(value: &Type, old: Old) -> Self {
        let before = if old == Old::Optional { Type::optional(value.clone()) } else { value.clone() };
        // Its types have no names that anybody knows.
        Self {
            variables: [("self".to_owned(), value.clone()), ("oldSelf".to_owned(), before)].into(),
            ..Self::default()
        }
    }

    /// Webhooks and policies of admission. The variables of a policy are declared one by one.
    pub fn admission() -> Self {
        Self::default()
            .with("object", Type::Dyn)
            .with("oldObject", Type::Dyn)
            .with(NAMESPACE, namespace())
            .with("request", admission_request())
            .with("authorizer", Type::hidden(AUTHORIZER))
            .with("authorizer.requestResource", Type::hidden(RESOURCE_CHECK))
    }

    /// The same, without a say in who may do what.
    #[must_use]
    pub fn without_authorizer(mut self) -> Self {
        self.variables.retain(|name, _| !name.starts_with("authorizer"));
        self
    }

    #[must_use]
    pub fn with_params(self) -> Self {
        self.with("params", Type::Dyn)
    }

    /// `variables`: what expressions before have found.
    #[must_use]
    pub fn with_variables(self, all: impl IntoIterator<Item = (String, Type)>) -> Self {
        self.with("variables", Type::object("kubernetes.variables", all))
    }

    /// An expression that makes a patch or an object to be applied.
    #[must_use]
    pub fn with_patches(mut self) -> Self {
        self.makes_patches = true;
        self
    }

    /// What selects a device.
    pub fn device() -> Self {
        let nested = |kind: Type| Type::map(Type::String, Type::map(Type::String, kind));
        let fields = [
            ("driver", Type::String),
            ("allowMultipleAllocations", Type::Bool),
            ("attributes", nested(Type::Any)),
            ("capacity", nested(Type::hidden(QUANTITY))),
        ];
        let device = object("kubernetes.DRADevice", fields);
        Self { is_device: true, ..Self::default().with("device", device) }
    }

    /// The claims of a token.
    pub fn claims() -> Self {
        Self::default().with("claims", Type::map(Type::String, Type::Any))
    }

    /// A user that a token was mapped to.
    pub fn user() -> Self {
        Self::default().with("user", user_info())
    }

    /// What a webhook of authorization is asked.
    pub fn access_review() -> Self {
        Self::default().with("request", access_review())
    }

    fn with(mut self, name: &str, kind: Type) -> Self {
        self.remember(&kind);
        self.variables.insert(name.to_owned(), kind);
        self
    }

    fn remember(&mut self, kind: &Type) {
        match kind {
            Type::Object(object) => {
                self.objects.insert(object.name().to_owned(), kind.clone());
                object.fields().for_each(|(_, field)| self.remember(field));
            }
            Type::Made(made) => made.parts.iter().for_each(|part| self.remember(part)),
            _ => {}
        }
    }

    /// The type of a variable, or that of a type as a value.
    pub(crate) fn variable(&self, name: &str) -> Option<Type> {
        let known = self.variables.get(name).cloned();
        known.or_else(|| self.type_named(name).map(Type::of_type))
    }

    /// The type of this name.
    pub(crate) fn type_named(&self, name: &str) -> Option<Type> {
        let made = || self.makes_patches.then(|| patch_type(name)).flatten();
        let known = || functions::type_named(name).or_else(|| self.objects.get(name).cloned());
        made().or_else(known)
    }

    /// Whether a function is known here.
    pub(crate) fn has_function(&self, name: &str) -> bool {
        let is_here = match name {
            "includes" => self.is_device,
            "jsonpatch.escapeKey" => self.makes_patches,
            _ => true,
        };
        is_here && functions::overloads(name).is_some()
    }

    /// Whether `cel.bind` gives a name to a value.
    pub(crate) fn has_bind(&self) -> bool {
        self.is_device
    }
}

/// Objects whose fields are not known, and patches.
fn patch_type(name: &str) -> Option<Type> {
    if name == PATCH {
        let texts = ["op", "from", "path"].map(|field| (field, Type::String));
        return Some(object(PATCH, texts.into_iter().chain([("value", Type::Dyn)])));
    }
    let is_object = name == OBJECT || name.strip_prefix(OBJECT).is_some_and(|rest| rest.starts_with('.'));
    is_object.then(|| Type::open(name))
}

/// What a patch is, and what is applied.
pub(crate) fn patches() -> Type {
    Type::list(Type::hidden(PATCH))
}

pub(crate) fn configuration() -> Type {
    Type::open(OBJECT)
}

fn object<'f>(name: &str, fields: impl IntoIterator<Item = (&'f str, Type)>) -> Type {
    Type::object(name, fields.into_iter().map(|(field, kind)| (field.to_owned(), kind)))
}

/// An object of which every field is a text.
fn texts(name: &str, fields: &[&str]) -> Type {
    object(name, fields.iter().map(|field| (*field, Type::String)))
}

fn strings() -> Type {
    Type::list(Type::String)
}

fn user_info() -> Type {
    let fields = [
        ("username", Type::String),
        ("uid", Type::String),
        ("groups", strings()),
        ("extra", Type::map(Type::String, strings())),
    ];
    object("kubernetes.UserInfo", fields)
}

fn admission_request() -> Type {
    let kind = texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let fields = [
        ("kind", kind.clone()),
        ("resource", resource.clone()),
        ("subResource", Type::String),
        ("requestKind", kind),
        ("requestResource", resource),
        ("requestSubResource", Type::String),
        ("name", Type::String),
        ("namespace", Type::String),
        ("operation", Type::String),
        ("userInfo", user_info()),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ];
    object("kubernetes.AdmissionRequest", fields)
}

fn namespace() -> Type {
    let labels = || Type::map(Type::String, Type::String);
    let condition = [
        ("status", Type::String),
        ("type", Type::String),
        ("lastTransitionTime", Type::Timestamp),
        ("message", Type::String),
        ("reason", Type::String),
    ];
    let conditions = Type::list(object("kubernetes.NamespaceCondition", condition));
    let metadata = [
        ("name", Type::String),
        ("generateName", Type::String),
        ("namespace", Type::String),
        ("labels", labels()),
        ("annotations", labels()),
        ("UID", Type::String),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("resourceVersion", Type::String),
        ("finalizers", strings()),
    ];
    let fields = [
        ("metadata", object("kubernetes.NamespaceMetadata", metadata)),
        ("spec", object("kubernetes.NamespaceSpec", [("finalizers", strings())])),
        ("status", object("kubernetes.NamespaceStatus", [("conditions", conditions), ("phase", Type::String)])),
    ];
    object("kubernetes.Namespace", fields)
}

fn access_review() -> Type {
    let requirement = object(
        "kubernetes.SelectorRequirement",
        [("key", Type::String), ("operator", Type::String), ("values", strings())],
    );
    let selector =
        |name: &str| object(name, [("rawSelector", Type::String), ("requirements", Type::list(requirement.clone()))]);
    let names = ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
    let selectors = [
        ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
        ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
    ];
    let resource = names.map(|field| (field, Type::String)).into_iter().chain(selectors);
    let fields = [
        ("resourceAttributes", object("kubernetes.ResourceAttributes", resource)),
        ("nonResourceAttributes", texts("kubernetes.NonResourceAttributes", &["path", "verb"])),
        ("user", Type::String),
        ("groups", strings()),
        ("extra", Type::map(Type::String, strings())),
        ("uid", Type::String),
    ];
    object("kubernetes.SubjectAccessReviewSpec", fields)
}
