//! Expressions of CEL, in configuration files and in objects.
//!
//! Where they are written, they are compiled as upstream compiles them ([`Expression::checked`]): their types are found
//! out (`check`) from the variables that they know (`environment`) and from the table of functions (`functions`), and
//! what is wrong is told with upstream's texts and places. What custom resources look like to their rules is in
//! `schema`. What is not looked at before it is evaluated: patterns, how the text of a `format` fits its list, and what
//! an expression costs.

mod check;
mod environment;
mod functions;
mod literals;
mod macros;
mod nesting;
mod places;
mod schema;
mod types;
mod walk;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use api_machinery::Value;
use kube_cel::KubeCelExt;
use kube_cel::cel::common::ast::IdedExpr;
use kube_cel::cel::parser::Parser;
use kube_cel::cel::{self, Context};
use serde_json::Map;

pub use environment::{Environment, Old};
pub use places::is_own_word;
pub use schema::of_schema;
pub use types::Type;

/// Every function that expressions may call.
static FUNCTIONS: LazyLock<Context<'static>> = LazyLock::new(|| Context::default().with_all());
/// Bytes of one expression.
const MAX_BYTES: usize = 10 << 10;
/// Operations within each other: what looks at an expression, or drops it, goes down so far. Upstream's number.
const MAX_DEPTH: usize = 250;
/// Bytes of stack for the parser: a long sum is deep, which is only known when it has been read.
const STACK: usize = 16 << 20;

/// The name of threads that parse; the parser's panics are caught there.
pub const PARSER: &str = "cel";

/// What an expression should come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Anything,
    Bool,
    /// The same in the words of configurations of authentication.
    BoolAlone,
    /// The same in the words of device selectors.
    BoolOrUnknown,
    String,
    StringOrNull,
    /// A list of patches of JSON.
    Patches,
    /// An object that is applied.
    Configuration,
}

pub struct Expression {
    text: String,
    parsed: IdedExpr,
    kind: Type,
}

impl Expression {
    /// Why not, when it cannot be read.
    pub fn compile(text: &str) -> Result<Self, String> {
        Self::of(text, |_| Ok(Type::Dyn))
    }

    /// The same, where it is written: with what it may speak of, and with such a result.
    pub fn checked(text: &str, environment: &Environment, expected: Expected) -> Result<Self, String> {
        let compiled = Self::of(text, |parsed| {
            check::check(parsed, environment)
                .map_err(|found| places::told(text, places::Places::find(text).as_ref(), &found))
        })?;
        check::unfit(&compiled.kind, expected).map_or(Ok(compiled), Err)
    }

    /// Reads it, and finds out its type.
    fn of(text: &str, kind: impl FnOnce(&IdedExpr) -> Result<Type, String> + Send) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("must be no more than {MAX_BYTES} bytes long"));
        }
        nesting::check(text)
            .map_err(str::to_owned)
            .and_then(|()| {
                on_stack(|| {
                    let parsed = parse(text)?;
                    let kind = kind(&parsed)?;
                    Ok(Self { text: text.to_owned(), parsed, kind })
                })
            })
            .map_err(|why| format!("compilation failed: {why}"))
    }

    /// The type of what it evaluates to, as far as it is known.
    pub fn kind(&self) -> &Type {
        &self.kind
    }

    /// Whether it speaks of a variable.
    pub fn names(&self, variable: &str) -> bool {
        walk::names(&self.parsed, variable)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    fn evaluate(&self, subject: &Subject) -> Result<cel::Value, String> {
        cel::Value::resolve(&self.parsed, &subject.scope)
            .map_err(|error| format!("{:?} cannot be evaluated: {error}", self.text))
    }

    pub fn holds(&self, subject: &Subject) -> Result<bool, String> {
        match self.evaluate(subject)? {
            cel::Value::Bool(holds) => Ok(holds),
            other => Err(format!("{:?} must be a boolean, not {}", self.text, other.type_of())),
        }
    }

    pub fn string(&self, subject: &Subject) -> Result<String, String> {
        match self.evaluate(subject)? {
            cel::Value::String(text) => Ok(text.to_string()),
            other => Err(format!("{:?} must be a string, not {}", self.text, other.type_of())),
        }
    }

    /// A string, a list of them, or nothing: what is empty is left out.
    pub fn strings(&self, subject: &Subject) -> Result<Vec<String>, String> {
        let unfit = |other: &cel::Value| {
            format!("{:?} must be a string or a list of strings, not {}", self.text, other.type_of())
        };
        let mut all = match self.evaluate(subject)? {
            cel::Value::Null => Vec::new(),
            cel::Value::String(text) => vec![text.to_string()],
            cel::Value::List(list) => {
                let one = |value: &cel::Value| match value {
                    cel::Value::String(text) => Ok(text.to_string()),
                    other => Err(unfit(other)),
                };
                list.iter().map(one).collect::<Result<_, String>>()?
            }
            other => return Err(unfit(&other)),
        };
        all.retain(|text| !text.is_empty());
        Ok(all)
    }
}

fn parse(text: &str) -> Result<IdedExpr, String> {
    let parsed =
        Parser::new().enable_optional_syntax(true).parse(text).map_err(|found| places::syntax(text, &found))?;
    if walk::is_deeper(&parsed, MAX_DEPTH) { Err(nesting::TOO_DEEP.to_owned()) } else { Ok(parsed) }
}

/// On a stack that is deep enough for all that an expression can be.
fn on_stack<T: Send>(read: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name(PARSER.to_owned()).stack_size(STACK);
        let parser = builder.spawn_scoped(scope, read).map_err(|error| error.to_string())?;
        // It panics at conditions within conditions that are too many for it.
        parser.join().unwrap_or_else(|_| Err(nesting::TOO_DEEP.to_owned()))
    })
}

/// The one variable that expressions look at, made ready once for all of them.
pub struct Subject {
    scope: Context<'static>,
}

impl Subject {
    pub fn new(name: &str, value: &Value) -> Self {
        Self::from_cel(name, of_json(value))
    }

    /// The same for the fields of an object.
    pub fn of(name: &str, fields: &Map<String, Value>) -> Self {
        Self::from_cel(name, of_fields(fields))
    }

    fn from_cel(name: &str, value: cel::Value) -> Self {
        let mut scope = FUNCTIONS.new_inner_scope();
        scope.add_variable_from_value(name, value);
        Self { scope }
    }
}

/// Numbers without a fraction are integers.
fn of_json(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => cel::Value::Int(whole),
            (None, Some(real)) => cel::Value::Float(real),
            (None, None) => cel::Value::Null,
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(list) => cel::Value::List(Arc::new(list.iter().map(of_json).collect())),
        Value::Object(fields) => of_fields(fields),
    }
}

fn of_fields(fields: &Map<String, Value>) -> cel::Value {
    let fields: HashMap<String, cel::Value> =
        fields.iter().map(|(name, value)| (name.clone(), of_json(value))).collect();
    fields.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_deep_is_refused_and_what_is_long_is_not() {
        let around = |open: &str, middle: &str, close: &str, count: usize| {
            format!("{}{middle}{}", open.repeat(count), close.repeat(count))
        };
        let environment = Environment::rule(&Type::Dyn, Old::Needed);
        let checked = |text: &str| Expression::checked(text, &environment, Expected::Anything);
        for text in [
            around("(", "true", ")", 90),
            around("[", "", "]", 90),
            around("{1: ", "1", "}", 90),
            around("!", "true", "", 10_000),
            around("[1].all(x, ", "true", ")", 20),
            format!("self{} == 1", ".b".repeat(200)),
            format!("[1]{}", ".map(x, {x: x})".repeat(60)),
            vec!["1"; 200].join("+"),
            vec!["true"; 1_700].join("&&"),
            format!("[{}]", vec!["1"; 5_000].join(",")),
            format!("'{}' == ''", "[".repeat(10_000)),
        ] {
            let one = checked(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
            // That it is too deep to be evaluated would be no answer.
            let _: Result<_, _> = one.evaluate(&Subject::new("self", &Value::Null));
        }
        for text in [
            around("(", "true", ")", 5_000),
            around("[", "", "]", 5_000),
            "[".repeat(10_000),
            around("{1:", "1", "}", 2_500),
            around("self[", "1", "]", 3_000),
            around("a(", "1", ")", 3_000),
            around("true ? true : ", "true", "", 700),
            around("(true ? ", "true", " : true)", 600),
            around("[1].map(x, ", "1", ")", 800),
            format!("self{} == 1", ".b".repeat(5_000)),
            format!("self{}", ".b()".repeat(2_500)),
            format!("self{}", "[1]".repeat(3_000)),
            vec!["1"; 5_000].join("+"),
            vec!["1"; 5_000].join("<"),
        ] {
            assert!(checked(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn claims_are_looked_at() {
        let claims = json!({"sub": "ann", "groups": ["dev", "", "ops"], "exp": 2000, "nbf": 1000, "half": 0.5,
            "email": "ann@example.com", "email_verified": true, "nested": {"hd": "x"}});
        let subject = Subject::new("claims", &claims);
        let fields = Subject::of("claims", claims.as_object().expect("an object"));
        let holds = |text: &str| {
            let one = Expression::compile(text)?;
            let holds = one.holds(&subject);
            assert_eq!(holds.as_ref().ok(), one.holds(&fields).as_ref().ok(), "{text}");
            holds
        };
        for (text, wanted) in [
            ("claims.nested.hd == 'x'", true),
            ("claims.exp - claims.nbf <= 86400", true),
            ("claims.half < 0.6", true),
            ("'dev' in claims.groups", true),
            ("claims.groups.exists(one, one == 'root')", false),
            ("has(claims.missing)", false),
            ("has(claims.missing) ? claims.missing == 'x' : true", true),
            ("claims.email.endsWith('@example.com') && claims.email_verified", true),
            ("claims.sub.upperAscii() == 'ANN'", true),
        ] {
            assert_eq!(holds(text), Ok(wanted), "{text}");
        }
        for text in ["claims.missing == 'x'", "claims.sub", "nobody.sub == 'ann'", "claims.sub ==", ""] {
            assert!(holds(text).is_err(), "{text}");
        }
        let strings = |text: &str| Expression::compile(text).and_then(|one| one.strings(&subject));
        assert_eq!(strings("claims.groups"), Ok(vec!["dev".to_owned(), "ops".to_owned()]));
        assert_eq!(strings("claims.sub"), Ok(vec!["ann".to_owned()]));
        assert_eq!(strings("''"), Ok(Vec::new()));
        assert!(strings("claims.exp").is_err() && strings("[1]").is_err());
        let string = Expression::compile("'o:' + claims.sub").and_then(|one| one.string(&subject));
        assert_eq!(string, Ok("o:ann".to_owned()));
    }
}
