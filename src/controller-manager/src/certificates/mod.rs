//! The certificate controllers: approve what kubelets may ask for by themselves, sign what is approved, remove what is over.

pub mod plan;
mod serving;

use std::{sync::Arc, time::Duration};

use component_base::SharedClock;
use k8s_openapi::{
    ByteString,
    api::{
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, Client, ResourceExt, api::PostParams};

use crate::framework::{Context, Informer, Key, Objects, Outcome, Queue, SyncError, is_gone, spawn_workers};

const NAME: &str = "certificate-controller";

/// Signs certificates in the cluster's name.
pub trait CertificateSigner: Send + Sync + 'static {
    /// Signs a request (PEM) for these usages, as Kubernetes names them, and so many seconds; `None` is as long as it likes. The answer
    /// is PEM.
    ///
    /// # Errors
    /// Why it cannot.
    fn sign(&self, request: &str, usages: &[String], seconds: Option<i64>) -> Result<String, String>;
}

struct Controller {
    client: Client,
    requests: Informer<CertificateSigningRequest>,
    objects: Objects<CertificateSigningRequest>,
    nodes: Informer<Node>,
    signer: Arc<dyn CertificateSigner>,
    clock: SharedClock,
}

/// Starts them.
pub fn start(context: &Context, signer: Arc<dyn CertificateSigner>) {
    let (client, _) = context.identity(NAME);
    let requests = context.informers.of::<CertificateSigningRequest>();
    let queue = Queue::new(context.clock.clone());
    let changed = queue.clone();
    requests.on_change(move |change| changed.add(Key::of(&**change.object())));
    let nodes = context.informers.of::<Node>();
    // A node may ask before it is seen here with the addresses that it asks for.
    let (waiting, again) = (requests.clone(), queue.clone());
    nodes.on_change(move |change| {
        let moved = match (&change.old, &change.new) {
            (Some(old), Some(new)) => serving::hosts(old) != serving::hosts(new),
            (old, _) => old.is_none(),
        };
        if moved {
            let undecided = waiting.list().into_iter().filter(|csr| serving::is_waiting(csr));
            undecided.for_each(|csr| again.add(Key::of(&*csr)));
        }
    });
    let controller = Arc::new(Controller {
        objects: Objects::new(client.clone(), requests.clone(), context.clock.clone()),
        client,
        requests,
        nodes,
        signer,
        clock: context.clock.clone(),
    });
    spawn_workers(context, NAME, 1, &queue, move |key| {
        let controller = controller.clone();
        async move { controller.sync(&key).await }
    });
}

impl Controller {
    async fn sync(&self, key: &Key) -> Result<Outcome, SyncError> {
        let Some(csr) = self.requests.get(key) else { return Ok(Outcome::Done) };
        let now = self.clock.now();
        if let Some(at) = plan::expiry(&csr)
            && at <= now
        {
            self.objects.delete(&*csr).await?;
            return Ok(Outcome::Done);
        }
        let decided = plan::has(&csr, "Approved") || plan::has(&csr, "Denied");
        if !decided {
            self.approve(&csr).await?;
        } else if plan::has(&csr, "Approved")
            && plan::is_ours(&csr)
            && !plan::is_issued(&csr)
            && !plan::has(&csr, "Failed")
        {
            self.sign(&csr).await?;
        }
        let at = self.requests.get(key).and_then(|csr| plan::expiry(&csr));
        Ok(at
            .map_or(Outcome::Done, |at| Outcome::After(Duration::try_from(at.duration_since(now)).unwrap_or_default())))
    }

    /// Approves what the asker may have without anybody's word.
    async fn approve(&self, csr: &CertificateSigningRequest) -> Result<(), SyncError> {
        // What cannot be read is nobody's: a person may look at it.
        let Ok(subject) = plan::subject(&csr.spec.request.0) else { return Ok(()) };
        let node = plan::node_of(&subject).and_then(|name| self.nodes.get(&Key::new("", name)));
        let permissions = plan::permissions(csr, &subject).into_iter();
        for (permission, message) in permissions.chain(serving::permission(csr, &subject, node.as_deref())) {
            if self.may(csr, permission).await? {
                return self
                    .write(csr, "approval", condition("Approved", "AutoApproved", message, &self.clock), None)
                    .await;
            }
        }
        Ok(())
    }

    async fn may(&self, csr: &CertificateSigningRequest, subresource: &str) -> Result<bool, SyncError> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: csr.spec.username.clone(),
                uid: csr.spec.uid.clone(),
                groups: csr.spec.groups.clone(),
                extra: csr.spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    verb: Some("create".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer =
            Api::<SubjectAccessReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn sign(&self, csr: &CertificateSigningRequest) -> Result<(), SyncError> {
        let request = String::from_utf8_lossy(&csr.spec.request.0);
        let usages = csr.spec.usages.clone().unwrap_or_default();
        let checked = plan::subject(request.as_bytes()).and_then(|subject| plan::check(csr, &subject));
        let seconds = csr.spec.expiration_seconds.map(i64::from);
        match checked.and_then(|()| self.signer.sign(&request, &usages, seconds)) {
            Ok(certificate) => self.write(csr, "status", None, Some(certificate)).await,
            Err(why) => {
                let failed = condition("Failed", "SignerValidationFailure", &why, &self.clock);
                self.write(csr, "status", failed, None).await
            }
        }
    }

    async fn write(
        &self,
        csr: &CertificateSigningRequest,
        subresource: &str,
        condition: Option<CertificateSigningRequestCondition>,
        certificate: Option<String>,
    ) -> Result<(), SyncError> {
        let mut changed = csr.clone();
        let status = changed.status.get_or_insert_default();
        status.conditions.get_or_insert_default().extend(condition);
        if let Some(certificate) = certificate {
            status.certificate = Some(ByteString(certificate.into_bytes()));
        }
        let api = Api::<CertificateSigningRequest>::all(self.client.clone());
        match api.replace_subresource(subresource, &csr.name_any(), &PostParams::default(), &changed).await {
            Ok(written) => self.requests.written(written),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn condition(
    kind: &str,
    reason: &str,
    message: &str,
    clock: &SharedClock,
) -> Option<CertificateSigningRequestCondition> {
    let now = Time(clock.now());
    Some(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    })
}
