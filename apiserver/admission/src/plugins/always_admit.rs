//! AlwaysAdmit: lets everything through. Deprecated upstream, and kept for those who name it.

use async_trait::async_trait;

use crate::Plugin;

pub(crate) struct AlwaysAdmit;

#[async_trait]
impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }
}
