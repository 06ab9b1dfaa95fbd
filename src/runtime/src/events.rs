//! What happens to containers, told to whoever listens.
//!
//! Bounded: a listener who falls behind by [`EVENTS_MAX`] is told that it missed some, and asks for a list instead.

use std::pin::Pin;

use cri::v1::ContainerEventResponse;
use futures::{Stream, StreamExt};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// A thousand pods that start at once are three thousand events.
const EVENTS_MAX: usize = 8192;

/// A stream of events, as CRI has it.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<ContainerEventResponse, Status>> + Send>>;

/// Tells of events.
#[derive(Debug)]
pub struct Events(broadcast::Sender<ContainerEventResponse>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(EVENTS_MAX))
    }
}

impl Events {
    /// Tells of `event`, which is made only if somebody listens.
    pub fn tell(&self, event: impl FnOnce() -> ContainerEventResponse) {
        if self.0.receiver_count() > 0 {
            // Who listened may have gone meanwhile.
            let _ = self.0.send(event());
        }
    }

    /// What happens from now on, until `stop`.
    pub fn listen(&self, stop: CancellationToken) -> EventStream {
        let events = BroadcastStream::new(self.0.subscribe()).map(|event| {
            event.map_err(|BroadcastStreamRecvError::Lagged(missed)| {
                Status::data_loss(format!("{missed} container events were missed; list containers and listen again"))
            })
        });
        Box::pin(events.take_until(stop.cancelled_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> ContainerEventResponse {
        ContainerEventResponse { container_id: number.to_string(), ..ContainerEventResponse::default() }
    }

    #[tokio::test]
    async fn events_come_in_order_and_who_lags_is_told() {
        let (events, stop) = (Events::default(), CancellationToken::new());
        let mut quick = events.listen(stop.clone());
        let mut slow = events.listen(stop.clone());
        for number in 0..=EVENTS_MAX {
            events.tell(|| event(number));
            let seen = quick.next().await.expect("a stream").expect("in time");
            assert_eq!(seen.container_id, number.to_string());
        }
        let told = slow.next().await.expect("a stream").expect_err("it lags");
        assert!(told.code() == tonic::Code::DataLoss && told.message().starts_with("1 container events"), "{told}");
        stop.cancel();
        assert!(quick.next().await.is_none());
    }
}
