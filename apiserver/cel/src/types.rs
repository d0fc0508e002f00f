//! The types of CEL, and which of them stands for which.
//!
//! Two ways of writing a type are upstream's: its compiler says `null` and `timestamp` where it tells of an operation
//! that there is not ([`Type::told`]), and `null_type` and `google.protobuf.Timestamp` where it tells of a result
//! (`Display`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::places::is_own_word;

/// Parts of one type: what is made of more is taken for anything.
const MAX_PARTS: usize = 500;
/// Comparisons of types for one expression; beyond them everything fits.
const MAX_STEPS: usize = 300_000;

pub(crate) const LIST: &str = "list";
pub(crate) const MAP: &str = "map";
pub(crate) const OPTIONAL: &str = "optional_type";
pub(crate) const TYPE: &str = "type";

/// What an expression, or a part of it, evaluates to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// A value of which nothing is known, by its name in protocol buffers.
    Any,
    Bool,
    Bytes,
    Double,
    Duration,
    /// A value of which nothing is known.
    Dyn,
    /// Of what has been told to be wrong, or has not been looked at: it fits everywhere, so that nothing is told twice.
    Error,
    Int,
    Null,
    String,
    Timestamp,
    Uint,
    /// Made of other types: lists, maps, optional values, types as values.
    Made(Arc<Made>),
    Object(Arc<Object>),
    /// The parameter of a function in its declaration.
    Parameter(char),
    /// What is found out while the expression is looked at.
    Free(usize),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Made {
    pub(crate) name: &'static str,
    pub(crate) parts: Vec<Type>,
    size: usize,
}

/// A thing with fields; two of one name are the same.
#[derive(Debug)]
pub struct Object {
    name: String,
    fields: Fields,
}

#[derive(Debug)]
enum Fields {
    /// None can be selected: functions look at it.
    Hidden,
    /// Every field there can be, of any type.
    Open,
    Known(BTreeMap<String, Type>),
}

/// What becomes of a field that is selected.
pub(crate) enum Selected<'o> {
    Field(&'o Type),
    Open,
    Undefined,
    Hidden,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Object {}

impl Object {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn select(&self, field: &str) -> Selected<'_> {
        match &self.fields {
            Fields::Hidden => Selected::Hidden,
            Fields::Open => Selected::Open,
            Fields::Known(fields) => {
                // A word of the language is escaped in names, and may be written as it is.
                let escaped = || is_own_word(field).then(|| fields.get(&format!("__{field}__"))).flatten();
                fields.get(field).or_else(escaped).map_or(Selected::Undefined, Selected::Field)
            }
        }
    }

    /// Those of its fields that are known.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&String, &Type)> {
        let known = if let Fields::Known(fields) = &self.fields { Some(fields) } else { None };
        known.into_iter().flatten()
    }
}

impl Type {
    pub(crate) fn made(name: &'static str, parts: Vec<Self>) -> Self {
        let size = parts.iter().map(Self::size).sum::<usize>() + 1;
        if size > MAX_PARTS { Self::Dyn } else { Self::Made(Arc::new(Made { name, parts, size })) }
    }

    fn size(&self) -> usize {
        if let Self::Made(made) = self { made.size } else { 1 }
    }

    pub fn list(item: Self) -> Self {
        Self::made(LIST, vec![item])
    }

    pub fn map(key: Self, value: Self) -> Self {
        Self::made(MAP, vec![key, value])
    }

    pub fn optional(value: Self) -> Self {
        Self::made(OPTIONAL, vec![value])
    }

    pub(crate) fn of_type(kind: Self) -> Self {
        Self::made(TYPE, vec![kind])
    }

    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Self)>) -> Self {
        Self::Object(Arc::new(Object { name: name.to_owned(), fields: Fields::Known(fields.into_iter().collect()) }))
    }

    pub(crate) fn hidden(name: &str) -> Self {
        Self::Object(Arc::new(Object { name: name.to_owned(), fields: Fields::Hidden }))
    }

    pub(crate) fn open(name: &str) -> Self {
        Self::Object(Arc::new(Object { name: name.to_owned(), fields: Fields::Open }))
    }

    /// What it is made of, if it is made so.
    pub(crate) fn parts(&self, name: &str) -> Option<&[Self]> {
        match self {
            Self::Made(made) if made.name == name => Some(&made.parts),
            _ => None,
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any)
    }

    pub(crate) fn is_loose(&self) -> bool {
        self.is_dyn() || *self == Self::Error
    }

    fn is_free(&self) -> bool {
        matches!(self, Self::Free(_) | Self::Parameter(_))
    }

    /// Whether null is one of its values.
    fn is_nullable(&self) -> bool {
        match self {
            Self::Made(made) => !matches!(made.name, LIST | MAP | TYPE),
            Self::Object(_) | Self::Any | Self::Duration | Self::Timestamp | Self::Null => true,
            _ => false,
        }
    }

    /// In the words of an error of the compiler.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Error => "!error!".to_owned(),
            Self::Null => "null".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Made(made) if !made.parts.is_empty() => format!("{}({})", made.name, told(&made.parts)),
            _ => self.to_string(),
        }
    }

    /// As the type of a variable of a policy: what other expressions see of it.
    #[must_use]
    pub fn of_variable(&self) -> Self {
        match self {
            Self::Made(made) if matches!(made.name, LIST | MAP) => {
                Self::made(made.name, made.parts.iter().map(Self::of_variable).collect())
            }
            Self::Made(_) | Self::Object(_) | Self::Error | Self::Parameter(_) | Self::Free(_) => Self::Dyn,
            _ => self.clone(),
        }
    }
}

/// Types in a row.
pub(crate) fn told(types: &[Type]) -> String {
    types.iter().map(Type::told).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Any => "google.protobuf.Any",
            Self::Bool => "bool",
            Self::Bytes => "bytes",
            Self::Double => "double",
            Self::Duration => "google.protobuf.Duration",
            Self::Dyn => "dyn",
            Self::Error => "error",
            Self::Int => "int",
            Self::Null => "null_type",
            Self::String => "string",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Uint => "uint",
            Self::Object(object) => &object.name,
            Self::Made(made) if made.parts.is_empty() => made.name,
            Self::Made(made) => {
                write!(f, "{}(", made.name)?;
                for (index, part) in made.parts.iter().enumerate() {
                    write!(f, "{}{part}", if index == 0 { "" } else { ", " })?;
                }
                ")"
            }
            Self::Parameter(name) => return write!(f, "{name}"),
            Self::Free(number) => return write!(f, "_var{number}"),
        };
        f.write_str(name)
    }
}

/// Whether the first is as general as the other, of two that fit.
fn is_as_general(one: &Type, other: &Type) -> bool {
    if one.is_dyn() || one.is_free() {
        return true;
    }
    if other.is_dyn() || other.is_free() {
        return false;
    }
    match (one, other) {
        (Type::Made(one), Type::Made(other)) if one.name == TYPE => other.name == TYPE,
        (Type::Made(one), Type::Made(other)) => {
            let is_same = one.name == other.name && one.parts.len() == other.parts.len();
            is_same && one.parts.iter().zip(&other.parts).all(|(one, other)| is_as_general(one, other))
        }
        _ => one == other,
    }
}

pub(crate) fn most_general(one: &Type, other: &Type) -> Type {
    if is_as_general(one, other) { one.clone() } else { other.clone() }
}

/// What has been found out of free types.
pub(crate) struct Unifier {
    bound: Vec<Option<Type>>,
    /// What was bound before, to take back what did not fit.
    trail: Vec<(usize, Option<Type>)>,
    steps: usize,
}

/// Whether a type can stand for a free one, and whether that is bound to another.
enum Fit {
    Yes,
    No { is_bound: bool },
}

impl Unifier {
    pub(crate) fn new() -> Self {
        Self { bound: Vec::new(), trail: Vec::new(), steps: MAX_STEPS }
    }

    pub(crate) fn free(&mut self) -> Type {
        self.bound.push(None);
        Type::Free(self.bound.len() - 1)
    }

    /// Whether there was more to compare than is compared: then nothing is certain.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.steps == 0
    }

    fn step(&mut self) -> bool {
        self.steps = self.steps.saturating_sub(1);
        self.steps > 0
    }

    fn bind(&mut self, number: usize, kind: Type) {
        let before = self.bound[number].replace(kind);
        self.trail.push((number, before));
    }

    /// Whether each of the first can stand for its neighbour. When not, nothing is bound.
    pub(crate) fn fits(&mut self, all: &[Type], others: &[Type]) -> bool {
        let mark = self.trail.len();
        let fits = all.len() == others.len() && all.iter().zip(others).all(|(one, other)| self.assign(one, other));
        if !fits {
            while self.trail.len() > mark {
                if let Some((number, before)) = self.trail.pop() {
                    self.bound[number] = before;
                }
            }
        }
        fits
    }

    fn assign(&mut self, one: &Type, other: &Type) -> bool {
        if !self.step() {
            return true;
        }
        if let Type::Free(number) = other {
            match self.stands_for(one, *number) {
                Fit::Yes => return true,
                Fit::No { is_bound: true } => return false,
                Fit::No { is_bound: false } => {}
            }
        }
        if let Type::Free(number) = one {
            return matches!(self.stands_for(other, *number), Fit::Yes);
        }
        if one.is_loose() || other.is_loose() {
            return true;
        }
        match (one, other) {
            (Type::Null, kind) | (kind, Type::Null) => kind.is_nullable(),
            (Type::Made(one), Type::Made(other)) if one.name == TYPE => other.name == TYPE,
            (Type::Made(one), Type::Made(other)) => {
                one.name == other.name
                    && one.parts.len() == other.parts.len()
                    && one.parts.iter().zip(&other.parts).all(|(one, other)| self.assign(one, other))
            }
            _ => one == other,
        }
    }

    fn stands_for(&mut self, one: &Type, number: usize) -> Fit {
        if *one == Type::Free(number) {
            return Fit::Yes;
        }
        if let Some(bound) = self.bound[number].clone() {
            if *one == bound {
                return Fit::Yes;
            }
            if !self.assign(one, &bound) {
                return Fit::No { is_bound: true };
            }
            let general = most_general(one, &bound);
            if !self.occurs(number, &general) {
                self.bind(number, general);
            }
            return Fit::Yes;
        }
        if self.occurs(number, one) {
            return Fit::No { is_bound: false };
        }
        self.bind(number, one.clone());
        Fit::Yes
    }

    /// Whether a free type is a part of a type.
    fn occurs(&mut self, number: usize, within: &Type) -> bool {
        if !self.step() {
            return true;
        }
        match within {
            Type::Free(other) if *other == number => true,
            Type::Free(other) => match self.bound[*other].clone() {
                Some(bound) => self.occurs(number, &bound),
                None => false,
            },
            Type::Made(made) => made.parts.iter().any(|part| self.occurs(number, part)),
            _ => false,
        }
    }

    /// The type with what has been found out in it.
    pub(crate) fn settled(&mut self, kind: &Type) -> Type {
        if !self.step() {
            return Type::Dyn;
        }
        match kind {
            Type::Free(number) => match self.bound[*number].clone() {
                Some(bound) => self.settled(&bound),
                None => kind.clone(),
            },
            Type::Made(made) => {
                let parts = made.parts.iter().map(|part| self.settled(part)).collect();
                Type::made(made.name, parts)
            }
            _ => kind.clone(),
        }
    }

    /// The same; what is still free can be anything.
    pub(crate) fn result(&mut self, kind: &Type) -> Type {
        let settled = self.settled(kind);
        without_free(&settled)
    }

    /// The types of a declaration, its parameters free.
    pub(crate) fn instance(&mut self, kind: &Type, parameters: &mut Vec<(char, Type)>) -> Type {
        match kind {
            Type::Parameter(name) => match parameters.iter().find(|(known, _)| known == name) {
                Some((_, free)) => free.clone(),
                None => {
                    let free = self.free();
                    parameters.push((*name, free.clone()));
                    free
                }
            },
            Type::Made(made) => {
                let parts = made.parts.iter().map(|part| self.instance(part, parameters)).collect();
                Type::made(made.name, parts)
            }
            _ => kind.clone(),
        }
    }
}

fn without_free(kind: &Type) -> Type {
    match kind {
        Type::Free(_) | Type::Parameter(_) => Type::Dyn,
        Type::Made(made) => Type::made(made.name, made.parts.iter().map(without_free).collect()),
        _ => kind.clone(),
    }
}
