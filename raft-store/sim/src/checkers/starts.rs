//! D4, D5: a replica that lost power starts again; only one whose disk was damaged or is full, or that was removed,
//! does not.

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

pub(super) struct Starts;

impl Checker for Starts {
    fn name(&self) -> &'static str {
        "D4-D5 starts"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Refused { host, why } = fact else { return Ok(()) };
        match view.hosts.get(host).is_some_and(|host| host.damaged || host.out || host.lacked_room(view.now)) {
            true => Ok(()),
            false => Err(format!("{host} cannot be started, and nothing but its power was lost: {why}")),
        }
    }
}
