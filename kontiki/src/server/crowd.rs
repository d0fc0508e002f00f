//! Threads for the requests of everybody but nodes and the control plane. The kernel shares the processors between them
//! and the threads of store, controllers and leases, which are asleep most of the time and so come first when they wake.

use tokio::runtime::{Builder, Handle, Runtime};

pub(super) struct Crowd(Option<Runtime>);

impl Crowd {
    pub(super) fn start() -> std::io::Result<Self> {
        Ok(Self(Some(Builder::new_multi_thread().thread_name("requests").enable_all().build()?)))
    }

    pub(super) fn handle(&self) -> Handle {
        self.0.as_ref().expect("it runs until it is dropped").handle().clone()
    }
}

/// Does not wait: what was served has ended before.
impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
