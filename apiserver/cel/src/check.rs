//! What is wrong with an expression before anything is evaluated: names that are not declared, and results that
//! cannot be of the wanted type. Only what is certain is refused: there is no type checker.

use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use crate::{Expected, Expression, places};

/// Names of types, which are values too.
const TYPES: [&str; 11] =
    ["bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "type", "uint"];
/// Operators whose result is a boolean.
const TESTS: [&str; 10] = ["_&&_", "_||_", "!_", "_==_", "_!=_", "_>=_", "_<=_", "_>_", "_<_", "@in"];
/// Operators whose result is of the type of what they work on.
const ARITHMETIC: [&str; 6] = ["_-_", "_+_", "_*_", "_/_", "_%_", "-_"];

/// What admission looks at without knowing its type.
const UNTYPED: [&str; 3] = ["object", "oldObject", "params"];

/// Says what is wrong, in the words of upstream's compiler.
pub(crate) fn check(one: &Expression, declared: &[&str], expected: Expected) -> Result<(), String> {
    let mut unknown = Vec::new();
    find_undeclared(&one.parsed, declared, &mut Vec::new(), &mut unknown);
    if !unknown.is_empty() {
        return Err(format!("compilation failed: {}", places::undeclared(&one.text, &unknown)));
    }
    let fits: &[&str] = match expected {
        Expected::Anything => return Ok(()),
        Expected::Bool | Expected::BoolOrUnknown => &["bool"],
        Expected::String => &["string"],
        Expected::StringOrNull => &["string", "null_type"],
    };
    let Some(kind) = result(&one.parsed).filter(|kind| !fits.contains(&kind.as_str())) else { return Ok(()) };
    Err(match (expected, fits) {
        (Expected::BoolOrUnknown, _) => format!("must evaluate to bool or the unknown type, not {kind}"),
        (_, [wanted]) => format!("must evaluate to {wanted} but got {kind}"),
        _ => format!("must evaluate to one of [{}] but got {kind}", fits.join(" ")),
    })
}

/// Every name that means nothing. `local`: what comprehensions around it have declared.
fn find_undeclared(expression: &IdedExpr, declared: &[&str], local: &mut Vec<String>, found: &mut Vec<String>) {
    let mut of = |one: &IdedExpr| find_undeclared(one, declared, local, found);
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => {}
        Expr::Ident(name) => {
            let known = name.starts_with('@')
                || declared.contains(&name.as_str())
                || TYPES.contains(&name.as_str())
                || local.contains(name);
            if !known {
                found.push(name.clone());
            }
        }
        Expr::Select(select) => of(&select.operand),
        // `math.greatest(...)` and others: what stands before the dot is part of the function's name.
        Expr::Call(CallExpr { target, args, .. }) => {
            let target =
                target.as_deref().filter(|target| !matches!(&target.expr, Expr::Ident(name) if is_namespace(name)));
            target.into_iter().chain(args).for_each(of);
        }
        Expr::List(list) => list.elements.iter().for_each(of),
        Expr::Map(map) => entries(&map.entries).for_each(of),
        Expr::Struct(made) => entries(&made.entries).for_each(of),
        Expr::Comprehension(comprehension) => {
            of(&comprehension.iter_range);
            of(&comprehension.accu_init);
            let ComprehensionExpr { iter_var, iter_var2, accu_var, loop_cond, loop_step, result, .. } =
                &**comprehension;
            let before = local.len();
            local.extend([iter_var.clone(), accu_var.clone()].into_iter().chain(iter_var2.clone()));
            for one in [loop_cond, loop_step, result] {
                find_undeclared(one, declared, local, found);
            }
            local.truncate(before);
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
fn result(expression: &IdedExpr) -> Option<String> {
    let kind = match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => "bool",
        Expr::Literal(LiteralValue::Bytes(_)) => "bytes",
        Expr::Literal(LiteralValue::Double(_)) => "double",
        Expr::Literal(LiteralValue::Int(_)) => "int",
        Expr::Literal(LiteralValue::Null) => "null_type",
        Expr::Literal(LiteralValue::String(_)) => "string",
        Expr::Literal(LiteralValue::UInt(_)) => "uint",
        Expr::List(list) => return Some(format!("list({})", common(list.elements.iter()))),
        Expr::Map(map) => {
            let keys = map.entries.iter().filter_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => Some(&entry.key),
                EntryExpr::StructField(_) => None,
            });
            let values = map.entries.iter().map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => &entry.value,
                EntryExpr::StructField(field) => &field.value,
            });
            return Some(format!("map({}, {})", common(keys), common(values)));
        }
        Expr::Select(select) if select.test => "bool",
        Expr::Call(call) if TESTS.contains(&call.func_name.as_str()) => "bool",
        Expr::Call(call) if ARITHMETIC.contains(&call.func_name.as_str()) => {
            let mut kinds = call.args.iter().map(result);
            let first = kinds.next().flatten()?;
            return kinds.all(|kind| kind.as_ref() == Some(&first)).then_some(first);
        }
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == "_?_:_" => {
            let [_, one, other] = &args[..] else { return None };
            return result(one).filter(|kind| result(other).as_ref() == Some(kind));
        }
        _ if is_untyped(expression) => "dyn",
        _ => return None,
    };
    Some(kind.to_owned())
}

/// The type that all of them have, or that of anything.
fn common<'e>(mut all: impl Iterator<Item = &'e IdedExpr>) -> String {
    let first = all.next().and_then(result);
    let is_same = all.all(|one| result(one) == first);
    first.filter(|_| is_same).unwrap_or_else(|| "dyn".to_owned())
}

/// A part of what has no type.
fn is_untyped(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Ident(name) => UNTYPED.contains(&name.as_str()),
        Expr::Select(select) => !select.test && is_untyped(&select.operand),
        Expr::Call(call) if call.func_name == "_[_]" => call.args.first().is_some_and(is_untyped),
        _ => false,
    }
}
