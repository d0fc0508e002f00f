//! The parts of an expression that has been read.

use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr};

/// What an expression is made of.
pub(crate) fn parts(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Vec::new(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Call(CallExpr { target, args, .. }) => target.as_deref().into_iter().chain(args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => entries(&map.entries),
        Expr::Struct(made) => entries(&made.entries),
        Expr::Comprehension(one) => {
            vec![&one.iter_range, &one.accu_init, &one.loop_cond, &one.loop_step, &one.result]
        }
    }
}

fn entries(all: &[IdedEntryExpr]) -> Vec<&IdedExpr> {
    let mut found = Vec::with_capacity(all.len() * 2);
    for entry in all {
        match &entry.expr {
            EntryExpr::StructField(field) => found.push(&field.value),
            EntryExpr::MapEntry(entry) => found.extend([&entry.key, &entry.value]),
        }
    }
    found
}

/// Whether operations are within each other more than so often.
pub(crate) fn is_deeper(expression: &IdedExpr, most: usize) -> bool {
    let Some(most) = most.checked_sub(1) else { return true };
    parts(expression).into_iter().any(|one| is_deeper(one, most))
}

/// Whether it names a variable so anywhere.
pub(crate) fn names(expression: &IdedExpr, name: &str) -> bool {
    matches!(&expression.expr, Expr::Ident(one) if one == name)
        || parts(expression).into_iter().any(|one| names(one, name))
}
