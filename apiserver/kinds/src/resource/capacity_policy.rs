//! What a claim may ask of a capacity of a device that several claims can have a share of.

use std::collections::HashSet;

use api_machinery::quantity::Quantity;
use api_machinery::{ErrorList, Value};

use crate::at::At;
use crate::formats;

const MAX_VALUES: usize = 10;

/// `shared`: whether the device may be given to several claims; only then may its capacities have a policy.
pub(crate) fn validate(capacity: &At<'_>, shared: bool, errors: &mut ErrorList) {
    let policy = capacity.field("requestPolicy");
    if !policy.present() {
        return;
    }
    if !shared {
        return policy.forbidden(errors, "allowMultipleAllocations must be true");
    }
    let whole = formats::quantity(&capacity.field("value")).unwrap_or(Quantity::ZERO);
    let (values, range, default) = (policy.field("validValues"), policy.field("validRange"), policy.field("default"));
    if !values.is_empty() && range.present() {
        let detail =
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
        policy.forbidden(errors, detail);
    } else if !values.is_empty() {
        match formats::quantity(&default) {
            Some(default) => validate_values(&values, default, whole, errors),
            None => default.required(errors, "required when validValues is defined"),
        }
    } else if range.present() {
        match formats::quantity(&default) {
            Some(default) => validate_range(&range, default, whole, errors),
            None => default.required(errors, "required when validRange is defined"),
        }
    }
}

fn say(at: &At<'_>, shown: Quantity, detail: &str, errors: &mut ErrorList) {
    errors.invalid(&at.path(), &Value::from(shown.to_string()), detail);
}

/// Each amount once, from the smallest to the largest that there is, the default among them.
fn validate_values(values: &At<'_>, default: Quantity, whole: Quantity, errors: &mut ErrorList) {
    let amounts: Vec<(At<'_>, Quantity)> =
        values.items().filter_map(|at| formats::quantity(&at).map(|amount| (at, amount))).collect();
    for pair in amounts.windows(2) {
        if let [(_, before), (at, amount)] = pair
            && before > amount
        {
            say(at, *amount, "values must be sorted in ascending order", errors);
        }
    }
    let too_many = amounts.len() > MAX_VALUES;
    if too_many {
        values.too_many(errors, MAX_VALUES);
    } else {
        for (at, amount) in amounts.iter().filter(|(_, amount)| *amount > whole) {
            say(at, *amount, &format!("option is larger than capacity value: {whole}"), errors);
        }
        let mut seen = HashSet::new();
        for (at, amount) in &amounts {
            if !seen.insert(amount.value()) {
                errors.duplicate(&at.path(), &Value::from(amount.value().to_string()));
            }
        }
    }
    // A list that is too long is not searched.
    if too_many || amounts.iter().all(|(_, amount)| amount.nano != default.nano) {
        say(values, default, "default value is not valid according to the requestPolicy", errors);
    }
}

fn validate_range(range: &At<'_>, default: Quantity, whole: Quantity, errors: &mut ErrorList) {
    let (low, high, step) = (range.field("min"), range.field("max"), range.field("step"));
    let Some(min) = formats::quantity(&low) else {
        return low.required(errors, "required when validRange is defined");
    };
    if min > whole {
        say(&low, min, &format!("min is larger than capacity value: {whole}"), errors);
    }
    if default < min {
        say(&low, default, &format!("default is less than min: {min}"), errors);
    }
    let max = formats::quantity(&high);
    if let Some(max) = max {
        if min > max {
            say(&high, min, &format!("min is larger than max: {max}"), errors);
        }
        if max > whole {
            say(&high, max, &format!("max is larger than capacity value: {whole}"), errors);
        }
        if default > max {
            say(&high, default, &format!("default is more than max: {max}"), errors);
        }
    }
    let Some(stride) = formats::quantity(&step) else { return };
    let next = min + stride;
    if next > whole {
        say(&step, stride, &format!("one step {next} is larger than capacity value: {whole}"), errors);
    }
    for amount in [Some(default), max].into_iter().flatten() {
        // Counted in whole units.
        let rest = amount.value().wrapping_sub(min.value()).checked_rem(stride.value());
        if rest != Some(0) {
            say(&step, amount, &format!("value is not a multiple of a given step ({stride}) from ({min})"), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use api_machinery::ErrorList;
    use serde_json::{Value, json};

    use super::validate;
    use crate::at::At;

    fn told(policy: Value, shared: bool) -> Vec<String> {
        let capacity = json!({"value": "10Gi", "requestPolicy": policy});
        let mut errors = ErrorList::new();
        validate(&At::named(&capacity, "c"), shared, &mut errors);
        errors.causes().iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn policies() {
        let right = json!({"default": "1Gi", "validValues": ["1Gi", "2Gi"]});
        assert!(told(right.clone(), true).is_empty());
        assert_eq!(told(right, false), ["c.requestPolicy: Forbidden: allowMultipleAllocations must be true"]);
        assert!(
            told(json!({"default": "2Gi", "validRange": {"min": "1Gi", "max": "3Gi", "step": "1Gi"}}), true).is_empty()
        );
        assert_eq!(
            told(json!({"default": "3Gi", "validValues": ["2Gi", "1Gi", "1Gi", "11Gi"]}), true),
            [
                r#"c.requestPolicy.validValues[1]: Invalid value: "1Gi": values must be sorted in ascending order"#,
                r#"c.requestPolicy.validValues[3]: Invalid value: "11Gi": option is larger than capacity value: 10Gi"#,
                r#"c.requestPolicy.validValues[2]: Duplicate value: "1073741824""#,
                "c.requestPolicy.validValues: Invalid value: \"3Gi\": default value is not valid according to the \
                 requestPolicy",
            ]
        );
        let off = "c.requestPolicy.validRange.step: Invalid value: \"1536Mi\": value is not a multiple of a given step \
                   (1Gi) from (1Gi)";
        assert_eq!(told(json!({"default": "1536Mi", "validRange": {"min": "1Gi", "step": "1Gi"}}), true), [off]);
    }
}
