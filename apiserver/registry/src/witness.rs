//! Who is told of the writes of this process's own components. Those that come in over HTTP are audited there.

use async_trait::async_trait;

use api_machinery::ApiError;
use api_machinery::error::Result;

use crate::{List, Registry, RequestInfo, Revision, Target, Written};

/// A write that a component of this process asked for, and what became of it.
pub struct Witnessed<'a> {
    pub info: &'a RequestInfo,
    /// `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'static str,
    pub target: &'a Target<'a>,
    /// The name of what was written, where the target does not have it.
    pub name: &'a str,
    /// Where it took effect, if it did.
    pub revision: Option<Revision>,
    /// Of the answer: 200 or 201, or the refusal.
    pub outcome: std::result::Result<u16, &'a ApiError>,
}

#[async_trait]
pub trait Witness: Send + Sync {
    async fn saw(&self, write: Witnessed<'_>);
}

impl Registry {
    /// Tells the witness of a write, where there is one and the write is of this process.
    pub(crate) async fn told(
        &self,
        info: &RequestInfo,
        verb: &'static str,
        target: &Target<'_>,
        done: Result<Written>,
    ) -> Result<Written> {
        if let Some(witness) = self.witness.get().filter(|_| info.authority.is_none()) {
            let written = done.as_ref().ok();
            let name = written.map_or("", |written| api_machinery::object::name(&written.object));
            let revision = written.map(|written| written.revision).filter(|_| !info.dry_run);
            let outcome = done.as_ref().map(|written| if written.created { 201 } else { 200 });
            witness.saw(Witnessed { info, verb, target, name, revision, outcome }).await;
        }
        done
    }

    /// The same of a collection.
    pub(crate) async fn told_of_all(
        &self,
        info: &RequestInfo,
        target: &Target<'_>,
        done: Result<List>,
    ) -> Result<List> {
        if let Some(witness) = self.witness.get().filter(|_| info.authority.is_none()) {
            let revision = done.as_ref().ok().and_then(|list| list.deleted).filter(|_| !info.dry_run);
            let outcome = done.as_ref().map(|_| 200);
            let verb = "deletecollection";
            witness.saw(Witnessed { info, verb, target, name: "", revision, outcome }).await;
        }
        done
    }
}
