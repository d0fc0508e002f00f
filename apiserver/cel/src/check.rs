//! What is wrong with an expression before anything is evaluated: names that are not declared, and results that
//! cannot be of the wanted type. Only what is certain is refused: there is no type checker.

use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use crate::Expected;

/// Names of types, which are values too.
const TYPES: [&str; 11] =
    ["bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "type", "uint"];
/// Operators whose result is a boolean.
const TESTS: [&str; 10] = ["_&&_", "_||_", "!_", "_==_", "_!=_", "_>=_", "_<=_", "_>_", "_<_", "@in"];
/// Operators whose result is of the type of what they work on.
const ARITHMETIC: [&str; 6] = ["_-_", "_+_", "_*_", "_/_", "_%_", "-_"];

/// Says what is wrong, in the words of upstream's compiler.
pub(crate) fn check(expression: &IdedExpr, declared: &[&str], expected: Expected) -> Result<(), String> {
    if let Some(name) = undeclared(expression, declared, &mut Vec::new()) {
        return Err(format!("compilation failed: undeclared reference to '{name}' (in container '')"));
    }
    let (wanted, fits): (&str, &[&str]) = match expected {
        Expected::Anything => return Ok(()),
        Expected::Bool => ("bool", &["bool"]),
        Expected::String => ("string", &["string"]),
        Expected::StringOrNull => ("string or null", &["string", "null_type"]),
    };
    match result(expression).filter(|kind| !fits.contains(kind)) {
        Some(_) => Err(format!("must evaluate to {wanted}")),
        None => Ok(()),
    }
}

/// The first name that means nothing. `local`: what comprehensions around it have declared.
fn undeclared(expression: &IdedExpr, declared: &[&str], local: &mut Vec<String>) -> Option<String> {
    let mut of = |one: &IdedExpr| undeclared(one, declared, local);
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => None,
        Expr::Ident(name) => {
            let known = name.starts_with('@')
                || declared.contains(&name.as_str())
                || TYPES.contains(&name.as_str())
                || local.contains(name);
            (!known).then(|| name.clone())
        }
        Expr::Select(select) => of(&select.operand),
        // `math.greatest(...)` and others: what stands before the dot is part of the function's name.
        Expr::Call(CallExpr { target, args, .. }) => {
            let target =
                target.as_deref().filter(|target| !matches!(&target.expr, Expr::Ident(name) if is_namespace(name)));
            target.into_iter().chain(args).find_map(of)
        }
        Expr::List(list) => list.elements.iter().find_map(of),
        Expr::Map(map) => entries(&map.entries).find_map(of),
        Expr::Struct(made) => entries(&made.entries).find_map(of),
        Expr::Comprehension(comprehension) => {
            if let Some(name) = of(&comprehension.iter_range).or_else(|| of(&comprehension.accu_init)) {
                return Some(name);
            }
            let ComprehensionExpr { iter_var, iter_var2, accu_var, loop_cond, loop_step, result, .. } =
                &**comprehension;
            let before = local.len();
            local.extend([iter_var.clone(), accu_var.clone()].into_iter().chain(iter_var2.clone()));
            let found = [loop_cond, loop_step, result].into_iter().find_map(|one| undeclared(one, declared, local));
            local.truncate(before);
            found
        }
    }
}

/// Whether operations are within each other more than so often.
pub(crate) fn is_deeper(expression: &IdedExpr, most: usize) -> bool {
    let Some(most) = most.checked_sub(1) else { return true };
    let of = |one: &IdedExpr| is_deeper(one, most);
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => false,
        Expr::Select(select) => of(&select.operand),
        Expr::Call(CallExpr { target, args, .. }) => target.as_deref().into_iter().chain(args).any(of),
        Expr::List(list) => list.elements.iter().any(of),
        Expr::Map(map) => entries(&map.entries).any(of),
        Expr::Struct(made) => entries(&made.entries).any(of),
        Expr::Comprehension(one) => {
            [&one.iter_range, &one.accu_init, &one.loop_cond, &one.loop_step, &one.result].into_iter().any(of)
        }
    }
}

fn is_namespace(name: &str) -> bool {
    matches!(name, "math" | "sets" | "base64" | "optional" | "cidr" | "ip" | "format" | "jsonpatch" | "strings")
}

fn entries<'a>(all: &'a [kube_cel::cel::common::ast::IdedEntryExpr]) -> impl Iterator<Item = &'a IdedExpr> + use<'a> {
    all.iter().flat_map(|entry| match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    })
}

/// The type of what it evaluates to, where that is certain.
fn result(expression: &IdedExpr) -> Option<&'static str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => Some("bool"),
        Expr::Literal(LiteralValue::Bytes(_)) => Some("bytes"),
        Expr::Literal(LiteralValue::Double(_)) => Some("double"),
        Expr::Literal(LiteralValue::Int(_)) => Some("int"),
        Expr::Literal(LiteralValue::Null) => Some("null_type"),
        Expr::Literal(LiteralValue::String(_)) => Some("string"),
        Expr::Literal(LiteralValue::UInt(_)) => Some("uint"),
        Expr::List(_) => Some("list"),
        Expr::Map(_) => Some("map"),
        Expr::Select(select) if select.test => Some("bool"),
        Expr::Call(call) if TESTS.contains(&call.func_name.as_str()) => Some("bool"),
        Expr::Call(call) if ARITHMETIC.contains(&call.func_name.as_str()) => {
            let mut kinds = call.args.iter().map(result);
            let first = kinds.next().flatten()?;
            kinds.all(|kind| kind == Some(first)).then_some(first)
        }
        _ => None,
    }
}
