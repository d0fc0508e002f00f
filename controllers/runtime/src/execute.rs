//! Performing a plan step by step.

use api_machinery::error::{ApiError, Result};
use controller_logic::plan::{Action, EventNote, Report};
use controller_logic::{Failure, Plan, Step};
use futures::{StreamExt, stream};

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

/// Performs all steps in order, and says what was written even when one failed.
pub(crate) async fn execute(
    client: &Client,
    recorder: &Recorder,
    account: &'static str,
    plan: &Plan,
) -> (Vec<Wrote>, std::result::Result<(), Stopped>) {
    let mut shell = Shell { client, recorder, account, wrote: Vec::new(), reported: 0 };
    for step in &plan.steps {
        if let Err(stopped) = shell.step(step).await {
            return (shell.wrote, Err(stopped));
        }
    }
    (shell.wrote, Ok(()))
}

struct Shell<'a> {
    client: &'a Client,
    recorder: &'a Recorder,
    account: &'static str,
    wrote: Vec<Wrote>,
    reported: usize,
}

impl Shell<'_> {
    async fn step(&mut self, step: &Step) -> std::result::Result<(), Stopped> {
        match step {
            Step::One(action) => self.together(std::slice::from_ref(action)).await,
            Step::Together(actions) => self.together(actions).await,
            Step::SlowStart(actions) => self.slow_start(actions).await,
        }
    }

    async fn slow_start(&mut self, actions: &[Action]) -> std::result::Result<(), Stopped> {
        let (mut left, mut size) = (actions, 1);
        while !left.is_empty() {
            let (batch, rest) = left.split_at(size.min(left.len()));
            self.together(batch).await?;
            (left, size) = (rest, size * 2);
        }
        Ok(())
    }

    async fn together(&mut self, actions: &[Action]) -> std::result::Result<(), Stopped> {
        let client = self.client;
        // By index: a closure over references is not general enough for a spawned task.
        let mut outcomes = stream::iter(0..actions.len())
            .map(|index| async move { (index, client.perform(&actions[index]).await) })
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
        self.report(action, &outcome);
        match outcome {
            Ok(done) => {
                self.wrote.extend(done.wrote);
                None
            }
            Err(error) => {
                let reason = report_of(action).map_or("", |report| report.failed.0);
                Some(Stopped { failure: Failure { reason, message: error.message.clone() }, error })
            }
        }
    }

    fn report(&mut self, action: &Action, outcome: &Result<Done>) {
        let Some(report) = report_of(action).filter(|_| self.reported < REPORTS) else { return };
        self.reported += 1;
        let ((reason, text), end) = match outcome {
            Ok(done) => (report.done, done.name.as_str()),
            Err(error) => (report.failed, error.message.as_str()),
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

fn report_of(action: &Action) -> Option<&Report> {
    match action {
        Action::Create { report, .. } | Action::Delete { report, .. } => report.as_ref(),
        _ => None,
    }
}
