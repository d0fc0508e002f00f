//! Performing a plan step by step.

use api_machinery::error::{ApiError, Reason, Result};
use api_machinery::invalid::CauseType;
use controller_logic::plan::{Action, EventNote, Report};
use controller_logic::{Failure, Plan, Step};
use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Done, Wrote};
use crate::events::Recorder;

/// Actions of one step in flight at the same time, at most.
const IN_FLIGHT: usize = 64;
/// Events about pods created or deleted by one step, at most; the rest would only be dropped by their budget.
const REPORTS: usize = 64;

/// A plan that could not be completed.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) failure: Failure,
    pub(crate) error: ApiError,
}

type Outcome = std::result::Result<(), Stopped>;

/// What became of a plan.
pub(crate) struct Performed {
    /// Also when the plan was not completed.
    pub(crate) wrote: Vec<Wrote>,
    /// Nobody knows whether some write happened.
    pub(crate) uncertain: bool,
    pub(crate) outcome: Outcome,
}

/// Performs all steps in order. Nothing new is begun once `stop` is cancelled: another leader may be at work.
pub(crate) async fn execute(
    client: &Client,
    recorder: &Recorder,
    account: &'static str,
    stop: &CancellationToken,
    plan: &Plan,
) -> Performed {
    let mut shell = Shell { client, recorder, account, stop, wrote: Vec::new(), uncertain: false, reported: 0 };
    let outcome = shell.all(&plan.steps).await;
    Performed { wrote: shell.wrote, uncertain: shell.uncertain, outcome }
}

struct Shell<'a> {
    client: &'a Client,
    recorder: &'a Recorder,
    account: &'static str,
    stop: &'a CancellationToken,
    wrote: Vec<Wrote>,
    uncertain: bool,
    reported: usize,
}

impl Shell<'_> {
    async fn all(&mut self, steps: &[Step]) -> Outcome {
        for step in steps {
            self.step(step).await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::One(action) => self.together(std::slice::from_ref(action)).await,
            Step::Together(actions) => self.together(actions).await,
            Step::SlowStart(actions) => self.slow_start(actions).await,
        }
    }

    async fn slow_start(&mut self, actions: &[Action]) -> Outcome {
        let (mut left, mut size) = (actions, 1);
        while !left.is_empty() {
            let (batch, rest) = left.split_at(size.min(left.len()));
            self.together(batch).await?;
            (left, size) = (rest, size * 2);
        }
        Ok(())
    }

    async fn together(&mut self, actions: &[Action]) -> Outcome {
        let (client, stop) = (self.client, self.stop);
        // By index: a closure over references is not general enough for a spawned task.
        let mut outcomes = stream::iter(0..actions.len())
            .map(|index| async move {
                let outcome = if stop.is_cancelled() { Err(over()) } else { client.perform(&actions[index]).await };
                (index, outcome)
            })
            .buffer_unordered(IN_FLIGHT);
        let mut first = None;
        while let Some((index, outcome)) = outcomes.next().await {
            let failed = self.note(&actions[index], outcome);
            first = first.or(failed);
        }
        first.map_or(Ok(()), Err)
    }

    /// Keeps what was written and reports the outcome; the failure when there is one.
    fn note(&mut self, action: &Action, outcome: Result<Done>) -> Option<Stopped> {
        if let Action::Event(note) = action {
            self.recorder.record(self.account, note.clone());
            return None;
        }
        if outcome.as_ref().is_err_and(|error| is_pointless(action, error)) {
            return None;
        }
        self.report(action, &outcome);
        match outcome {
            Ok(done) => {
                self.wrote.extend(done.wrote);
                None
            }
            Err(error) => {
                self.uncertain |= error.reason == Reason::Timeout;
                let reason = report_of(action).map_or("", |report| report.failed.0);
                Some(Stopped { failure: Failure { reason, message: error.message.clone() }, error })
            }
        }
    }

    fn report(&mut self, action: &Action, outcome: &Result<Done>) {
        let Some(report) = report_of(action).filter(|_| self.reported < REPORTS && !self.stop.is_cancelled()) else {
            return;
        };
        self.reported += 1;
        let ((reason, text), end) = match (outcome, report.done) {
            (Ok(done), Some(text)) => (text, done.name.as_str()),
            (Ok(_), None) => return,
            (Err(error), _) => ((report.failed.0, &*report.failed.1), error.message.as_str()),
        };
        let note = EventNote {
            regarding: report.regarding.clone(),
            warning: outcome.is_err(),
            reason,
            message: format!("{text}{end}"),
        };
        self.recorder.record(self.account, note);
    }
}

fn over() -> ApiError {
    ApiError::unavailable("the leadership is over")
}

/// Nothing can be made in a namespace that is going away, and soon nothing will have to be.
fn is_pointless(action: &Action, error: &ApiError) -> bool {
    let causes = error.details.iter().flat_map(|details| &details.causes);
    matches!(action, Action::Create { .. })
        && causes.into_iter().any(|cause| cause.reason == CauseType::NamespaceTerminating)
}

fn report_of(action: &Action) -> Option<&Report> {
    match action {
        Action::Create { report, .. } | Action::Delete { report, .. } => report.as_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use api_machinery::{Cause, GroupResource};
    use controller_logic::Gvr;
    use controller_logic::plan::{DeleteOptions, Target};
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_a_namespace_refuses_while_it_goes_needs_no_other_try() {
        let target = Target::new(Gvr::new("", "v1", "pods"), "ns", "p");
        let create =
            Action::Create { target: target.clone(), object: Value::Null, report: None, existing_is_fine: false };
        let delete = Action::Delete { target, options: DeleteOptions::default(), report: None };
        let forbidden = || ApiError::forbidden(&GroupResource::new("", "pods"), "p", "no");
        let cause = |reason| Cause { reason, message: String::new(), field: String::new() };
        let going = forbidden().because(cause(CauseType::NamespaceTerminating));
        assert!(is_pointless(&create, &going));
        assert!(!is_pointless(&delete, &going));
        assert!(!is_pointless(&create, &forbidden()));
        assert!(!is_pointless(&create, &forbidden().because(cause(CauseType::Forbidden))));
    }
}
