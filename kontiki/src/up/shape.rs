//! How many replicas, on which ports: decided at the first start of a directory, and the same ever after.
//! Membership and addresses are in the replicated log then; other numbers here would not change them.

use std::path::Path;

use crate::Failure;
use crate::config::{self, ServerConfiguration};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) replicas: u16,
    pub(super) port_base: u16,
}

/// Of a new directory.
const DEFAULT: Shape = Shape { replicas: 3, port_base: 6443 };

impl Shape {
    /// What a directory was made with; `None`: it is new.
    pub(super) fn of(dir: &Path) -> Result<Option<Self>, Failure> {
        let file = dir.join("replica-1").join("server.yaml");
        if !file.exists() {
            return Ok(None);
        }
        let config: ServerConfiguration = config::read(&file)?;
        let replicas = u16::try_from(config.initial_members.len())?;
        Ok(Some(Self { replicas, port_base: config.api.listen.port() }))
    }

    /// What is asked for where it is, otherwise what the directory has, otherwise the default. `Err`: they differ.
    pub(super) fn decide(replicas: Option<u16>, port_base: Option<u16>, made: Option<Self>) -> Result<Self, String> {
        let (before, is_new) = (made.unwrap_or(DEFAULT), made.is_none());
        let wished =
            Self { replicas: replicas.unwrap_or(before.replicas), port_base: port_base.unwrap_or(before.port_base) };
        if is_new || wished == before {
            return Ok(wished);
        }
        Err(format!(
            "this data directory was made with --replicas {} --port-base {}, which cannot be changed: leave these \
             options out, or name another --data-dir",
            before.replicas, before.port_base
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_directory_was_made_with_stays() {
        let made = Some(Shape { replicas: 1, port_base: 7443 });
        assert_eq!(Shape::decide(None, None, None), Ok(DEFAULT));
        assert_eq!(Shape::decide(Some(5), None, None), Ok(Shape { replicas: 5, port_base: 6443 }));
        assert_eq!(Shape::decide(None, None, made), Ok(Shape { replicas: 1, port_base: 7443 }));
        assert_eq!(Shape::decide(Some(1), Some(7443), made), Ok(Shape { replicas: 1, port_base: 7443 }));
        for (replicas, port_base) in [(Some(3), None), (None, Some(6443)), (Some(3), Some(7443))] {
            let error = Shape::decide(replicas, port_base, made).expect_err("differs");
            assert!(error.contains("--replicas 1 --port-base 7443"), "{error}");
        }
    }
}
