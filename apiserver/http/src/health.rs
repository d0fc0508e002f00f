//! `/healthz`, `/livez`, `/readyz` in upstream's text form
//! (`k8s.io/apiserver/pkg/server/healthz`). Pure but for the checks themselves.

use api_machinery::ApiError;
use api_machinery::error::Result;

use crate::HealthCheck;
use crate::query::Query;
use crate::respond::{self, Response};

/// One check's name and outcome.
pub(crate) struct Outcome {
    pub name: String,
    pub result: std::result::Result<(), String>,
}

/// Checks that always hold while this process answers.
const ALWAYS: [&str; 2] = ["ping", "log"];

/// Runs the checks of an endpoint. `stopping` is shown by `readyz` only.
pub(crate) fn outcomes(endpoint: &str, checks: &[Box<dyn HealthCheck>], stopping: bool) -> Vec<Outcome> {
    let always = ALWAYS.iter().map(|name| Outcome { name: (*name).to_owned(), result: Ok(()) });
    let own = checks.iter().map(|check| Outcome { name: check.name().to_owned(), result: check.check() });
    let mut all: Vec<Outcome> = always.chain(own).collect();
    if endpoint == "readyz" {
        let result = if stopping { Err("process is shutting down".to_owned()) } else { Ok(()) };
        all.push(Outcome { name: "shutdown".to_owned(), result });
    }
    all
}

/// The answer of `/ENDPOINT[/CHECK]`.
pub(crate) fn respond(endpoint: &str, check: &str, outcomes: &[Outcome], query: &Query) -> Result<Response> {
    if check.is_empty() {
        let (code, text) = summary(endpoint, outcomes, query);
        return Ok(respond::text(code, text));
    }
    let found = outcomes.iter().find(|outcome| outcome.name == check).ok_or_else(ApiError::no_such_path)?;
    Ok(match &found.result {
        Ok(()) => respond::text(200, "ok"),
        Err(reason) => respond::text(500, format!("internal server error: {reason}\n")),
    })
}

/// Code and text of all checks together. Reasons go to the log, not to the asker, as upstream.
fn summary(endpoint: &str, outcomes: &[Outcome], query: &Query) -> (u16, String) {
    let mut excluded: Vec<&str> = query.all("exclude").filter(|name| !name.is_empty()).collect();
    let mut text = String::new();
    let mut failed = Vec::new();
    for outcome in outcomes {
        let name = outcome.name.as_str();
        if excluded.contains(&name) {
            excluded.retain(|other| *other != name);
            text.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match &outcome.result {
            Ok(()) => text.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                tracing::info!(endpoint, check = name, reason, "a health check fails");
                text.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed.push(name);
            }
        }
    }
    if !excluded.is_empty() {
        let quoted: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        text.push_str(&format!("warn: some health checks cannot be excluded: no matches for {}\n", quoted.join(",")));
    }
    if !failed.is_empty() {
        text.push_str(&format!("{endpoint} check failed\n"));
        return (500, text);
    }
    if query.get("verbose").is_none() {
        return (200, "ok".to_owned());
    }
    text.push_str(&format!("{endpoint} check passed\n"));
    (200, text)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    struct Check(&'static str, bool);
    impl HealthCheck for Check {
        fn name(&self) -> &str {
            self.0
        }
        fn check(&self) -> std::result::Result<(), String> {
            if self.1 { Ok(()) } else { Err("secret".to_owned()) }
        }
    }

    fn shown(query: &str, good: bool, stopping: bool) -> String {
        let checks: Vec<Box<dyn HealthCheck>> = vec![Box::new(Check("etcd", good))];
        let query = Query::parse(Some(query)).expect("a good query");
        let (code, text) = summary("readyz", &outcomes("readyz", &checks, stopping), &query);
        format!("{code} {text}")
    }

    #[test]
    fn texts() {
        assert_eq!(shown("", true, false), "200 ok");
        expect![[r#"
            200 [+]ping ok
            [+]log ok
            [+]etcd ok
            [+]shutdown ok
            readyz check passed
        "#]]
        .assert_eq(&shown("verbose", true, false));
        expect![[r#"
            500 [+]ping ok
            [+]log ok
            [-]etcd failed: reason withheld
            [-]shutdown failed: reason withheld
            readyz check failed
        "#]]
        .assert_eq(&shown("", false, true));
        expect![[r#"
            200 [+]ping ok
            [+]log ok
            [+]etcd excluded: ok
            [+]shutdown ok
            warn: some health checks cannot be excluded: no matches for "other"
            readyz check passed
        "#]]
        .assert_eq(&shown("verbose&exclude=etcd&exclude=other", false, false));
    }
}
