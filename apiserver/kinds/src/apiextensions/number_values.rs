//! Whether a number is what a schema says.

use api_machinery::Value;
use serde_json::Number;

use crate::at::child;
use crate::list::apiextensions_findings::{Found, What};
use crate::list::apiextensions_shown::{go_float, go_number};
use crate::list::apiextensions_values::text;

pub(crate) fn of_number(schema: &Value, value: &Number, name: &str) -> Found {
    let mut found = Found::fitting();
    check_range(schema, value, "Checked", name, &mut found);
    let bound = |field: &str| match child(schema, field) {
        Value::Number(number) => Some(number),
        _ => None,
    };
    if let Some(factor) = bound("multipleOf") {
        check_multiple(schema, value, factor, name, &mut found);
    }
    if let Some(min) = bound("minimum") {
        let above = child(schema, "exclusiveMinimum") == &Value::Bool(true);
        let is_natural = check_range(schema, min, "Minimum boundary", name, &mut found);
        let (value_is, min_is, shown) = compared(value, min, is_natural);
        if value_is < min_is || (above && value_is == min_is) {
            let words = if above { "greater than" } else { "greater than or equal to" };
            let text = format!("{name} in body should be {words} {shown}");
            found.add(name, text, What::Invalid(Value::Number(value.clone())));
        }
    }
    if let Some(max) = bound("maximum") {
        let below = child(schema, "exclusiveMaximum") == &Value::Bool(true);
        let is_natural = check_range(schema, max, "Maximum boundary", name, &mut found);
        let (value_is, max_is, shown) = compared(value, max, is_natural);
        if value_is > max_is || (below && value_is == max_is) {
            let words = if below { "less than" } else { "less than or equal to" };
            let text = format!("{name} in body should be {words} {shown}");
            found.add(name, text, What::Invalid(Value::Number(value.clone())));
        }
    }
    found
}

/// A value and its bound, and how the bound is shown: of whole values only the whole part of a bound counts.
fn compared(value: &Number, bound: &Number, is_natural: bool) -> (f64, f64, String) {
    let (value_is, bound_is) = (value.as_f64().unwrap_or(0.0), bound.as_f64().unwrap_or(0.0));
    if is_natural && value.is_i64() {
        (value_is, bound_is.trunc(), go_float(bound_is.trunc()))
    } else {
        (value_is, bound_is, go_number(bound))
    }
}

/// Whether a number is one of the schema's type, which integers have a range of.
fn check_range(schema: &Value, number: &Number, what: &str, name: &str, found: &mut Found) -> bool {
    if text(schema, "type") != "integer" {
        return true;
    }
    let format = Some(text(schema, "format")).filter(|format| matches!(*format, "int32" | "int64"));
    let whole = number.as_i64().or_else(|| {
        let real = number.as_f64().filter(|real| real.fract() == 0.0)?;
        go_float(real).parse().ok()
    });
    let fits = whole.is_some_and(|whole| format != Some("int32") || i32::try_from(whole).is_ok());
    if !fits {
        let kind = format.map_or_else(|| "(default format)".to_owned(), |format| format!("with format {format}"));
        found.add(name, format!("{what} value must be of type integer {kind} in {name}"), What::Whole);
    }
    fits
}

fn check_multiple(schema: &Value, value: &Number, factor: &Number, name: &str, found: &mut Found) {
    /// How far from a whole number is still one.
    const NEAR: f64 = 1e-9;
    let is_natural = check_range(schema, factor, "MultipleOf", name, found);
    let (value_is, factor_is, shown) = compared(value, factor, is_natural);
    if factor_is <= 0.0 {
        let text = format!("factor MultipleOf declared for {name} must be positive: {shown}");
        let factor_shown = if is_natural && value.is_i64() { Value::from(0) } else { Value::Number(factor.clone()) };
        return found.add(name, text, What::Invalid(factor_shown));
    }
    let is_multiple = match value.as_i64().filter(|_| is_natural) {
        Some(whole) => go_float(factor_is).parse::<i64>().is_ok_and(|factor| whole % factor == 0),
        None => {
            let times = if factor_is < 1.0 { 1.0 / factor_is * value_is } else { value_is / factor_is };
            (times - times.round()).abs() < NEAR
        }
    };
    if !is_multiple {
        let text = format!("{name} in body should be a multiple of {shown}");
        found.add(name, text, What::Invalid(Value::Number(value.clone())));
    }
}
