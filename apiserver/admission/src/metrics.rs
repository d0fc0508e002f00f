//! How long admission takes, under upstream's names.

use std::time::Instant;

use ::metrics::histogram;

use crate::{Attributes, Operation};

/// Times one step, or one plugin in it.
#[derive(Clone, Copy)]
pub(crate) struct Meter {
    began: Instant,
    step: &'static str,
    operation: &'static str,
}

fn name_of(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

impl Meter {
    /// `step`: `admit` or `validate`.
    pub(crate) fn of(attributes: &Attributes<'_>, step: &'static str) -> Self {
        Self { began: Instant::now(), step, operation: name_of(attributes.operation) }
    }

    pub(crate) fn begin(self) -> Self {
        Self { began: Instant::now(), ..self }
    }

    pub(crate) fn controller(self, plugin: &'static str, rejected: bool) {
        histogram!("apiserver_admission_controller_admission_duration_seconds", "name" => plugin,
            "operation" => self.operation, "rejected" => rejected.to_string(), "type" => self.step)
        .record(self.began.elapsed().as_secs_f64());
    }

    pub(crate) fn step(self, rejected: bool) {
        histogram!("apiserver_admission_step_admission_duration_seconds", "operation" => self.operation,
            "rejected" => rejected.to_string(), "type" => self.step)
        .record(self.began.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ::metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
    };
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
            let step = Meter::of(&attributes, "admit");
            step.begin().controller("Priority", true);
            step.step(true);
        });
        assert_eq!(
            *noted.0.lock().expect("not poisoned"),
            [
                "apiserver_admission_controller_admission_duration_seconds \
                 name=Priority,operation=CREATE,rejected=true,type=admit",
                "apiserver_admission_step_admission_duration_seconds operation=CREATE,rejected=true,type=admit",
            ]
        );
    }
}
