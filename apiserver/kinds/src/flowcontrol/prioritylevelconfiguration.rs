//! PriorityLevelConfiguration.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, same};
use crate::list::flowcontrol_flowschema as flow_schema;
use crate::list::networking_servicecidr::keep_all_but_status;
use crate::{Kind, cells, meta};

pub(crate) struct PriorityLevelConfiguration;

const SHARES: &str = "nominalConcurrencyShares";
/// A mark of a conversion from versions that are gone.
const KEPT_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
const MAX_QUEUES: i64 = 10_000_000;
/// Bits of a hash that shuffle sharding may use.
const MAX_HASH_BITS: f64 = 60.0;

impl Kind for PriorityLevelConfiguration {
    fn resource(&self) -> GroupResource {
        GroupResource::new("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
               "metadata": {"name": "x"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5,
                   "limitResponse": {"type": "Queue",
                                     "queuing": {"queues": 16, "handSize": 4, "queueLengthLimit": 10}}}}})
    }
    fn default(&self, object: &mut Value) {
        if child(object, "spec.limited").is_object() {
            default_numbers(&mut object["spec"]["limited"], 30);
        }
        if child(object, "spec.exempt").is_object() {
            default_numbers(&mut object["spec"]["exempt"], 0);
        }
    }
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        keep_all_but_status(object, old);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let notes = root.field("metadata.annotations");
        if notes.key(KEPT_ZERO).present() {
            notes.forbidden(errors, &format!("annotation '{KEPT_ZERO}' is forbidden"));
        }
        let (spec, name) = (root.field("spec"), object::name(object));
        let kind = spec.field("type");
        if (name == "exempt") != (kind.str() == "Exempt") {
            errors.invalid(&kind.path(), &kind.str().into(), "must be 'Exempt' if and only if `name` is 'exempt'");
        }
        match kind.str() {
            "Exempt" => validate_exempt(&spec, errors),
            "Limited" => validate_limited(&spec, errors),
            _ => kind.unsupported(errors, &["Exempt", "Limited"]),
        }
        validate_mandatory(&spec, name, errors);
        flow_schema::conditions(&root, errors);
    }
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        meta::validate(self, object, false, errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        flow_schema::conditions(&At::root(object), errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let part = if object::str_at(object, "spec.type") == "Exempt" { "exempt" } else { "limited" };
        let part = child(child(object, "spec"), part);
        let number = |path: &str| child(part, path).as_i64().map_or("<none>".to_owned(), |number| number.to_string());
        Some(vec![
            cells::name(object),
            cells::text(object, "spec.type"),
            number("nominalConcurrencyShares").into(),
            number("limitResponse.queuing.queues").into(),
            number("limitResponse.queuing.handSize").into(),
            number("limitResponse.queuing.queueLengthLimit").into(),
            cells::age(object, now),
        ])
    }
}

fn default_numbers(level: &mut Value, shares: i64) {
    for (field, value) in [("nominalConcurrencyShares", shares), ("lendablePercent", 0)] {
        if child(level, field).is_null() {
            level[field] = value.into();
        }
    }
}

fn validate_exempt(spec: &At<'_>, errors: &mut ErrorList) {
    let (limited, exempt) = (spec.field("limited"), spec.field("exempt"));
    if limited.present() {
        limited.forbidden(errors, "must be nil if the type is not Limited");
    }
    exempt.field(SHARES).at_least(errors, 0, "must be a non-negative integer");
    exempt.field("lendablePercent").between(errors, 0, 100);
}

fn validate_limited(spec: &At<'_>, errors: &mut ErrorList) {
    let (limited, exempt) = (spec.field("limited"), spec.field("exempt"));
    if exempt.present() {
        exempt.forbidden(errors, "must be nil if the type is Limited");
    }
    if !limited.present() {
        return limited.required(errors, "must not be empty when type is Limited");
    }
    limited.field(SHARES).at_least(errors, 0, "must be a non-negative integer");
    validate_response(&limited.field("limitResponse"), errors);
    limited.field("lendablePercent").between(errors, 0, 100);
    limited.field("borrowingLimitPercent").at_least(errors, 0, "if specified, must be a non-negative integer");
}

/// The level that is never limited, and the one for what nothing else takes, stay as they are.
fn validate_mandatory(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
    match name {
        "exempt" => {
            let others = spec.value.as_object().into_iter().flatten().filter(|(field, _)| *field != "exempt");
            let others = Value::Object(others.map(|(field, value)| (field.clone(), value.clone())).collect());
            if !same(&others, &json!({"type": "Exempt"})) {
                let detail = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";
                spec.invalid(errors, detail);
            }
        }
        "catch-all" => {
            let fixed = json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0,
                                                              "limitResponse": {"type": "Reject"}}});
            if !same(spec.value, &fixed) {
                spec.invalid(errors, "spec of 'catch-all' must equal the fixed value");
            }
        }
        _ => {}
    }
}

fn validate_response(response: &At<'_>, errors: &mut ErrorList) {
    let (kind, queuing) = (response.field("type"), response.field("queuing"));
    match kind.str() {
        "Reject" if queuing.present() => {
            queuing.forbidden(errors, "must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if !queuing.present() => {
            queuing.required(errors, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => validate_queuing(&queuing, errors),
        _ => kind.unsupported(errors, &["Queue", "Reject"]),
    }
}

fn validate_queuing(queuing: &At<'_>, errors: &mut ErrorList) {
    let (limit, queues, hand) = (queuing.field("queueLengthLimit"), queuing.field("queues"), queuing.field("handSize"));
    let number = |at: &At<'_>| at.int().unwrap_or(0);
    for (at, most) in [(&limit, i64::MAX), (&queues, MAX_QUEUES)] {
        if number(at) <= 0 {
            errors.invalid(&at.path(), &Value::from(number(at)), "must be positive");
        } else if number(at) > most {
            at.invalid(errors, &format!("must not be greater than {most}"));
        }
    }
    let (queues, cards) = (number(&queues), number(&hand));
    if cards <= 0 {
        errors.invalid(&hand.path(), &Value::from(cards), "must be positive");
    } else if cards > queues {
        hand.invalid(errors, &format!("should not be greater than queues ({queues})"));
    } else {
        let bits = ((queues as f64).log2() * cards as f64).ceil();
        if bits > MAX_HASH_BITS {
            let detail = format!(
                "required entropy bits of deckSize {queues} and handSize {cards} should not be greater than {MAX_HASH_BITS}"
            );
            hand.invalid(errors, &detail);
        }
    }
}
