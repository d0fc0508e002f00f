//! Where a backup is, or is to be.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::bucket::{BucketArgs, Object};
use crate::Failure;

#[derive(Clone)]
pub(crate) enum Place {
    /// Standard output.
    Pipe,
    File(PathBuf),
    Bucket(Object),
}

impl Place {
    /// What `-`, `s3://BUCKET/KEY` or the path of a file names. `is_sealed`: whether the content is encrypted with a key.
    pub(crate) fn named(name: &Path, args: &BucketArgs, is_sealed: bool) -> Result<Self, Failure> {
        match name.to_str() {
            Some("-") => Ok(Self::Pipe),
            Some(name) if name.starts_with("s3://") => Object::named(name, args, is_sealed).map(Self::Bucket),
            _ => Ok(Self::File(name.to_owned())),
        }
    }

    /// Its content and how many bytes that has; an error names the place. In a runtime only where blocking is allowed.
    pub(super) fn open(&self) -> Result<(Box<dyn Read + Send>, u64), Failure> {
        match self {
            Self::Pipe => Err("a backup is read from a file or a bucket, not from standard input".into()),
            Self::File(file) => {
                let named = |error: std::io::Error| format!("{self}: {error}");
                let opened = File::open(file).map_err(named)?;
                let bytes = opened.metadata().map_err(named)?.len();
                Ok((Box::new(opened), bytes))
            }
            Self::Bucket(object) => {
                let (content, bytes) = tokio::runtime::Handle::current().block_on(object.get())?;
                Ok((Box::new(content), bytes))
            }
        }
    }

    /// Nothing is overwritten.
    pub(super) async fn check_free(&self) -> Result<(), Failure> {
        let taken = match self {
            Self::Pipe => false,
            Self::File(file) => file.exists(),
            Self::Bucket(object) => object.exists().await?,
        };
        if taken { Err(format!("{self} exists already; name another").into()) } else { Ok(()) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipe => f.write_str("standard output"),
            Self::File(file) => file.display().fmt(f),
            Self::Bucket(object) => object.fmt(f),
        }
    }
}
