//! Processes that are simulated on this thread: which one runs, and how one ends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic;
use std::sync::{Arc, Once};

use store_api::NodeId;
use store_engine::planted::{Bug, plant};
use store_engine::room::simulate_room;
use store_node::world::simulate;

use crate::disk::Disk;
use crate::rng::Rng;

thread_local! {
    static RUNNING: Cell<NodeId> = const { Cell::new(0) };
    static ENDED: RefCell<Vec<(NodeId, String)>> = const { RefCell::new(Vec::new()) };
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static DISKS: RefCell<BTreeMap<NodeId, Arc<Disk>>> = const { RefCell::new(BTreeMap::new()) };
    static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
}

static HOOKED: Once = Once::new();

/// From here on this thread simulates, with this randomness for elections, and this bug in every process.
pub(crate) fn begin(mut random: Rng, bug: Option<Bug>) {
    HOOKED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match RUNNING.get() {
            0 => before(info),
            host => PANICS.with(|panics| panics.borrow_mut().push(format!("replica {host}: {info}"))),
        }));
    });
    ENDED.take();
    PANICS.take();
    DISKS.take();
    BUG.set(bug);
    simulate_room(|bytes| DISKS.with_borrow(|disks| disks.get(&RUNNING.get()).map_or(bytes, |disk| disk.fits(bytes))));
    simulate(
        move || random.next(),
        |why| -> Infallible {
            ENDED.with(|ended| ended.borrow_mut().push((RUNNING.get(), why.to_owned())));
            // Only the task that found out ends here; the whole process does at the end of this step.
            panic::resume_unwind(Box::new("the simulated process ends"))
        },
    );
}

/// What the processes of this host write goes to this disk.
pub(crate) fn mount(host: NodeId, disk: Arc<Disk>) {
    DISKS.with_borrow_mut(|disks| disks.insert(host, disk));
}

/// Runs something as one process.
pub(crate) fn as_process<T>(host: NodeId, run: impl FnOnce() -> T) -> T {
    RUNNING.set(host);
    plant(BUG.get());
    let result = run();
    plant(None);
    RUNNING.set(0);
    result
}

/// Why the process ended itself, if it did.
pub(crate) fn take_end(host: NodeId) -> Option<String> {
    ENDED.with(|ended| {
        let mut ended = ended.borrow_mut();
        let found = ended.iter().find(|(of, _)| *of == host).map(|(_, why)| why.clone());
        ended.retain(|(of, _)| *of != host);
        found
    })
}

pub(crate) fn take_panics() -> Vec<String> {
    PANICS.take()
}
