//! The in-process client: actions become calls of the registry, in the name of a controller and
//! under the fence of the leadership.

use std::sync::Arc;
use std::time::Duration;

use api_codec::patch::PatchKind;
use api_machinery::error::{ApiError, Reason, Result};
use api_machinery::{UserInfo, Value, object};
use api_registry::{Body, DeleteOptions, ListOptions, Registry, RequestInfo, Target as ApiTarget, Written};
use api_schema::Resource;
use base64::Engine as _;
use controller_logic::Gvr;
use controller_logic::plan::{Access, Action, PatchType, Signing, Target};
use futures::future::try_join_all;
use serde_json::json;
use store_api::{Fence, Revision, Txn};

use crate::powers::Powers;

/// How long one write may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Attempts at a read-modify-write.
const CONFLICT_RETRIES: usize = 5;

/// What a write will look like once the cache shows it.
#[derive(Clone, Debug)]
pub(crate) enum Wrote {
    Revision {
        gvr: Gvr,
        revision: Revision,
    },
    /// Deleted or on its way.
    Gone {
        target: Target,
        uid: String,
    },
}

/// Who manages what controllers write: one name for all of them, as upstream.
const MANAGER: &str = "kube-controller-manager";

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) registry: Arc<Registry>,
    info: RequestInfo,
    powers: Powers,
}

impl Client {
    /// `account` is a service account of `kube-system`.
    pub(crate) fn new(registry: Arc<Registry>, account: &str, fence: Option<Fence>) -> Self {
        let user = UserInfo {
            name: format!("system:serviceaccount:kube-system:{account}"),
            groups: ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]
                .map(str::to_owned)
                .to_vec(),
            ..UserInfo::default()
        };
        Self::as_user(registry, user, MANAGER, fence)
    }

    pub(crate) fn as_user(registry: Arc<Registry>, user: UserInfo, manager: &str, fence: Option<Fence>) -> Self {
        let info = RequestInfo {
            user,
            fence,
            field_manager: manager.to_owned(),
            deadline: DEADLINE,
            ..RequestInfo::default()
        };
        Self { registry, info, powers: Powers::default() }
    }

    pub(crate) fn with_powers(self, powers: &Powers) -> Self {
        Self { powers: powers.clone(), ..self }
    }

    /// The same, as another of upstream's components.
    pub(crate) fn managing(&self, manager: &str) -> Self {
        let info = RequestInfo { field_manager: manager.to_owned(), ..self.info.clone() };
        Self { registry: self.registry.clone(), info, powers: self.powers.clone() }
    }

    fn resource(&self, gvr: &Gvr) -> Result<&'static Resource> {
        let found = self.registry.schema.own(&gvr.group, &gvr.version, &gvr.resource);
        found.ok_or_else(ApiError::no_such_path)
    }

    fn place<'a>(&self, target: &'a Target, subresource: &'a str) -> Result<ApiTarget<'a>> {
        let resource = self.resource(&target.gvr)?;
        Ok(ApiTarget { resource, namespace: &target.namespace, name: &target.name, subresource })
    }

    pub(crate) async fn create(&self, target: &Target, subresource: &str, object: Value) -> Result<Written> {
        let place = self.place(target, subresource)?;
        // The name is the body's on a plain create.
        let place = if subresource.is_empty() { ApiTarget { name: "", ..place } } else { place };
        self.registry.create(&self.info, &place, Body::Value(object)).await
    }
    pub(crate) async fn update(&self, target: &Target, subresource: &str, object: Value) -> Result<Written> {
        self.registry.update(&self.info, &self.place(target, subresource)?, Body::Value(object)).await
    }
    pub(crate) async fn patch(
        &self,
        target: &Target,
        subresource: &str,
        patch: PatchType,
        body: Value,
    ) -> Result<Written> {
        let kind = match patch {
            PatchType::Merge => PatchKind::Merge,
            PatchType::Strategic => PatchKind::Strategic,
        };
        self.registry.patch(&self.info, &self.place(target, subresource)?, kind, Body::Value(body)).await
    }
    /// A linearizable read; `None` when the object does not exist.
    pub(crate) async fn read(&self, target: &Target) -> Result<Option<Value>> {
        match self.registry.get(&self.place(target, "")?, None).await {
            Ok(found) => Ok(Some(Value::clone(&found.value()))),
            Err(error) if error.reason == Reason::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A revision that has every write of before, in whose log this is an entry that changes nothing; the cache
    /// shows it.
    pub(crate) async fn barrier(&self) -> Result<Revision> {
        let store = &self.registry.store;
        let nothing = Txn { fence: self.info.fence.clone(), ..Txn::default() };
        let reply = store.txn(nothing).await.map_err(|error| ApiError::unavailable(error.to_string()))?;
        self.shown_by_cache(reply.revision).await
    }

    /// Where the store of this replica is now, once the cache is there too.
    pub(crate) async fn shown_now(&self) -> Result<Revision> {
        self.shown_by_cache(self.registry.store.applied_revision()).await
    }

    async fn shown_by_cache(&self, revision: Revision) -> Result<Revision> {
        self.registry.cache.wait_for(revision, DEADLINE).await.map_err(ApiError::internal)?;
        Ok(revision)
    }

    /// Performs one action. `Ok(None)`: nothing the cache will show.
    pub(crate) async fn perform(&self, action: &Action) -> Result<Done> {
        let Some(action) = self.chosen(action).await else { return Ok(Done::default()) };
        match action {
            Action::Create { target, object, existing_is_fine, .. } => {
                match self.create(target, "", object.clone()).await {
                    Ok(written) => Ok(Done::of(target, &written)),
                    Err(error) if *existing_is_fine && error.reason == Reason::AlreadyExists => Ok(Done::default()),
                    Err(error) => Err(error),
                }
            }
            Action::Update { target, subresource, object } => {
                let written = self.update(target, subresource, object.clone()).await?;
                Ok(Done::of(target, &written))
            }
            Action::Patch { target, subresource, patch, body } => {
                let written = self.patch(target, subresource, *patch, body.clone()).await;
                let written = or_gone(written)?;
                Ok(written.map_or_else(Done::default, |written| Done::of(target, &written)))
            }
            Action::Delete { target, options, .. } => self.delete(target, options).await,
            Action::DeleteCollection { gvr, namespace } => self.delete_collection(gvr, namespace).await,
            Action::RequireEmpty { namespace } => self.require_empty(namespace).await,
            Action::FinalizeNamespace { name, uid } => self.finalize_namespace(name, uid).await,
            Action::Event(_) | Action::WhenAllowed { .. } => Ok(Done::default()),
            Action::Sign(signing) => self.sign(signing).await,
        }
    }

    /// The action itself, or of a choice the first that is allowed.
    async fn chosen<'a>(&self, action: &'a Action) -> Option<&'a Action> {
        let mut action = action;
        while let Action::WhenAllowed { choices } = action {
            action = self.first_allowed(choices).await?;
        }
        Some(action)
    }

    async fn first_allowed<'a>(&self, choices: &'a [(Access, Action)]) -> Option<&'a Action> {
        for (access, action) in choices {
            if self.powers.allows(access).await {
                return Some(action);
            }
        }
        None
    }

    /// A certificate is written once: whoever comes second is refused.
    async fn sign(&self, signing: &Signing) -> Result<Done> {
        let certificate = self.powers.sign(signing, crate::clock::now())?;
        let body = json!({
            "metadata": {"uid": signing.uid},
            "status": {"certificate": base64::engine::general_purpose::STANDARD.encode(certificate)},
        });
        let written = or_gone(self.patch(&signing.target, "status", PatchType::Merge, body).await)?;
        Ok(written.map_or_else(Done::default, |written| Done::of(&signing.target, &written)))
    }

    async fn delete(&self, target: &Target, options: &controller_logic::plan::DeleteOptions) -> Result<Done> {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let options_out = DeleteOptions {
            grace_period_seconds: options.grace_period_seconds,
            precondition_uid: given(&options.uid),
            precondition_resource_version: given(&options.resource_version),
            propagation_policy: options.propagation.map(|policy| policy.as_str().to_owned()),
        };
        let deleted = self.registry.delete(&self.info, &self.place(target, "")?, options_out).await;
        let wrote = or_gone(deleted)?.map(|_| Wrote::Gone { target: target.clone(), uid: options.uid.clone() });
        Ok(Done { name: target.name.to_string(), wrote })
    }

    async fn delete_collection(&self, gvr: &Gvr, namespace: &str) -> Result<Done> {
        let resource = self.resource(gvr)?;
        let place = ApiTarget { resource, namespace, name: "", subresource: "" };
        let background = Some("Background".to_owned());
        let options = DeleteOptions { propagation_policy: background, ..DeleteOptions::default() };
        self.registry.delete_collection(&self.info, &place, ListOptions::default(), options).await?;
        Ok(Done::default())
    }

    async fn require_empty(&self, namespace: &str) -> Result<Done> {
        let all = self.registry.schema.resources().iter();
        let listed =
            all.filter(|resource| resource.namespaced && resource.has_verb("list") && resource.has_verb("delete"));
        try_join_all(listed.map(|resource| self.require_none(resource, namespace))).await?;
        Ok(Done::default())
    }

    async fn require_none(&self, resource: &Resource, namespace: &str) -> Result<()> {
        let place = ApiTarget { resource, namespace, name: "", subresource: "" };
        if self.registry.is_empty(&place).await? {
            return Ok(());
        }
        let what = resource.group_resource();
        Err(ApiError::conflict(
            &what,
            "",
            &format!("unexpected items still remain in namespace: {namespace} for gvr: {what}"),
        ))
    }

    async fn finalize_namespace(&self, name: &str, uid: &str) -> Result<Done> {
        let target = Target::new(Gvr::new("", "v1", "namespaces"), "", name);
        for attempt in 1.. {
            let Some(mut found) = self.read(&target).await?.filter(|found| object::uid(found) == uid) else {
                return Ok(Done::default());
            };
            if let Some(list) = found.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut) {
                list.retain(|name| name != "kubernetes");
            }
            match self.update(&target, "finalize", found).await {
                Err(error) if error.reason == Reason::Conflict && attempt < CONFLICT_RETRIES => {}
                other => {
                    or_gone(other)?;
                    let wrote = Some(Wrote::Gone { target, uid: uid.to_owned() });
                    return Ok(Done { name: name.to_owned(), wrote });
                }
            }
        }
        Ok(Done::default())
    }
}

/// An object that is gone needs nothing more.
fn or_gone(written: Result<Written>) -> Result<Option<Written>> {
    match written {
        Ok(written) => Ok(Some(written)),
        Err(error) if error.reason == Reason::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The outcome of one action.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Of the object, as the server chose it.
    pub(crate) name: String,
    pub(crate) wrote: Option<Wrote>,
}

impl Done {
    fn of(target: &Target, written: &Written) -> Self {
        let revision = object::resource_version(&written.object).parse().unwrap_or(written.revision);
        let wrote = Some(Wrote::Revision { gvr: target.gvr.clone(), revision });
        Self { name: object::name(&written.object).to_owned(), wrote }
    }
}
