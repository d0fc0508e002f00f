//! `/metrics/slis`: how the health checks came out, each time they were asked.

use std::collections::BTreeMap;
use std::fmt::Write;

use parking_lot::Mutex;

use crate::health::Outcome;

/// What became of one check so far. Checks are those of this server: their number is bounded.
#[derive(Clone, Copy, Default)]
struct Tally {
    healthy: bool,
    successes: u64,
    errors: u64,
}

#[derive(Default)]
pub(crate) struct Slis(Mutex<BTreeMap<(String, &'static str), Tally>>);

impl Slis {
    /// `endpoint`: `healthz`, `livez`, `readyz`.
    pub(crate) fn record(&self, endpoint: &'static str, outcomes: &[Outcome]) {
        let mut all = self.0.lock();
        for outcome in outcomes {
            let tally = all.entry((outcome.name.clone(), endpoint)).or_default();
            tally.healthy = outcome.result.is_ok();
            *(if tally.healthy { &mut tally.successes } else { &mut tally.errors }) += 1;
        }
    }

    /// In Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let all = self.0.lock().clone();
        let mut out = String::from(
            "# HELP kubernetes_healthcheck [STABLE] How a health check came out last.\n\
             # TYPE kubernetes_healthcheck gauge\n",
        );
        for ((name, endpoint), tally) in &all {
            let value = u8::from(tally.healthy);
            let _ = writeln!(out, "kubernetes_healthcheck{{name=\"{name}\",type=\"{endpoint}\"}} {value}");
        }
        out.push_str(
            "# HELP kubernetes_healthchecks_total [STABLE] How health checks came out.\n\
             # TYPE kubernetes_healthchecks_total counter\n",
        );
        for ((name, endpoint), tally) in &all {
            for (status, count) in [("error", tally.errors), ("success", tally.successes)] {
                if count > 0 {
                    let labels = format!("name=\"{name}\",status=\"{status}\",type=\"{endpoint}\"");
                    let _ = writeln!(out, "kubernetes_healthchecks_total{{{labels}}} {count}");
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn text() {
        let slis = Slis::default();
        let outcome = |good: bool| Outcome {
            name: "etcd".to_owned(),
            result: if good { Ok(()) } else { Err("no leader is known".to_owned()) },
        };
        slis.record("livez", &[outcome(true)]);
        slis.record("readyz", &[outcome(true)]);
        slis.record("readyz", &[outcome(false)]);
        expect![[r#"
            # HELP kubernetes_healthcheck [STABLE] How a health check came out last.
            # TYPE kubernetes_healthcheck gauge
            kubernetes_healthcheck{name="etcd",type="livez"} 1
            kubernetes_healthcheck{name="etcd",type="readyz"} 0
            # HELP kubernetes_healthchecks_total [STABLE] How health checks came out.
            # TYPE kubernetes_healthchecks_total counter
            kubernetes_healthchecks_total{name="etcd",status="success",type="livez"} 1
            kubernetes_healthchecks_total{name="etcd",status="error",type="readyz"} 1
            kubernetes_healthchecks_total{name="etcd",status="success",type="readyz"} 1
        "#]]
        .assert_eq(&slis.render());
    }
}
