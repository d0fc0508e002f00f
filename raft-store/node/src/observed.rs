//! Values that are waited for: tokio's watch channel, and an order in which a simulation wakes those who wait.
//!
//! tokio wakes the waiters of one channel in an order of its own, a random one. That is as good as any, but for a
//! simulation that is to repeat itself: there they are woken in the order in which they began to wait.

use std::sync::Arc;

use openraft::async_runtime::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft::{OptionalSend, OptionalSync};
use tokio::sync::{Notify, watch};

use crate::runtime::is_simulated;

pub(crate) struct Sender<T> {
    value: watch::Sender<T>,
    /// Only in a simulation.
    order: Option<Arc<Notify>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), order: self.order.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // It may be the last one: then there is nothing to wait for.
        self.wake();
    }
}

impl<T> Sender<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: watch::Sender::new(value), order: is_simulated().then(Arc::default) }
    }

    fn wake(&self) {
        if let Some(order) = &self.order {
            order.notify_waiters();
        }
    }

    pub(crate) fn modify(&self, modify: impl FnOnce(&mut T)) {
        self.value.send_modify(modify);
        self.wake();
    }

    pub(crate) fn modify_if(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let modified = self.value.send_if_modified(modify);
        if modified {
            self.wake();
        }
        modified
    }

    pub(crate) fn borrow(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    pub(crate) fn receivers(&self) -> usize {
        self.value.receiver_count()
    }

    pub(crate) fn subscribe(&self) -> Receiver<T> {
        Receiver { value: self.value.subscribe(), order: self.order.clone() }
    }
}

pub(crate) struct Receiver<T> {
    value: watch::Receiver<T>,
    order: Option<Arc<Notify>>,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), order: self.order.clone() }
    }
}

impl<T> Receiver<T> {
    /// Waits for a value that was not seen; an error when there will be none any more.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        let Some(order) = self.order.clone() else { return self.value.changed().await };
        loop {
            let mut woken = std::pin::pin!(order.notified());
            // From here on nothing is missed.
            woken.as_mut().enable();
            if self.value.has_changed()? {
                self.value.mark_unchanged();
                return Ok(());
            }
            woken.await;
        }
    }

    pub(crate) fn borrow(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    pub(crate) fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.value.borrow_and_update()
    }
}

/// openraft's channels are these.
pub(crate) struct Observed;

impl Watch for Observed {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let sender = Sender::new(init);
        let receiver = sender.subscribe();
        (sender, receiver)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<Observed, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        let sent = self.value.send(value).map_err(|error| SendError(error.0));
        self.wake();
        sent
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.modify_if(modify)
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Sender::subscribe(self)
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<Observed, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        Receiver::changed(self).await.map_err(|_| RecvError(()))
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        Receiver::borrow_and_update(self)
    }
}
