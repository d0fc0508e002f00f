//! One request and what follows from what it addresses.

use api_admission::{Attributes, Notes, Operation, Rights};
use api_kinds::Kind;
use api_machinery::{ApiError, ErrorList, GroupKind, GroupResource, ObjectKey, Value};
use api_schema::Resource;
use jiff::Timestamp;

use crate::{RequestInfo, Target, claims, ids};

#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) info: &'a RequestInfo,
    pub(crate) resource: &'a Resource,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    /// The hooks of what is stored.
    pub(crate) kind: &'static dyn Kind,
    pub(crate) now: Timestamp,
    pub(crate) notes: &'a Notes,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(info: &'a RequestInfo, target: &Target<'a>, now: Timestamp, notes: &'a Notes) -> Self {
        Self {
            info,
            resource: target.resource,
            namespace: target.namespace,
            name: target.name,
            subresource: target.subresource,
            kind: api_kinds::of(&target.resource.storage),
            now,
            notes,
        }
    }

    pub(crate) fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(self.resource.storage.clone(), self.namespace, name)
    }

    /// Where upstream has the object, as some of its errors say.
    pub(crate) fn upstream_key(&self) -> String {
        const APART: [&str; 2] = ["apiextensions.k8s.io", "apiregistration.k8s.io"];
        let GroupResource { group, resource } = &self.resource.storage;
        let place = match (&**group, &**resource) {
            ("", "replicationcontrollers") => "controllers".to_owned(),
            ("", "endpoints") => "services/endpoints".to_owned(),
            ("", "nodes") => "minions".to_owned(),
            ("", "services") => "services/specs".to_owned(),
            ("networking.k8s.io", "ingresses") => "ingress".to_owned(),
            // Custom resources have no hooks of their own.
            (group, resource) if APART.contains(&group) || self.kind.resource() != self.resource.storage => {
                format!("{group}/{resource}")
            }
            (_, resource) => resource.to_owned(),
        };
        let parts = [place.as_str(), self.namespace, self.name].into_iter().filter(|part| !part.is_empty());
        format!("/{}", parts.collect::<Vec<_>>().join("/"))
    }

    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        is(&self.resource.storage, group, plural)
    }

    /// For `Warning` headers of the answer, whatever it will be.
    pub(crate) fn warn(&self, warnings: impl IntoIterator<Item = String>) {
        warnings.into_iter().for_each(|text| self.notes.warn(text));
    }

    pub(crate) fn births(&self) -> claims::Births<'static> {
        claims::Births { now: self.now, uid: &ids::uid }
    }

    pub(crate) fn has_status(&self) -> bool {
        self.resource.subresource("status").is_some()
    }

    pub(crate) fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.resource.group_resource(), name)
    }

    /// Of the group that the object is stored in: upstream's rules know Events of one group.
    pub(crate) fn invalid(&self, name: &str, errors: ErrorList) -> Result<(), ApiError> {
        if errors.is_empty() {
            return Ok(());
        }
        let kind = GroupKind { group: self.resource.storage.group.clone(), ..self.resource.group_kind() };
        Err(ApiError::invalid(&kind, name, errors))
    }

    /// The hooks whose rules hold for what was asked for: those of `events.k8s.io` are stricter than those of the core
    /// Events that they are stored as.
    pub(crate) fn rules(&self) -> &'static dyn Kind {
        api_kinds::of(&self.resource.group_resource())
    }

    pub(crate) fn attributes<'b>(
        &'b self,
        operation: Operation,
        name: &'b str,
        old: Option<&'b Value>,
    ) -> Attributes<'b> {
        Attributes {
            operation,
            resource: self.resource,
            subresource: self.subresource,
            namespace: self.namespace,
            name,
            user: &self.info.user,
            old,
            dry_run: self.info.dry_run,
            now: self.now,
            rights: self.info.authority.as_ref().map(|_| self.info as &dyn Rights),
            notes: self.notes,
        }
    }
}

pub(crate) fn is(resource: &GroupResource, group: &str, plural: &str) -> bool {
    &*resource.group == group && &*resource.resource == plural
}
