//! S9: a log has no holes, and a restart takes nothing away that was durable.

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

pub(super) struct NoHoles;

impl Checker for NoHoles {
    fn name(&self) -> &'static str {
        "S9 no holes"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Appended { host, .. } => {
                let Some(log) = view.shadow(*host) else { return Ok(()) };
                let (first, last) = (log.entries.first_key_value(), log.entries.last_key_value());
                let Some(((first, _), (last, _))) = first.zip(last) else { return Ok(()) };
                let follows = log.purged.is_none_or(|purged| *first == purged + 1);
                match follows && last - first + 1 == log.entries.len() as u64 {
                    true => Ok(()),
                    false => {
                        let (kept, purged) = (log.entries.len(), log.purged);
                        Err(format!("{host} has {kept} entries in {first}..={last}, purged up to {purged:?}"))
                    }
                }
            }
            Fact::Started { host } => match view.shadow(*host).and_then(|log| log.shortened) {
                None => Ok(()),
                Some((durable, last)) => Err(format!("{host} had a durable log up to {durable}, now up to {last:?}")),
            },
            _ => Ok(()),
        }
    }
}
