//! A cluster in a map: performs plans at once, so that controllers can be run to convergence.

use std::collections::{BTreeMap, BTreeSet};

use controller_logic::graph::{KindInfo, Partial};
use controller_logic::plan::{Action, PatchType, Plan, Step, Target};
use controller_logic::world::{self, Source};
use controller_logic::{Context, Controller, Failure, Key, Kind, World};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) struct Fake {
    pub(crate) world: World,
    pub(crate) objects: BTreeMap<Target, Value>,
    pub(crate) now: Timestamp,
    /// What was done, one line each, without bodies.
    pub(crate) log: Vec<String>,
    pub(crate) events: Vec<String>,
    controllers: Vec<Box<dyn Controller>>,
    queue: BTreeSet<(usize, Key)>,
    counter: u64,
    pub(crate) reads: BTreeMap<Target, Option<Value>>,
    pub(crate) failure: Option<Failure>,
    pub(crate) level: bool,
}

struct Json<'a>(&'a Value);

impl Source for Json<'_> {
    fn typed<T: DeserializeOwned>(&self) -> Option<T> {
        Some(serde_json::from_value(self.0.clone()).expect("an object of its kind"))
    }
}

impl Fake {
    pub(crate) fn new(controllers: Vec<Box<dyn Controller>>) -> Self {
        let mut world = World::default();
        for (api_version, kind, gvr, namespaced) in [
            ("v1", "Pod", Kind::Pod.gvr(), true),
            ("v1", "Node", Kind::Node.gvr(), false),
            ("apps/v1", "ReplicaSet", Kind::ReplicaSet.gvr(), true),
            ("apps/v1", "Deployment", Kind::Deployment.gvr(), true),
        ] {
            world.graph.kinds.insert((api_version.to_owned(), kind.to_owned()), KindInfo { gvr, namespaced });
        }
        Self {
            world,
            objects: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
            log: Vec::new(),
            events: Vec::new(),
            controllers,
            queue: BTreeSet::new(),
            counter: 0,
            reads: BTreeMap::new(),
            failure: None,
            level: true,
        }
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    fn kind(target: &Target) -> Kind {
        let kind = Kind::ALL.iter().find(|kind| kind.gvr() == target.gvr);
        *kind.unwrap_or_else(|| panic!("the fake does not know {target}"))
    }

    /// Stores an object of any kind, given its `kind` and `apiVersion`.
    pub(crate) fn put(&mut self, object: Value) -> Target {
        let (group, version) = match object["apiVersion"].as_str().expect("apiVersion").split_once('/') {
            Some(parts) => parts,
            None => ("", object["apiVersion"].as_str().expect("apiVersion")),
        };
        let kind = object["kind"].as_str().expect("kind");
        let found = Kind::ALL.iter().find(|own| format!("{own:?}") == kind).expect("a known kind");
        let gvr = found.gvr();
        assert_eq!((&*gvr.group, &*gvr.version), (group, version));
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let target = Target::new(gvr, &text("namespace"), &text("name"));
        self.store(target.clone(), object);
        target
    }

    fn store(&mut self, target: Target, mut object: Value) {
        self.counter += 1;
        let counter = self.counter;
        let now = api_machinery::time::seconds(self.now);
        let before = self.objects.get(&target);
        let meta = &mut object["metadata"];
        if meta["uid"].is_null() {
            meta["uid"] = json!(format!("uid-{counter:04}"));
        }
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = json!(now);
        }
        let spec_changed = before.is_some_and(|before| before["spec"] != object["spec"]);
        let generation = before.and_then(|before| before["metadata"]["generation"].as_i64());
        let meta = &mut object["metadata"];
        meta["resourceVersion"] = json!(counter.to_string());
        meta["generation"] = json!(generation.map_or(1, |own| own + i64::from(spec_changed)));
        self.show(&target, Some(&object));
        self.objects.insert(target, object);
    }

    pub(crate) fn remove(&mut self, target: &Target) {
        if self.objects.remove(target).is_some() {
            self.show(target, None);
        }
    }

    fn show(&mut self, target: &Target, object: Option<&Value>) {
        let kind = Self::kind(target);
        let key = Key { namespace: target.namespace.clone(), name: target.name.clone() };
        let decoded = object.and_then(|object| world::decode(kind, &Json(object)));
        let change = self.world.apply(kind, key, decoded);
        self.world.observed.note(&change.view(), self.now);
        let partial = object.map(|object| serde_json::from_value::<Partial>(object.clone()).expect("metadata"));
        self.world.graph.set(target.clone(), partial.map(|partial| partial.metadata));
        for (index, controller) in self.controllers.iter().enumerate() {
            self.queue.extend(controller.keys(&self.world, &change.view()).into_iter().map(|key| (index, key)));
        }
    }

    /// What a controller wants, without doing it.
    pub(crate) fn plan(&self, controller: &dyn Controller, namespace: &str, name: &str) -> Plan {
        let context = Context {
            now: self.now,
            failure: self.failure.as_ref(),
            reads: &self.reads,
            level: self.level,
            shown: if self.level { u64::MAX } else { 0 },
        };
        controller.reconcile(&self.world, &Key::new(namespace, name), &context)
    }

    /// Runs one queued key. False: nothing is queued.
    pub(crate) fn step(&mut self) -> bool {
        let Some((index, key)) = self.queue.pop_first() else { return false };
        let context = Context {
            now: self.now,
            failure: self.failure.as_ref(),
            reads: &self.reads,
            level: self.level,
            shown: if self.level { u64::MAX } else { 0 },
        };
        let plan = self.controllers[index].reconcile(&self.world, &key, &context);
        self.perform(&plan);
        true
    }

    /// The keys that changes have queued since the last time.
    pub(crate) fn woken(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.queue).into_iter().map(|(_, key)| key).collect()
    }

    /// Queues a key by hand, as a delay or a resync would.
    pub(crate) fn wake(&mut self, controller: usize, namespace: &str, name: &str) {
        self.queue.insert((controller, Key::new(namespace, name)));
    }

    pub(crate) fn perform(&mut self, plan: &Plan) {
        for step in &plan.steps {
            match step {
                Step::One(action) => self.act(action),
                Step::Together(actions) | Step::SlowStart(actions) => {
                    actions.iter().for_each(|action| self.act(action))
                }
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Create { target, object, .. } => {
                let mut object = object.clone();
                if object["metadata"]["name"].is_null() {
                    self.counter += 1;
                    let prefix = object["metadata"]["generateName"].as_str().expect("a name or a prefix").to_owned();
                    object["metadata"]["name"] = json!(format!("{prefix}{}", self.counter));
                }
                let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
                let target = Target::new(target.gvr.clone(), &target.namespace, &name);
                assert!(!self.objects.contains_key(&target), "{target} exists already");
                self.log.push(format!("create {target}"));
                self.store(target, object);
            }
            Action::Patch { target, body, patch, subresource } => {
                let Some(mut object) = self.objects.get(target).cloned() else { return };
                let uid = &body["metadata"]["uid"];
                assert!(uid.is_null() || *uid == object["metadata"]["uid"], "a patch of another {target}");
                match patch {
                    PatchType::Merge => merge(&mut object, body),
                    PatchType::Strategic => strategic(&mut object, body),
                }
                self.log.push(format!("patch {target} {subresource}"));
                self.store(target.clone(), object);
            }
            Action::Delete { target, options, .. } => {
                let Some(object) = self.objects.get(target) else { return };
                assert!(options.uid.is_empty() || object["metadata"]["uid"] == options.uid.as_str());
                self.log.push(format!("delete {target}"));
                self.remove(target);
            }
            Action::Event(note) => self.events.push(format!("{} {}", note.reason, note.message)),
            other => panic!("the fake cannot {other}"),
        }
    }

    pub(crate) fn of(&self, kind: Kind) -> Vec<&Value> {
        self.objects.iter().filter(|(target, _)| target.gvr == kind.gvr()).map(|(_, object)| object).collect()
    }

    /// Changes an object as a user or a kubelet does.
    pub(crate) fn edit(&mut self, target: &Target, patch: Value) {
        let mut object = self.objects[target].clone();
        merge(&mut object, &patch);
        self.store(target.clone(), object);
    }

    /// Makes a pod ready.
    pub(crate) fn make_ready(&mut self, target: &Target) {
        let now = api_machinery::time::seconds(self.now);
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
        self.edit(target, json!({"status": {"phase": "Running", "conditions": [ready]}}));
    }
}

pub(crate) fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let map = object.as_object_mut().expect("made one above");
    for (name, value) in patch {
        if value.is_null() {
            map.remove(name);
        } else {
            merge(map.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Only what controllers use: owner references by uid and conditions by type.
fn strategic(object: &mut Value, patch: &Value) {
    let mut patch = patch.clone();
    for (path, key) in [("/metadata/ownerReferences", "uid"), ("/status/conditions", "type")] {
        let Some(entries) = patch.pointer(path).and_then(Value::as_array).cloned() else { continue };
        let mut list = object.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
        for entry in entries {
            list.retain(|own| own[key] != entry[key]);
            if entry["$patch"].is_null() {
                list.push(entry);
            }
        }
        *patch.pointer_mut(path).expect("found above") = json!(list);
    }
    merge(object, &patch);
}
