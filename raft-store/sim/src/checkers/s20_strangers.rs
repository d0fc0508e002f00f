//! S20: callers of another cluster, of another name than their certificate's, or who mean another replica or another
//! disk, are refused.

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

pub(super) struct Strangers;

impl Checker for Strangers {
    fn name(&self) -> &'static str {
        "S20 strangers are refused"
    }

    fn see(&mut self, fact: &Fact, _view: &View) -> Result<(), String> {
        match fact {
            Fact::Stranger { host, how, refused: false } => Err(format!("{host} answered a caller {how}")),
            _ => Ok(()),
        }
    }
}
