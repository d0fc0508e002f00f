//! PodResizeValidator: what a running pod is to have, its node must be able to give.

use api_machinery::invalid::CauseType;
use api_machinery::quantity::Quantity;
use api_machinery::{ApiError, Cause, Value, object, quota};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct PodResizeValidator;

#[async_trait]
impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let resizes = attributes.operation == Operation::Update
            && attributes.subresource == "resize"
            && attributes.is_any_of("", "pods");
        let (Some(pod), Some(old)) = (object.filter(|_| resizes), attributes.old) else { return Ok(()) };
        let name = object::str_at(pod, "spec.nodeName");
        if name.is_empty() || object::generation(pod) == object::generation(old) {
            return Ok(());
        }
        let Some(node) = lookup::get(view, "", "nodes", "", name).await? else {
            return Err(attributes.forbidden(Some(pod), &format!("node {name:?} not found")));
        };
        let verdict = check_platform(&node).and_then(|()| check_capacity(pod, &node));
        verdict.map_err(|(reason, why)| {
            let cause = Cause { reason, message: String::new(), field: String::new() };
            attributes.forbidden(Some(pod), &why).because(cause)
        })
    }
}

type Verdict = Result<(), (CauseType, String)>;

fn check_platform(node: &Value) -> Verdict {
    match object::label(node, "kubernetes.io/os") {
        None | Some("linux") => Ok(()),
        Some(other) => {
            let name = object::name(node);
            let why = format!("pod resize is only supported on linux nodes, node {name:?} is {other:?}");
            Err((CauseType::UnsupportedPlatform, why))
        }
    }
}

fn check_capacity(pod: &Value, node: &Value) -> Verdict {
    let (asked, has) = (quota::pod_requests(pod), quota::amounts(node, "status.allocatable"));
    let of = |amounts: &quota::Amounts, name: &str| amounts.get(name).copied().unwrap_or(Quantity::ZERO);
    let lacks = |name: &str, shown: fn(&Quantity) -> i64| {
        let (asked, has) = (of(&asked, name), of(&has, name));
        (asked > has).then(|| format!("{name}, requested: {}, allocatable: {}", shown(&asked), shown(&has)))
    };
    let lacking = [lacks("cpu", Quantity::milli_value), lacks("memory", Quantity::value)];
    let lacking: Vec<String> = lacking.into_iter().flatten().collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let why = format!("node didn't have enough allocatable resources: {}", lacking.join("; "));
    Err((CauseType::NodeCapacity, why))
}
