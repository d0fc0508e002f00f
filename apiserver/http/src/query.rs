//! The query string, decoded once, and the typed reading of single parameters.

use api_machinery::ApiError;
use api_machinery::error::Result;

use crate::path::percent_decode;

/// More parameters than this are refused: exec commands are the longest honest use.
const MAX_PARAMETERS: usize = 1000;

/// Decoded parameters in order; names may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

fn decode(text: &str) -> Result<String> {
    percent_decode(&text.replace('+', " "))
        .ok_or_else(|| ApiError::bad_request(format!("invalid URL escape in query: {text:?}")))
}

impl Query {
    /// Reads what follows `?`. 400 for malformed escapes and for too many parameters.
    pub(crate) fn parse(raw: Option<&str>) -> Result<Self> {
        let mut pairs = Vec::new();
        for pair in raw.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(ApiError::bad_request(format!("more than {MAX_PARAMETERS} query parameters")));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The first value, the empty string where the parameter is absent: upstream does not tell these apart.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// Every value of a parameter, in order.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// As upstream converts query parameters: absent, `false` and `0` are false, anything else is true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    pub(crate) fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }

    /// A decimal number; absent or empty is `None`. 400 with Go's words otherwise.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>> {
        match self.text(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        let query = Query::parse(Some("a=1&b=x%20y+z&a=2&c&watch=0&t=TRUE&e=")).expect("parses");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.text("b"), "x y z");
        assert_eq!(query.get("c"), Some(""));
        assert!(!query.flag("watch") && query.flag("t") && query.flag("c") && !query.flag("absent"));
        assert_eq!(query.integer("a"), Ok(Some(1)));
        assert_eq!(query.integer("e"), Ok(None));
        assert_eq!(
            query.integer("b").expect_err("not a number").message,
            "strconv.ParseInt: parsing \"x y z\": invalid syntax"
        );
        assert_eq!(Query::parse(Some("a=%zz")).expect_err("malformed").code, 400);
        assert_eq!(Query::parse(Some(&"a&".repeat(1001))).expect_err("too many").code, 400);
    }
}
