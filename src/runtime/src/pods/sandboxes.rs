//! The life of a sandbox: an address given, kept and taken back.

use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};

use cri::v1::{self, ContainerEventType as Event};
use tonic::Status;

use super::{Pods, Sandbox, containers::failed};
use crate::{
    records::SandboxRecord,
    refuse::{RUNTIME_HANDLERS, check_sandbox},
};

impl Pods {
    /// Makes a sandbox and gives it an address.
    ///
    /// # Errors
    /// When it cannot be had for WebAssembly, its pod has it already, or no address is free.
    pub fn run_sandbox(&self, config: v1::PodSandboxConfig, runtime_handler: String) -> Result<String, Status> {
        self.check_serving()?;
        let Some(metadata) = &config.metadata else {
            return Err(Status::invalid_argument("the sandbox has no metadata"));
        };
        if !RUNTIME_HANDLERS.contains(&runtime_handler.as_str()) {
            return Err(Status::invalid_argument(format!("no runtime for {runtime_handler:?} is configured")));
        }
        check_sandbox(&config).map_err(|refused| Status::failed_precondition(refused.to_string()))?;
        if let Some(known) = self.sandbox_of(metadata) {
            // A kubelet that did not hear the first answer asks again.
            return if known.is_ready() && known.record.config == config {
                Ok(known.id().to_owned())
            } else {
                let v1::PodSandboxMetadata { name, namespace, attempt, .. } = metadata;
                let id = known.id();
                Err(Status::already_exists(format!("sandbox {attempt} of pod {namespace}/{name} is there: {id}")))
            };
        }
        let id = self.fresh_id();
        let ip = {
            let mut ipam = self.ipam.lock();
            let ipam =
                ipam.as_mut().ok_or_else(|| Status::unavailable("the range of pod addresses is not known yet"))?;
            ipam.allocate(&id).map_err(|error| Status::resource_exhausted(error.to_string()))?
        };
        let record = SandboxRecord { id: id.clone(), config, runtime_handler, created_at: self.now(), ip };
        if let Err(error) = self.records.sandbox_made(&record) {
            self.release(&id);
            return Err(failed(error));
        }
        let sandbox = Arc::new(Sandbox { record, stopped: AtomicBool::new(false) });
        self.table.lock().insert_sandbox(sandbox.clone());
        self.tell(&id, &sandbox, Event::ContainerCreatedEvent);
        self.tell(&id, &sandbox, Event::ContainerStartedEvent);
        Ok(id)
    }

    /// Ends all that runs in a sandbox and takes its address back. One that is stopped or gone is no error.
    ///
    /// # Errors
    /// When that cannot be recorded; it is then to be tried again.
    pub async fn stop_sandbox(self: &Arc<Self>, id: &str) -> Result<(), Status> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let pods = self.clone();
        self.to_its_end(async move { pods.stop(&sandbox).await }).await
    }

    /// Removes a sandbox and all that is in it. One that is gone is no error.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub async fn remove_sandbox(self: &Arc<Self>, id: &str) -> Result<(), Status> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let pods = self.clone();
        let remove = async move {
            pods.stop(&sandbox).await?;
            for container in pods.containers_in(&sandbox) {
                pods.remove(&container).await?;
            }
            pods.records.sandbox_removed(sandbox.id()).map_err(failed)?;
            pods.table.lock().remove_sandbox(&sandbox);
            pods.tell(sandbox.id(), &sandbox, Event::ContainerDeletedEvent);
            Ok(())
        };
        self.to_its_end(remove).await
    }

    async fn stop(&self, sandbox: &Arc<Sandbox>) -> Result<(), Status> {
        // No container is begun in it from here on.
        let first = !sandbox.stopped.swap(true, Ordering::AcqRel);
        self.end_all_in(sandbox).await;
        self.records.sandbox_stopped(sandbox.id()).map_err(failed)?;
        self.release(sandbox.id());
        if first {
            self.tell(sandbox.id(), sandbox, Event::ContainerStoppedEvent);
        }
        Ok(())
    }

    fn sandbox_of(&self, metadata: &v1::PodSandboxMetadata) -> Option<Arc<Sandbox>> {
        let table = self.table.lock();
        let ids = table.by_uid.get(&metadata.uid)?;
        let sandboxes = ids.iter().filter_map(|id| table.pods.get(id));
        sandboxes
            .map(|pod| &pod.sandbox)
            .find(|sandbox| sandbox.record.config.metadata.as_ref() == Some(metadata))
            .cloned()
    }

    /// Gives an address back. Where that cannot be recorded the next start does it.
    fn release(&self, id: &str) {
        if let Some(ipam) = self.ipam.lock().as_mut()
            && let Err(error) = ipam.release(id)
        {
            tracing::warn!(%error, sandbox = id, "an address is given back at the next start only");
        }
    }
}
