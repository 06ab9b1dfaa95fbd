//! What a worker has not seen yet. Posting never waits, and what is newer replaces what is older.

use std::sync::Arc;

use cri::v1::ContainerEventResponse;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::pod::observed::Observed;

/// What the runtime says.
pub enum News {
    /// Something happened to a container.
    Event(Box<ContainerEventResponse>),
    /// All that there is of the pod; the runtime was (re)connected.
    Listed(Box<Observed>),
}

#[derive(Default)]
pub(super) struct Mail {
    pub pod: Option<Arc<Pod>>,
    pub gone: bool,
    pub news: Vec<News>,
    pub objects_changed: bool,
}

/// A worker's mailbox.
#[derive(Default)]
pub struct Mailbox {
    mail: Mutex<Mail>,
    arrival: Notify,
}

impl Mailbox {
    /// The API server has this of the pod.
    pub fn pod(&self, pod: Arc<Pod>) {
        self.mail.lock().pod = Some(pod);
        self.arrival.notify_one();
    }

    /// The API server does not have the pod any more.
    pub fn gone(&self) {
        self.mail.lock().gone = true;
        self.arrival.notify_one();
    }

    /// The runtime says something.
    pub fn news(&self, news: News) {
        let mut mail = self.mail.lock();
        if matches!(news, News::Listed(_)) {
            mail.news.clear();
        }
        mail.news.push(news);
        drop(mail);
        self.arrival.notify_one();
    }

    /// A ConfigMap or Secret of the pod changed.
    pub fn objects_changed(&self) {
        self.mail.lock().objects_changed = true;
        self.arrival.notify_one();
    }

    /// A probe says something else.
    pub fn wake(&self) {
        self.arrival.notify_one();
    }

    pub(super) fn take(&self) -> Mail {
        std::mem::take(&mut *self.mail.lock())
    }

    pub(super) async fn arrived(&self) {
        self.arrival.notified().await;
    }
}
