//! What everything in one run shares: the wire, and the list of what happened.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::facts::Fact;
use crate::net::Net;

pub(crate) struct Shared {
    pub(crate) net: Mutex<Net>,
    /// Taken after the wire's lock where both are needed.
    pub(crate) facts: Mutex<Vec<Fact>>,
    me: Weak<Self>,
}

impl Shared {
    pub(crate) fn new(net: Net) -> Arc<Self> {
        Arc::new_cyclic(|me| Self { net: Mutex::new(net), facts: Mutex::default(), me: me.clone() })
    }

    pub(crate) fn me(&self) -> Arc<Self> {
        self.me.upgrade().expect("it is in use")
    }

    pub(crate) fn tell(&self, fact: Fact) {
        self.facts.lock().push(fact);
    }

    pub(crate) fn take_facts(&self) -> Vec<Fact> {
        std::mem::take(&mut self.facts.lock())
    }
}
