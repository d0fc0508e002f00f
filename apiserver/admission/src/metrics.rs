//! How long admission takes, under upstream's names.

use std::sync::OnceLock;
use std::time::Instant;

use ::metrics::{Histogram, histogram};

use crate::{Attributes, Operation};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Admit,
    Validate,
}

const OPERATIONS: usize = 4;

/// The histograms of one plugin, or of whole steps. Each is made when it is needed first, so that nobody sees what
/// never happens, and kept: to look it up takes longer than most plugins do.
pub(crate) struct Histograms {
    /// `None`: of whole steps.
    plugin: Option<&'static str>,
    made: [OnceLock<Histogram>; 4 * OPERATIONS],
}

impl Histograms {
    pub(crate) fn new(plugin: Option<&'static str>) -> Self {
        Self { plugin, made: Default::default() }
    }

    fn of(&self, step: Step, operation: Operation, rejected: bool) -> &Histogram {
        let place = (operation as usize * 2 + usize::from(step == Step::Validate)) * 2 + usize::from(rejected);
        self.made[place].get_or_init(|| {
            let operation = match operation {
                Operation::Create => "CREATE",
                Operation::Update => "UPDATE",
                Operation::Delete => "DELETE",
                Operation::Connect => "CONNECT",
            };
            let step = match step {
                Step::Admit => "admit",
                Step::Validate => "validate",
            };
            let rejected = rejected.to_string();
            match self.plugin {
                Some(plugin) => histogram!("apiserver_admission_controller_admission_duration_seconds",
                    "name" => plugin, "operation" => operation, "rejected" => rejected, "type" => step),
                None => histogram!("apiserver_admission_step_admission_duration_seconds", "operation" => operation,
                    "rejected" => rejected, "type" => step),
            }
        })
    }
}

/// Times one step, or one plugin in it.
#[derive(Clone, Copy)]
pub(crate) struct Meter {
    began: Instant,
    step: Step,
    operation: Operation,
}

impl Meter {
    pub(crate) fn of(attributes: &Attributes<'_>, step: Step) -> Self {
        Self { began: Instant::now(), step, operation: attributes.operation }
    }

    pub(crate) fn begin(self) -> Self {
        Self { began: Instant::now(), ..self }
    }

    pub(crate) fn end(self, histograms: &Histograms, rejected: bool) {
        histograms.of(self.step, self.operation, rejected).record(self.began.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ::metrics::{Counter, Gauge, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder};
    use api_machinery::UserInfo;
    use api_schema::Schema;

    use super::*;

    /// Notes which histograms are recorded to.
    #[derive(Default)]
    struct Noted(Mutex<Vec<String>>);

    impl Recorder for Noted {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            self.0.lock().expect("not poisoned").push(format!("{} {}", key.name(), labels.join(",")));
            Histogram::noop()
        }
    }

    #[test]
    fn upstreams_names_and_labels() {
        let noted = Noted::default();
        let attributes = Attributes {
            operation: Operation::Create,
            resource: Schema::builtin().resource("", "v1", "pods").expect("is served"),
            subresource: "",
            namespace: "default",
            name: "p",
            user: &UserInfo::default(),
            old: None,
            dry_run: false,
            now: "2026-11-22T00:00:00Z".parse().expect("a time"),
            rights: None,
            notes: &Default::default(),
        };
        with_local_recorder(&noted, || {
            let step = Meter::of(&attributes, Step::Admit);
            let (plugin, steps) = (Histograms::new(Some("Priority")), Histograms::new(None));
            step.begin().end(&plugin, true);
            step.begin().end(&plugin, true);
            step.end(&steps, true);
            Meter::of(&attributes, Step::Validate).end(&steps, false);
        });
        assert_eq!(
            *noted.0.lock().expect("not poisoned"),
            [
                "apiserver_admission_controller_admission_duration_seconds \
                 name=Priority,operation=CREATE,rejected=true,type=admit",
                "apiserver_admission_step_admission_duration_seconds operation=CREATE,rejected=true,type=admit",
                "apiserver_admission_step_admission_duration_seconds operation=CREATE,rejected=false,type=validate",
            ]
        );
    }
}
