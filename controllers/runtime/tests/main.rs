//! Controllers at work on a registry, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod certificates;
mod common;
mod deployments;
mod doubt;
mod leadership;
mod scale;
