//! NodeRestriction: a node's own user touches its node, its pods and its leases, nothing else.

use api_machinery::{ApiError, UserInfo, Value};
use async_trait::async_trait;

use crate::node_restriction::{Case, Refusal, nodes, others, pods, tokens};
use crate::{Attributes, Operation, Plugin, View};

pub(crate) struct NodeRestriction;

const GROUP: &str = "system:nodes";
const USER_PREFIX: &str = "system:node:";

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        // Whether a node may connect is for those to say who authorize.
        if attributes.operation == Operation::Connect || !attributes.user.is_in(GROUP) {
            return Ok(());
        }
        let object = object.as_deref();
        let Some(node) = node_of(attributes.user) else {
            let why = format!("could not determine node from user {:?}", attributes.user.name);
            return Err(attributes.forbidden(object, &why));
        };
        let verdict = judge(&Case { attributes, object, node, view }).await;
        verdict.map_err(|refusal| match refusal {
            Refusal::Forbidden(why) => attributes.forbidden(object, &why),
            Refusal::Other(error) => error,
        })
    }
}

fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix(USER_PREFIX).filter(|name| !name.is_empty())
}

async fn judge(case: &Case<'_>) -> Result<(), Refusal> {
    let resource = case.attributes.resource;
    match (&*resource.gv.group, resource.plural.as_str()) {
        ("", "pods") => pods::judge(case).await,
        ("", "nodes") => nodes::judge(case),
        ("", "serviceaccounts") => tokens::judge(case).await,
        ("", "persistentvolumeclaims") => others::claims(case),
        ("coordination.k8s.io", "leases") => others::leases(case),
        ("storage.k8s.io", "csinodes") => others::csi_nodes(case),
        ("resource.k8s.io", "resourceslices") => others::slices(case),
        ("certificates.k8s.io", "certificatesigningrequests") => others::requests(case),
        ("certificates.k8s.io", "podcertificaterequests") => {
            Err("PodCertificateRequest feature gate is disabled".to_owned().into())
        }
        _ => Ok(()),
    }
}
