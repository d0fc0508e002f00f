//! Macros that the parser does not know: those with two variables, those of optional values, and others.

use kube_cel::cel::common::ast::operators::{ADD, CONDITIONAL};
use kube_cel::cel::common::ast::{CallExpr, Expr, IdedExpr};

use crate::check::Checker;
use crate::environment::Environment;
use crate::types::Type;

/// A macro, and what it is called on.
pub(crate) struct Macro<'e> {
    target: &'e IdedExpr,
    kind: Kind<'e>,
}

enum Kind<'e> {
    /// With two variables.
    Each {
        names: [&'e str; 2],
        filter: Option<&'e IdedExpr>,
        makes: Makes,
        body: &'e IdedExpr,
    },
    /// `optMap` and `optFlatMap`.
    OfOptional {
        name: &'e str,
        body: &'e IdedExpr,
        is_flat: bool,
    },
    SortBy {
        name: &'e str,
        key: &'e IdedExpr,
    },
    Bind {
        name: &'e str,
        value: &'e IdedExpr,
        body: &'e IdedExpr,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Makes {
    /// `all` and `exists`
    Test,
    /// `existsOne`
    TestOfOne,
    List,
    Map,
    MapOfEntries,
}

/// Which macro a call is, or what is wrong with which part of it.
pub(crate) fn of<'e>(call: &'e CallExpr, environment: &Environment) -> Result<Option<Macro<'e>>, (u64, String)> {
    let Some(target) = call.target.as_deref() else { return Ok(None) };
    let kind = match (call.func_name.as_str(), &call.args[..]) {
        ("all" | "exists", [_, _, body]) => each(call, None, Makes::Test, body)?,
        ("existsOne" | "exists_one", [_, _, body]) => each(call, None, Makes::TestOfOne, body)?,
        ("transformList", [_, _, body]) => each(call, None, Makes::List, body)?,
        ("transformList", [_, _, filter, body]) => each(call, Some(filter), Makes::List, body)?,
        ("transformMap", [_, _, body]) => each(call, None, Makes::Map, body)?,
        ("transformMap", [_, _, filter, body]) => each(call, Some(filter), Makes::Map, body)?,
        ("transformMapEntry", [_, _, body]) => each(call, None, Makes::MapOfEntries, body)?,
        ("transformMapEntry", [_, _, filter, body]) => each(call, Some(filter), Makes::MapOfEntries, body)?,
        (function @ ("optMap" | "optFlatMap"), [name, body]) => {
            let why = || format!("{function}() variable name must be a simple identifier");
            Kind::OfOptional { name: simple(name, why)?, body, is_flat: function == "optFlatMap" }
        }
        ("sortBy", [name, key]) => Kind::SortBy { name: simple(name, || SIMPLE.to_owned())?, key },
        ("bind", [name, value, body]) if environment.has_bind() && is_name(target, "cel") => {
            let why = || "cel.bind() variable names must be simple identifiers".to_owned();
            Kind::Bind { name: simple(name, why)?, value, body }
        }
        _ => return Ok(None),
    };
    Ok(Some(Macro { target, kind }))
}

const SIMPLE: &str = "argument must be a simple name";

fn is_name(expression: &IdedExpr, wanted: &str) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == wanted)
}

fn simple(expression: &IdedExpr, why: impl Fn() -> String) -> Result<&str, (u64, String)> {
    match &expression.expr {
        Expr::Ident(name) => Ok(name),
        _ => Err((expression.id, why())),
    }
}

fn each<'e>(
    call: &'e CallExpr,
    filter: Option<&'e IdedExpr>,
    makes: Makes,
    body: &'e IdedExpr,
) -> Result<Kind<'e>, (u64, String)> {
    let (first, second) = (&call.args[0], &call.args[1]);
    let names = [simple(first, || SIMPLE.to_owned())?, simple(second, || SIMPLE.to_owned())?];
    if names[0] == names[1] {
        return Err((second.id, format!("duplicate variable name: {}", names[0])));
    }
    Ok(Kind::Each { names, filter, makes, body })
}

/// The type of what a macro evaluates to. `part`: the call.
pub(crate) fn check(checker: &mut Checker<'_>, part: u64, one: &Macro<'_>) -> Type {
    match &one.kind {
        Kind::Each { names, filter, makes, body } => {
            let (_, kinds) = checker.range(one.target);
            let key = kinds[0].clone();
            let local = names.iter().zip(kinds).map(|(name, kind)| ((*name).to_owned(), kind)).collect();
            checker.within(local, |checker| step(checker, part, *makes, key, *filter, body))
        }
        Kind::OfOptional { name, body, is_flat } => of_optional(checker, part, one.target, (name, body), *is_flat),
        Kind::SortBy { name, key } => sort_by(checker, part, one.target, name, key),
        Kind::Bind { name, value, body } => {
            let kind = checker.check(value);
            let kind = checker.within(vec![((*name).to_owned(), kind)], |checker| checker.check(body));
            checker.types.settled(&kind)
        }
    }
}

/// What is collected step by step.
fn step(
    checker: &mut Checker<'_>,
    part: u64,
    makes: Makes,
    key: Type,
    filter: Option<&IdedExpr>,
    body: &IdedExpr,
) -> Type {
    if makes == Makes::Test {
        checker.condition(body);
        return Type::Bool;
    }
    let collected = match makes {
        Makes::List => Type::list(checker.types.free()),
        Makes::Map | Makes::MapOfEntries => Type::map(checker.types.free(), checker.types.free()),
        Makes::Test | Makes::TestOfOne => Type::Int,
    };
    let filter = filter.map(|filter| checker.check(filter));
    let kind = checker.check(body);
    let mut resolve = |name: &str, kinds: &[Type]| checker.resolve(part, name, false, kinds, &[]);
    let mut next = match makes {
        Makes::List => resolve(ADD, &[collected.clone(), Type::list(kind)]),
        Makes::Map => resolve(INSERT, &[collected.clone(), key, kind]),
        Makes::MapOfEntries => resolve(INSERT, &[collected.clone(), kind]),
        Makes::Test | Makes::TestOfOne => resolve(CONDITIONAL, &[kind, Type::Int, Type::Int]),
    };
    if let Some(filter) = filter {
        next = resolve(CONDITIONAL, &[filter, next, collected.clone()]);
    }
    checker.assert(part, &collected, &next);
    if makes == Makes::TestOfOne { Type::Bool } else { checker.types.settled(&collected) }
}

/// What puts an entry into a map.
const INSERT: &str = "cel.@mapInsert";

fn of_optional(
    checker: &mut Checker<'_>,
    part: u64,
    target: &IdedExpr,
    (name, body): (&str, &IdedExpr),
    is_flat: bool,
) -> Type {
    let target = [checker.check_twice(target, part)];
    let is_there = checker.resolve(part, "hasValue", true, &target, &[]);
    let value = checker.resolve(part, "value", true, &target, &[]);
    let found = checker.within(vec![(name.to_owned(), value)], |checker| checker.check(body));
    let mut found = checker.types.settled(&found);
    if !is_flat {
        found = checker.resolve(part, "optional.of", false, &[found], &[]);
    }
    let none = checker.resolve(part, "optional.none", false, &[], &[]);
    checker.resolve(part, CONDITIONAL, false, &[is_there, found, none], &[])
}

fn sort_by(checker: &mut Checker<'_>, part: u64, target: &IdedExpr, name: &str, key: &IdedExpr) -> Type {
    let list = checker.check(target);
    let (item, _) = checker.items(&list).unwrap_or_else(|why| {
        checker.tell(part, why);
        (Type::Error, [Type::Error, Type::Error])
    });
    let kind = checker.within(vec![(name.to_owned(), item)], |checker| checker.check(key));
    let keys = Type::list(checker.types.settled(&kind));
    checker.resolve(part, "@sortByAssociatedKeys", true, &[list, keys], &[])
}
