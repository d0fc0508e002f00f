//! What is wrong with an expression before anything is evaluated: names that mean nothing, operations on types that
//! they are not for, fields that are not there, results of another type than wanted.
//!
//! Types are found out as upstream's compiler finds them out, and what is wrong is told in its words.

use kube_cel::cel::common::ast::operators::{LOGICAL_AND, LOGICAL_OR, OPT_SELECT};
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};

use crate::environment::{self, Environment};
use crate::functions::{self, Overload};
use crate::places::{Finding, is_reserved};
use crate::types::{LIST, MAP, OPTIONAL, Selected, Type, Unifier, most_general, told};
use crate::{Expected, literals, macros, walk};

/// The name of the function that makes texts by a pattern: it takes lists of anything.
const FORMAT: &str = "format";

/// The type of what an expression evaluates to, or everything that is wrong. It is that of an error where there is too
/// much to look at.
pub(crate) fn check(expression: &IdedExpr, environment: &Environment) -> Result<Type, Vec<Finding>> {
    let mut found = Vec::new();
    misread(expression, environment, &mut found);
    if !found.is_empty() {
        return Err(found);
    }
    let mut checker = Checker {
        environment,
        local: Vec::new(),
        types: Unifier::new(),
        found,
        literals: Vec::new(),
        unfit: Vec::new(),
        formats: 0,
    };
    let kind = checker.check(expression);
    let kind = checker.types.result(&kind);
    if checker.found.is_empty() {
        checker.compare_literals();
        checker.found.append(&mut checker.unfit);
    }
    if checker.types.is_exhausted() {
        return Ok(Type::Error);
    }
    if checker.found.is_empty() { Ok(kind) } else { Err(checker.found) }
}

/// What is wrong with a result of this type, in the words of the place where it is used.
pub(crate) fn unfit(kind: &Type, expected: Expected) -> Option<String> {
    let told = |fits: bool, wanted: &str| (!fits).then(|| format!("must evaluate to {wanted}"));
    let but = |fits: bool, wanted: &str| told(fits, &format!("{wanted} but got {kind}"));
    match expected {
        _ if *kind == Type::Error => None,
        Expected::Anything => None,
        Expected::Bool => but(*kind == Type::Bool, "bool"),
        Expected::BoolAlone => told(*kind == Type::Bool, "bool"),
        Expected::BoolOrUnknown => {
            told(*kind == Type::Bool || kind.is_dyn(), &format!("bool or the unknown type, not {kind}"))
        }
        Expected::String => but(*kind == Type::String, "string"),
        Expected::StringOrNull => but(matches!(kind, Type::String | Type::Null), "one of [string null_type]"),
        Expected::Patches => {
            let wanted = environment::patches();
            but(*kind == wanted || *kind == Type::list(Type::Dyn), &wanted.to_string())
        }
        Expected::Configuration => {
            let wanted = environment::configuration();
            but(*kind == wanted, &wanted.to_string())
        }
    }
}

/// What upstream finds when it reads an expression, before it looks at types.
fn misread(expression: &IdedExpr, environment: &Environment, found: &mut Vec<Finding>) {
    let mut tell = |part: u64, message: String| found.push(Finding { part, is_signed: false, message });
    match &expression.expr {
        Expr::Ident(name) if is_reserved(name) => tell(expression.id, format!("reserved identifier: {name}")),
        Expr::Call(call) => {
            if call.target.is_none() && is_reserved(&call.func_name) {
                tell(expression.id, format!("reserved identifier: {}", call.func_name));
            }
            if let Err((part, message)) = macros::of(call, environment) {
                tell(part, message);
            }
        }
        _ => {}
    }
    for part in walk::parts(expression) {
        misread(part, environment, found);
    }
}

/// The elements of a list, or the keys or values of a map, as they were found.
type Elements = Vec<(u64, bool, Type)>;

pub(crate) struct Checker<'e> {
    environment: &'e Environment,
    /// What comprehensions around it have declared, the innermost last.
    local: Vec<(String, Type)>,
    pub(crate) types: Unifier,
    found: Vec<Finding>,
    /// Lists and maps whose elements must be of one type. Of lists only the first that differs is told.
    literals: Vec<(Elements, bool)>,
    /// Texts that are written down and not what they should be. Upstream looks at them where all types are right.
    unfit: Vec<Finding>,
    /// Calls of [`FORMAT`] around it.
    formats: usize,
}

fn is_signed(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Literal(LiteralValue::Int(number)) => *number.inner() < 0,
        Expr::Literal(LiteralValue::Double(number)) => number.inner().is_sign_negative(),
        _ => false,
    }
}

impl Checker<'_> {
    pub(crate) fn tell(&mut self, part: u64, message: String) {
        self.found.push(Finding { part, is_signed: false, message });
    }

    /// The same of a whole expression: its sign is of it.
    fn tell_of(&mut self, one: &IdedExpr, message: String) {
        self.found.push(Finding { part: one.id, is_signed: is_signed(one), message });
    }

    fn mismatch(&mut self, one: &IdedExpr, wanted: &Type, kind: &Type) {
        self.tell_of(one, format!("expected type '{}' but found '{}'", wanted.told(), kind.told()));
    }

    pub(crate) fn check(&mut self, one: &IdedExpr) -> Type {
        match &one.expr {
            Expr::Unspecified => Type::Dyn,
            Expr::Literal(literal) => of_literal(literal),
            Expr::Ident(name) => self.identifier(one, name),
            Expr::Select(select) => self.select(one, select),
            Expr::Call(call) => self.call(one, call),
            Expr::List(_) => self.list(one),
            Expr::Map(_) => self.map(one),
            Expr::Struct(_) => self.made(one),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    /// As if it stood where another part stands, too: everything that is wrong with it is told there once more.
    pub(crate) fn check_twice(&mut self, one: &IdedExpr, part: u64) -> Type {
        let before = self.found.len();
        let kind = self.check(one);
        let again: Vec<Finding> = self.found[before..]
            .iter()
            .take(MAX_REPEATED)
            .map(|one| Finding { part, is_signed: false, message: one.message.clone() })
            .collect();
        self.found.extend(again);
        kind
    }

    fn is_local(&self, name: &str) -> Option<&Type> {
        self.local.iter().rev().find(|(known, _)| known == name).map(|(_, kind)| kind)
    }

    /// With names that only mean something here.
    pub(crate) fn within<T>(&mut self, names: Vec<(String, Type)>, check: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.local.len();
        self.local.extend(names);
        let result = check(self);
        self.local.truncate(before);
        result
    }

    fn undeclared(&mut self, part: u64, name: &str) -> Type {
        self.tell(part, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn identifier(&mut self, one: &IdedExpr, name: &str) -> Type {
        if let Some(kind) = self.is_local(name) {
            return kind.clone();
        }
        self.environment.variable(name).unwrap_or_else(|| self.undeclared(one.id, name))
    }

    fn select(&mut self, one: &IdedExpr, select: &SelectExpr) -> Type {
        if let Some(kind) = qualified(one).and_then(|name| self.global(&name)) {
            return kind;
        }
        let kind = self.field(one, &select.operand, &select.field, false);
        if select.test { Type::Bool } else { self.types.settled(&kind) }
    }

    /// A name with dots in it.
    fn global(&self, name: &str) -> Option<Type> {
        let first = name.split('.').next()?;
        if self.is_local(first).is_some() {
            return None;
        }
        // Messages of protocol buffers are not known here, where upstream knows some.
        let is_message = name.strip_prefix("google.protobuf.").is_some_and(|rest| !rest.contains('.'));
        self.environment.variable(name).or_else(|| is_message.then_some(Type::Dyn))
    }

    fn field(&mut self, one: &IdedExpr, operand: &IdedExpr, name: &str, is_optional: bool) -> Type {
        let kind = self.check(operand);
        let kind = self.types.settled(&kind);
        let inner = kind.parts(OPTIONAL).and_then(<[Type]>::first);
        let (target, is_optional) = inner.map_or((&kind, is_optional), |inner| (inner, true));
        let result = match target {
            Type::Object(object) => match object.select(name) {
                Selected::Field(field) => field.clone(),
                Selected::Open => Type::Dyn,
                Selected::Undefined => {
                    self.tell(one.id, format!("undefined field '{name}'"));
                    Type::Error
                }
                Selected::Hidden => {
                    self.tell(one.id, format!("unexpected failed resolution of '{}'", object.name()));
                    Type::Error
                }
            },
            Type::Free(_) | Type::Parameter(_) => {
                self.types.fits(&[Type::Dyn], std::slice::from_ref(target));
                Type::Dyn
            }
            _ => match target.parts(MAP) {
                Some([_, value]) => value.clone(),
                _ => {
                    if !target.is_loose() {
                        self.tell(one.id, format!("type '{}' does not support field selection", target.told()));
                    }
                    Type::Dyn
                }
            },
        };
        if is_optional { Type::optional(result) } else { result }
    }

    fn call(&mut self, one: &IdedExpr, call: &CallExpr) -> Type {
        let is_format = call.func_name == FORMAT;
        self.formats += usize::from(is_format);
        let kind = match macros::of(call, self.environment) {
            Ok(Some(found)) => macros::check(self, one.id, &found),
            _ => self.function(one, call),
        };
        self.formats -= usize::from(is_format);
        kind
    }

    fn function(&mut self, one: &IdedExpr, call: &CallExpr) -> Type {
        let name = call.func_name.strip_prefix('.').unwrap_or(&call.func_name);
        if name == OPT_SELECT {
            return self.optional_select(one, call);
        }
        let mut kinds: Vec<Type> = call.args.iter().map(|argument| self.check(argument)).collect();
        if let Some(IdedExpr { id, expr: Expr::Literal(LiteralValue::String(text)) }) = call.args.first()
            && !literals::fits(name, text.inner())
        {
            self.unfit.push(Finding { part: *id, is_signed: false, message: format!("invalid {name} argument") });
        }
        let Some(target) = call.target.as_deref() else {
            return if self.environment.has_function(name) {
                self.resolve(one.id, name, false, &kinds, &call.args)
            } else {
                self.undeclared(one.id, name)
            };
        };
        let prefixed = qualified(target).map(|prefix| format!("{prefix}.{name}"));
        if let Some(full) = prefixed.filter(|full| self.environment.has_function(full)) {
            return self.resolve(one.id, &full, false, &kinds, &call.args);
        }
        kinds.insert(0, self.check(target));
        if self.environment.has_function(name) {
            self.resolve(one.id, name, true, &kinds, &[])
        } else {
            self.undeclared(one.id, name)
        }
    }

    fn optional_select(&mut self, one: &IdedExpr, call: &CallExpr) -> Type {
        let [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. }] = &call.args[..] else {
            return Type::Dyn;
        };
        let kind = self.field(one, operand, field.inner(), true);
        self.types.settled(&kind)
    }

    /// What a function makes of these types. `arguments`: the expressions, where they are known.
    pub(crate) fn resolve(
        &mut self,
        part: u64,
        name: &str,
        is_member: bool,
        kinds: &[Type],
        arguments: &[IdedExpr],
    ) -> Type {
        if matches!(name, LOGICAL_AND | LOGICAL_OR) && kinds.len() == 2 {
            return self.logical(kinds, arguments);
        }
        let mut result: Option<Type> = None;
        let all = functions::overloads(name).unwrap_or_default();
        for Overload { arguments, result: made, .. } in all.iter().filter(|one| one.is_member == is_member) {
            let mut parameters = Vec::new();
            let made = self.types.instance(made, &mut parameters);
            let wanted: Vec<Type> = arguments.iter().map(|one| self.types.instance(one, &mut parameters)).collect();
            if !self.types.fits(kinds, &wanted) {
                continue;
            }
            let made = self.types.settled(&made);
            result = Some(match result {
                None => made,
                Some(before) if before.is_dyn() || before == made => before,
                Some(_) => Type::Dyn,
            });
        }
        result.unwrap_or_else(|| {
            let kinds: Vec<Type> = kinds.iter().map(|kind| self.types.result(kind)).collect();
            let applied = match &kinds[..] {
                [target, rest @ ..] if is_member => format!("{}.({})", target.told(), told(rest)),
                all => format!("({})", told(all)),
            };
            self.tell(part, format!("found no matching overload for '{name}' applied to '{applied}'"));
            Type::Error
        })
    }

    /// Of "and" and "or" each operand is looked at by itself.
    fn logical(&mut self, kinds: &[Type], arguments: &[IdedExpr]) -> Type {
        let mut result = Type::Bool;
        for (kind, argument) in kinds.iter().zip(arguments) {
            if !self.types.fits(std::slice::from_ref(kind), &[Type::Bool]) {
                self.mismatch(argument, &Type::Bool, kind);
                result = Type::Error;
            }
        }
        result
    }

    /// The type of a condition of a comprehension.
    pub(crate) fn condition(&mut self, one: &IdedExpr) {
        let kind = self.check(one);
        self.logical(&[kind], std::slice::from_ref(one));
    }

    /// The type that two elements have in common.
    fn joined(&mut self, before: Option<Type>, kind: &Type) -> Type {
        let Some(before) = before else { return kind.clone() };
        if self.types.fits(std::slice::from_ref(&before), std::slice::from_ref(kind)) {
            most_general(&before, kind)
        } else {
            Type::Dyn
        }
    }

    /// The type of an element; of an optional one that of its value.
    fn element(&mut self, one: &IdedExpr, is_optional: bool) -> Type {
        let kind = self.check(one);
        if !is_optional {
            return kind;
        }
        if let Some([value]) = kind.parts(OPTIONAL) {
            return value.clone();
        }
        if !kind.is_dyn() {
            self.mismatch(one, &Type::optional(kind.clone()), &kind);
        }
        kind
    }

    fn list(&mut self, one: &IdedExpr) -> Type {
        let Expr::List(list) = &one.expr else { return Type::Dyn };
        let (mut common, mut elements) = (None, Vec::new());
        for (index, element) in list.elements.iter().enumerate() {
            let kind = self.element(element, list.optional_indices.contains(&index));
            common = Some(self.joined(common, &kind));
            elements.push((element.id, is_signed(element), kind));
        }
        self.remember(elements, true);
        Type::list(common.unwrap_or_else(|| self.types.free()))
    }

    fn map(&mut self, one: &IdedExpr) -> Type {
        let Expr::Map(map) = &one.expr else { return Type::Dyn };
        let (mut key, mut value, mut keys, mut values) = (None, None, Vec::new(), Vec::new());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let kind = self.check(&entry.key);
            key = Some(self.joined(key, &kind));
            keys.push((entry.key.id, is_signed(&entry.key), kind));
            let kind = self.element(&entry.value, entry.optional);
            value = Some(self.joined(value, &kind));
            values.push((entry.value.id, is_signed(&entry.value), kind));
        }
        self.remember(keys, false);
        self.remember(values, false);
        let key = key.unwrap_or_else(|| self.types.free());
        Type::map(key, value.unwrap_or_else(|| self.types.free()))
    }

    fn remember(&mut self, elements: Elements, is_list: bool) {
        if self.formats == 0 && elements.len() > 1 {
            self.literals.push((elements, is_list));
        }
    }

    /// All elements of a list, all keys and all values of a map that are written down are of one type.
    fn compare_literals(&mut self) {
        for (elements, is_list) in std::mem::take(&mut self.literals) {
            let mut kinds = elements.into_iter().map(|(part, sign, kind)| (part, sign, self.types.result(&kind)));
            let Some((_, _, first)) = kinds.next() else { continue };
            let others: Vec<_> = kinds.filter(|(_, _, kind)| *kind != first).collect();
            for (part, is_signed, kind) in others.into_iter().take(if is_list { 1 } else { usize::MAX }) {
                let message = format!("expected type '{}' but found '{}'", first.told(), kind.told());
                self.found.push(Finding { part, is_signed, message });
            }
        }
    }

    /// A message: a patch, or an object that is applied.
    fn made(&mut self, one: &IdedExpr) -> Type {
        let Expr::Struct(made) = &one.expr else { return Type::Dyn };
        let name = made.type_name.strip_prefix('.').unwrap_or(&made.type_name);
        let kind = match self.environment.type_named(name) {
            Some(kind @ Type::Object(_)) => kind,
            Some(Type::Bool | Type::Bytes | Type::Double | Type::Int | Type::String | Type::Uint) => {
                self.tell(one.id, format!("'{name}' is not a message type"));
                Type::Error
            }
            None if !name.starts_with("google.protobuf.") => return self.undeclared(one.id, &made.type_name),
            _ => Type::Dyn,
        };
        for entry in &made.entries {
            let EntryExpr::StructField(field) = &entry.expr else { continue };
            let value = self.element(&field.value, field.optional);
            let Type::Object(object) = &kind else { continue };
            let wanted = match object.select(&field.field) {
                Selected::Field(wanted) => wanted.clone(),
                Selected::Open | Selected::Hidden => continue,
                Selected::Undefined => {
                    self.tell(entry.id, format!("undefined field '{}'", field.field));
                    continue;
                }
            };
            if !self.types.fits(std::slice::from_ref(&wanted), std::slice::from_ref(&value)) {
                let (wanted, value) = (wanted.told(), value.told());
                let name = &field.field;
                let message = format!("expected type of field '{name}' is '{wanted}' but provided type is '{value}'");
                self.tell(entry.id, message);
            }
        }
        kind
    }

    /// What the variables of a comprehension are, if it has one, and if it has two.
    pub(crate) fn range(&mut self, range: &IdedExpr) -> (Type, [Type; 2]) {
        let kind = self.check(range);
        self.items(&kind).unwrap_or_else(|why| {
            self.tell_of(range, why);
            (Type::Error, [Type::Error, Type::Error])
        })
    }

    /// The same of a type, or why it has no items.
    pub(crate) fn items(&mut self, kind: &Type) -> Result<(Type, [Type; 2]), String> {
        let kind = self.types.settled(kind);
        if let Some([item]) = kind.parts(LIST) {
            return Ok((item.clone(), [Type::Int, item.clone()]));
        }
        if let Some([key, value]) = kind.parts(MAP) {
            return Ok((key.clone(), [key.clone(), value.clone()]));
        }
        if matches!(kind, Type::Free(_) | Type::Parameter(_)) {
            self.types.fits(&[Type::Dyn], &[kind]);
        } else if !kind.is_loose() {
            let rest = "cannot be range of a comprehension (must be list, map, or dynamic)";
            return Err(format!("expression of type '{}' {rest}", kind.told()));
        }
        Ok((Type::Dyn, [Type::Dyn, Type::Dyn]))
    }

    /// What a comprehension collects is of the type that it began with.
    pub(crate) fn assert(&mut self, part: u64, wanted: &Type, kind: &Type) {
        if !self.types.fits(std::slice::from_ref(wanted), std::slice::from_ref(kind)) {
            self.tell(part, format!("expected type '{}' but found '{}'", wanted.told(), kind.told()));
        }
    }

    /// What the parser has made of a macro with one variable.
    fn comprehension(&mut self, one: &ComprehensionExpr) -> Type {
        let (item, _) = self.range(&one.iter_range);
        let collected = self.check(&one.accu_init);
        let kind = self.within(vec![(one.accu_var.clone(), collected.clone())], |checker| {
            checker.within(vec![(one.iter_var.clone(), item)], |checker| {
                let kind = checker.check(&one.loop_cond);
                checker.assert(one.loop_cond.id, &Type::Bool, &kind);
                let kind = checker.check(&one.loop_step);
                checker.assert(one.loop_step.id, &collected, &kind);
            });
            checker.check(&one.result)
        });
        self.types.settled(&kind)
    }
}

/// Findings that are told a second time for another place.
const MAX_REPEATED: usize = 100;

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// A name, with what is selected of it: `a.b.c`.
fn qualified(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!("{}.{}", qualified(&select.operand)?, select.field)),
        _ => None,
    }
}
