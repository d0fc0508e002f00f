//! Which functions there are, and of which types: one table.
//!
//! A line names functions and says of what they make what, alternatives behind each other as upstream's compiler tries
//! them. The name of a function that is called on its first argument begins with a dot. Capital letters are types that
//! are found out at the call.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::{LIST, MAP, OPTIONAL, TYPE, Type};

const TABLE: &str = "
_?_:_ = bool, A, A -> A
_&&_ _||_ = bool, bool -> bool
!_ @not_strictly_false = bool -> bool
_==_ _!=_ = A, A -> bool
_+_ = bytes, bytes -> bytes | double, double -> double | duration, duration -> duration
_+_ = duration, timestamp -> timestamp | timestamp, duration -> timestamp | int, int -> int
_+_ = list(A), list(A) -> list(A) | string, string -> string | uint, uint -> uint
_/_ _*_ = double, double -> double | int, int -> int | uint, uint -> uint
_%_ = int, int -> int | uint, uint -> uint
-_ = double -> double | duration -> duration | int -> int
_-_ = double, double -> double | duration, duration -> duration | int, int -> int
_-_ = timestamp, duration -> timestamp | timestamp, timestamp -> duration | uint, uint -> uint
_<_ _<=_ _>_ _>=_ = bool, bool -> bool | int, int -> bool | int, double -> bool | int, uint -> bool
_<_ _<=_ _>_ _>=_ = uint, uint -> bool | uint, double -> bool | uint, int -> bool | double, double -> bool
_<_ _<=_ _>_ _>=_ = double, int -> bool | double, uint -> bool | string, string -> bool | bytes, bytes -> bool
_<_ _<=_ _>_ _>=_ = timestamp, timestamp -> bool | duration, duration -> bool
_[_] = list(A), int -> A | map(A, B), A -> B
@in in _in_ = A, list(A) -> bool | A, map(A, B) -> bool
size .size = bytes -> int | list(A) -> int | map(A, B) -> int | string -> int
type = A -> type(A)
bool = bool -> bool | string -> bool
bytes = bytes -> bytes | string -> bytes
double = double -> double | int -> double | string -> double | uint -> double
duration = duration -> duration | string -> duration
dyn = A -> dyn
int = int -> int | double -> int | duration -> int | string -> int | timestamp -> int | uint -> int
string = string -> string | bool -> string | bytes -> string | double -> string | duration -> string
string = int -> string | timestamp -> string | uint -> string
timestamp = timestamp -> timestamp | int -> timestamp | string -> timestamp
uint = uint -> uint | double -> uint | int -> uint | string -> uint
.contains .endsWith .startsWith = string, string -> bool
matches .matches = string, string -> bool
.getFullYear .getMonth .getDayOfYear .getDayOfMonth .getDate .getDayOfWeek = timestamp -> int | timestamp, string -> int
.getHours .getMinutes .getSeconds .getMilliseconds = timestamp -> int | timestamp, string -> int | duration -> int

optional.of optional.ofNonZeroValue = V -> optional(V)
optional.none = -> optional(V)
optional.unwrap = list(optional(V)) -> list(V)
.unwrapOpt = list(optional(V)) -> list(V)
.value = optional(V) -> V
.hasValue = optional(V) -> bool
.or = optional(V), optional(V) -> optional(V)
.orValue = optional(V), V -> V
.first .last = list(V) -> optional(V)
_[?_] = list(V), int -> optional(V) | optional(list(V)), int -> optional(V)
_[?_] = map(K, V), K -> optional(V) | optional(map(K, V)), K -> optional(V)
_[_] = optional(list(V)), int -> optional(V) | optional(map(K, V)), K -> optional(V)

.charAt = string, int -> string
.indexOf .lastIndexOf = string, string -> int | string, string, int -> int
.lowerAscii .upperAscii .trim = string -> string
.replace = string, string, string -> string | string, string, string, int -> string
.split = string, string -> list(string) | string, string, int -> list(string)
.substring = string, int -> string | string, int, int -> string
.format = string, list(dyn) -> string
strings.quote = string -> string
.join = list(string) -> string | list(string), string -> string

.isSorted = list(int) -> bool | list(uint) -> bool | list(double) -> bool | list(bool) -> bool
.isSorted = list(duration) -> bool | list(timestamp) -> bool | list(string) -> bool | list(bytes) -> bool
.sum = list(int) -> int | list(uint) -> uint | list(double) -> double | list(duration) -> duration
.max .min = list(int) -> int | list(uint) -> uint | list(double) -> double | list(bool) -> bool
.max .min = list(duration) -> duration | list(timestamp) -> timestamp | list(string) -> string | list(bytes) -> bytes
.indexOf .lastIndexOf = list(A), A -> int
.slice = list(T), int, int -> list(T)
.flatten = list(list(T)) -> list(T) | list(dyn), int -> list(dyn)
.sort = list(int) -> list(int) | list(uint) -> list(uint) | list(double) -> list(double) | list(bool) -> list(bool)
.sort = list(duration) -> list(duration) | list(timestamp) -> list(timestamp) | list(string) -> list(string)
.sort = list(bytes) -> list(bytes)
.@sortByAssociatedKeys = list(T), list(int) -> list(T) | list(T), list(uint) -> list(T)
.@sortByAssociatedKeys = list(T), list(double) -> list(T) | list(T), list(bool) -> list(T)
.@sortByAssociatedKeys = list(T), list(duration) -> list(T) | list(T), list(timestamp) -> list(T)
.@sortByAssociatedKeys = list(T), list(string) -> list(T) | list(T), list(bytes) -> list(T)
lists.range = int -> list(int)
.reverse .distinct = list(T) -> list(T)
.includes = dyn, dyn -> bool

sets.contains sets.equivalent sets.intersects = list(T), list(T) -> bool
cel.@mapInsert = map(K, V), K, V -> map(K, V) | map(K, V), map(K, V) -> map(K, V)

.find = string, string -> string
.findAll = string, string -> list(string) | string, string, int -> list(string)

url = string -> url
isURL = string -> bool
.getScheme .getHost .getHostname .getPort .getEscapedPath = url -> string
.getQuery = url -> map(string, list(string))

quantity = string -> quantity
isQuantity = string -> bool
sign .sign = quantity -> int
.isGreaterThan .isLessThan = quantity, quantity -> bool | semver, semver -> bool
.compareTo = quantity, quantity -> int | semver, semver -> int
.asApproximateFloat = quantity -> double
.asInteger = quantity -> int
.isInteger = quantity -> bool
.add .sub = quantity, quantity -> quantity | quantity, int -> quantity

semver = string -> semver | string, bool -> semver
isSemver = string -> bool | string, bool -> bool
.major .minor .patch = semver -> int

ip = string -> ip
isIP ip.isCanonical = string -> bool
.family = ip -> int
.isUnspecified .isLoopback .isLinkLocalMulticast .isLinkLocalUnicast .isGlobalUnicast = ip -> bool
cidr = string -> cidr
isCIDR = string -> bool
.containsIP = cidr, string -> bool | cidr, ip -> bool
.containsCIDR = cidr, string -> bool | cidr, cidr -> bool
.ip = cidr -> ip
.prefixLength = cidr -> int
.masked = cidr -> cidr
string = ip -> string | cidr -> string

format.named = string -> optional(format)
format.dns1123Label format.dns1123Subdomain format.dns1035Label format.qualifiedName = -> format
format.dns1123LabelPrefix format.dns1123SubdomainPrefix format.dns1035LabelPrefix format.labelValue = -> format
format.uri format.uuid format.byte format.date format.datetime = -> format
.validate = format, string -> optional(list(string))

.path = authorizer, string -> pathCheck
.group = authorizer, string -> groupCheck
.serviceAccount = authorizer, string, string -> authorizer
.resource = groupCheck, string -> resourceCheck
.subresource .namespace .name .fieldSelector .labelSelector = resourceCheck, string -> resourceCheck
.check = pathCheck, string -> decision | resourceCheck, string -> decision
.errored .allowed = decision -> bool
.error .reason = decision -> string

jsonpatch.escapeKey = string -> string
";

/// Of what a function makes what.
pub(crate) struct Overload {
    /// Whether it is called on its first argument.
    pub(crate) is_member: bool,
    pub(crate) arguments: Vec<Type>,
    pub(crate) result: Type,
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(read);

/// Every way to call a function; `None`: there is no function of the name.
pub(crate) fn overloads(name: &str) -> Option<&'static [Overload]> {
    FUNCTIONS.get(name).map(Vec::as_slice)
}

fn read() -> HashMap<&'static str, Vec<Overload>> {
    let mut all: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for (names, alternatives) in TABLE.lines().filter_map(|line| line.split_once(" = ")) {
        for written in names.split_whitespace() {
            let member = written.strip_prefix('.');
            for (arguments, result) in alternatives.split(" | ").filter_map(|one| one.split_once("-> ")) {
                all.entry(member.unwrap_or(written)).or_default().push(Overload {
                    is_member: member.is_some(),
                    arguments: types(arguments),
                    result: named(result.trim()),
                });
            }
        }
    }
    all
}

/// The types in a list of them.
fn types(written: &str) -> Vec<Type> {
    let (mut found, mut open, mut start) = (Vec::new(), 0, 0);
    for (at, c) in written.char_indices().chain([(written.len(), ',')]) {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            ',' if open == 0 => {
                let one = written[start..at].trim();
                found.extend((!one.is_empty()).then(|| named(one)));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

/// A type of the table.
fn named(written: &str) -> Type {
    let made = written.split_once('(').and_then(|(name, rest)| Some((name, types(rest.strip_suffix(')')?))));
    match (written, made) {
        (_, Some(("list", parts))) => Type::made(LIST, parts),
        (_, Some(("map", parts))) => Type::made(MAP, parts),
        (_, Some(("optional", parts))) => Type::made(OPTIONAL, parts),
        (_, Some(("type", parts))) => Type::made(TYPE, parts),
        (_, Some((name, _))) => unreachable!("no type of the table: {name}"),
        ("bool", _) => Type::Bool,
        ("bytes", _) => Type::Bytes,
        ("double", _) => Type::Double,
        ("duration", _) => Type::Duration,
        ("dyn", _) => Type::Dyn,
        ("int", _) => Type::Int,
        ("string", _) => Type::String,
        ("timestamp", _) => Type::Timestamp,
        ("uint", _) => Type::Uint,
        ("ip", _) => Type::made("net.IP", Vec::new()),
        ("cidr", _) => Type::made("net.CIDR", Vec::new()),
        ("quantity", _) => Type::hidden(QUANTITY),
        ("url", _) => Type::hidden("kubernetes.URL"),
        ("semver", _) => Type::hidden("kubernetes.Semver"),
        ("format", _) => Type::hidden("kubernetes.NamedFormat"),
        ("authorizer", _) => Type::hidden(AUTHORIZER),
        ("pathCheck", _) => Type::hidden("kubernetes.authorization.PathCheck"),
        ("groupCheck", _) => Type::hidden("kubernetes.authorization.GroupCheck"),
        ("resourceCheck", _) => Type::hidden(RESOURCE_CHECK),
        ("decision", _) => Type::hidden("kubernetes.authorization.Decision"),
        (letter, _) => Type::Parameter(letter.chars().next().unwrap_or('A')),
    }
}

pub(crate) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(crate) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
pub(crate) const QUANTITY: &str = "kubernetes.Quantity";

/// Types that are values by their names.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "duration" | "google.protobuf.Duration" => Type::Duration,
        "int" => Type::Int,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "optional_type" => Type::optional(Type::Dyn),
        "string" => Type::String,
        "timestamp" | "google.protobuf.Timestamp" => Type::Timestamp,
        "type" => Type::of_type(Type::Dyn),
        "uint" => Type::Uint,
        "net.IP" => Type::made("net.IP", Vec::new()),
        "net.CIDR" => Type::made("net.CIDR", Vec::new()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line is one of the table, every type is one that there is.
    #[test]
    fn the_table_can_be_read() {
        let lines = TABLE.lines().filter(|line| !line.is_empty());
        assert!(lines.clone().all(|line| line.contains(" = ") && line.contains("-> ")));
        let all = read();
        let written: usize = lines.map(|line| line.split(" = ").next().map_or(0, |it| it.split(' ').count())).sum();
        let count: usize = all.values().map(Vec::len).sum();
        assert!(count >= written && all.len() > 150, "{count} overloads of {} functions", all.len());
        let parameters = ["A", "B", "K", "T", "V"];
        for (name, one) in all.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one))) {
            for kind in one.arguments.iter().chain([&one.result]) {
                if let Type::Parameter(letter) = kind {
                    assert!(parameters.contains(&letter.to_string().as_str()), "{name}: {kind}");
                }
            }
        }
    }

    #[test]
    fn alternatives_keep_their_order() {
        let told: Vec<String> = overloads("indexOf")
            .into_iter()
            .flatten()
            .map(|one| format!("({}) {}", crate::types::told(&one.arguments), one.result))
            .collect();
        assert_eq!(told, ["(string, string) int", "(string, string, int) int", "(list(A), A) int"]);
        assert!(overloads("optional.none").is_some_and(|all| all[0].arguments.is_empty()));
        assert!(overloads("math.greatest").is_none());
    }
}
