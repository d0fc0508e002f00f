//! `/statusz` and `/flagz`: what this process is and what it was started with, for people and, as
//! `config.k8s.io` objects, for programs (KEP-4827, KEP-4828).

use api_machinery::error::Result;
use api_machinery::{ApiError, Value};
use api_schema::gate;
use jiff::{SpanRound, Timestamp, Unit};
use serde_json::json;

use crate::chain::Call;
use crate::discovery;
use crate::negotiate::{self, Clause};
use crate::respond::{self, JSON, Response};
use crate::state::State;

const COMPONENT: &str = "kube-apiserver";
const GROUP: &str = "config.k8s.io";
const VERSIONS: [&str; 2] = ["v1alpha1", "v1beta1"];
/// Paths that a person looking at a process may want next.
const PATHS: [&str; 6] = ["/healthz", "/livez", "/metrics", "/metrics/slis", "/readyz", "/version"];
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
                       guarantees and is for debugging purposes only.";

/// What the feature gates leave of the two.
pub(crate) fn paths(state: &State) -> impl Iterator<Item = &'static str> {
    let gates = state.server.registry.schema.gates();
    let pages = [("/flagz", gate::COMPONENT_FLAGZ), ("/statusz", gate::COMPONENT_STATUSZ)];
    pages.into_iter().filter(|(_, gate)| gates.enabled(gate)).map(|(path, _)| path)
}

/// One of [`paths`].
pub(crate) fn respond(state: &State, call: &Call, path: &str) -> Result<Response> {
    let accepted = negotiate::accepted(call.headers());
    if path == "/flagz" {
        let flags = &state.server.config.flags;
        return answer(&accepted, "Flagz", || flags_text(flags), || flags_fields(flags));
    }
    let others = PATHS.into_iter().chain(paths(state).filter(|page| *page != path));
    let status = Status { started: state.started, now: state.now(), paths: others.collect() };
    answer(&accepted, "Statusz", || status.text(), || status.fields())
}

/// As the most wanted clause that can be served has it.
fn answer(
    accepted: &[Clause<'_>],
    kind: &str,
    text: impl FnOnce() -> String,
    fields: impl FnOnce() -> Value,
) -> Result<Response> {
    for clause in accepted {
        match form(clause, kind) {
            Some(Form::Text) => return Ok(respond::text(200, text())),
            Some(Form::Object(version)) => {
                let mut object = json!({"kind": kind, "apiVersion": format!("{GROUP}/{version}"),
                    "metadata": {"name": COMPONENT}});
                if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields()) {
                    object.extend(fields);
                }
                return Ok(respond::bytes(200, JSON, object.to_string()));
            }
            None => {}
        }
    }
    let known: Vec<String> =
        VERSIONS.iter().map(|version| format!("application/json;v={version};g={GROUP};as={kind}")).collect();
    let known = format!("only the following media types are accepted: text/plain, {}", known.join(", "));
    Err(ApiError::not_acceptable(known))
}

enum Form<'a> {
    Text,
    Object(&'a str),
}

fn form<'a>(clause: &Clause<'a>, kind: &str) -> Option<Form<'a>> {
    let version = clause.parameter("v");
    match clause.kind {
        "text/plain" | "text/*" | "*/*" => Some(Form::Text),
        "application/json" if clause.parameter("as") == kind && clause.parameter("g") == GROUP => {
            VERSIONS.contains(&version).then_some(Form::Object(version))
        }
        _ => None,
    }
}

struct Status {
    started: Timestamp,
    now: Timestamp,
    paths: Vec<&'static str>,
}

impl Status {
    fn seconds_up(&self) -> i64 {
        let up = self.now.since(self.started).and_then(|up| up.round(SpanRound::new().largest(Unit::Second)));
        up.map_or(0, |up| up.get_seconds().max(0))
    }

    fn text(&self) -> String {
        let up = self.seconds_up();
        let (version, emulated) = (discovery::binary_version(), discovery::emulated_version());
        format!(
            "\n{COMPONENT} statusz\n{WARNING}\n\nStarted: {}\nUp: {} hr {:02} min {:02} sec\nGo version: none\n\
             Binary version: {version}\nEmulation version: {emulated}\nPaths: {}\n",
            self.started.strftime("%a %b %e %H:%M:%S UTC %Y"),
            up / 3600,
            up / 60 % 60,
            up % 60,
            self.paths.join(" "),
        )
    }

    fn fields(&self) -> Value {
        json!({
            "startTime": self.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "uptimeSeconds": self.seconds_up(),
            "goVersion": "none", "binaryVersion": discovery::binary_version(),
            "emulationVersion": discovery::emulated_version(), "paths": self.paths,
        })
    }
}

fn flags_text(flags: &[(String, String)]) -> String {
    let lines: Vec<String> = flags.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    format!("\n{COMPONENT} flagz\n{WARNING}\n\n{}", lines.concat())
}

fn flags_fields(flags: &[(String, String)]) -> Value {
    let flags: serde_json::Map<String, Value> =
        flags.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({"flags": flags})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_for_people_and_programs() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let status = Status {
            started: time("2026-09-06T06:19:51.7Z"),
            now: time("2026-09-07T08:20:21Z"),
            paths: vec!["/healthz", "/version"],
        };
        let text = status.text();
        assert!(text.starts_with("\nkube-apiserver statusz\nWarning: "), "{text}");
        for line in ["Started: Sun Sep  6 06:19:51 UTC 2026", "Up: 26 hr 00 min 29 sec", "Paths: /healthz /version"] {
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
        let fields = status.fields();
        assert_eq!((&fields["startTime"], &fields["uptimeSeconds"]), (&json!("2026-09-06T06:19:51Z"), &json!(93_629)));
        assert_eq!(fields["emulationVersion"], "1.36");
    }
}
