//! What a new cluster can be made of: a backup, or a copy that `etcdctl snapshot save` has stored.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::container::Secret;
use super::contents::Description;
use super::etcdctl::Copy;
use super::place::Place;
use super::verify::{Verified, open, verify};
use crate::Failure;

/// One that was read to its end, and is whole.
pub(crate) struct Source<'a> {
    place: &'a Place,
    secret: Option<&'a Secret>,
    description: Description,
    found: Found,
}

enum Found {
    Backup(Verified),
    Copy(Copy),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Found::Backup(verified) => write!(f, "{}: {verified}", self.place),
            Found::Copy(copy) => write!(f, "{}: {copy}", self.place),
        }
    }
}

impl<'a> Source<'a> {
    /// `Err` says what is wrong with it. Blocks.
    pub(crate) fn verified(place: &'a Place, secret: Option<&'a Secret>) -> Result<Self, Failure> {
        let (description, found) = match Copy::find(place)? {
            Some(copy) => (Description::of_keyless_store(copy.created, copy.revision), Found::Copy(copy)),
            None => {
                let verified = verify(place, secret)?;
                (verified.description.clone(), Found::Backup(verified))
            }
        };
        Ok(Self { place, secret, description, found })
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    /// The snapshot in it, to a file. Blocks.
    pub(crate) fn extract(&self, to: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| format!("{}: {error}", to.display());
        let mut content: Box<dyn Read + Send> = match &self.found {
            Found::Backup(_) => open(self.place, self.secret)?.1,
            Found::Copy(copy) => copy.content()?,
        };
        let mut to: File =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(failed)?;
        io::copy(&mut content, &mut to).map_err(failed)?;
        Ok(())
    }
}
