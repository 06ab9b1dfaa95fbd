//! Admission, as endpoints use it: one request's facts, asked before and after its object is prepared.

use admission::Operation;
use apimachinery::{
    field::ErrorList,
    status::{GroupKind, Status},
};
use serde_json::{Value, json};

use crate::{
    core::Core,
    encoding,
    endpoints::{Context, Failure},
    keys, policies,
    registry::{commit::Mutation, meta},
    resources::Resource,
    webhooks,
};

/// The facts about one request.
#[derive(Debug)]
pub struct Admission<'a> {
    core: &'a Core,
    context: &'a Context,
    resource: &'a Resource,
    subresource: &'a str,
    name: Option<&'a str>,
    dry_run: bool,
}

impl<'a> Admission<'a> {
    /// For a request about the object that its path names.
    pub fn new(
        core: &'a Core,
        context: &'a Context,
        resource: &'a Resource,
        side: Option<&'a str>,
        dry_run: bool,
    ) -> Self {
        Self { core, context, resource, subresource: side.unwrap_or_default(), name: None, dry_run }
    }

    /// For one object of several that a request is about.
    pub fn named(core: &'a Core, context: &'a Context, resource: &'a Resource, name: &'a str, dry_run: bool) -> Self {
        Self { core, context, resource, subresource: "", name: Some(name), dry_run }
    }

    /// Lets admission change the object.
    ///
    /// # Errors
    /// As admission refuses.
    pub async fn mutate(&self, operation: Operation, object: &mut Value, old: Option<&Value>) -> Result<(), Failure> {
        let name = self.name_of(Some(object));
        let options = json!({});
        let mut request = self.request(operation, &name, Some(object), old, &options);
        for warning in self.core.admission.admit(&mut request)? {
            self.context.warnings.add(warning);
        }
        policies::mutate(&self.asked(operation, &name), object, old)?;
        webhooks::mutate(&self.asked(operation, &name), object, old).await
    }

    /// Lets admission judge the object as it would be stored.
    ///
    /// # Errors
    /// As admission refuses.
    pub async fn validate(
        &self,
        operation: Operation,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Failure> {
        let name = self.name_of(object);
        let options = json!({});
        let mut copy = object.cloned();
        let request = self.request(operation, &name, copy.as_mut(), old, &options);
        for warning in self.core.admission.validate(&request)? {
            self.context.warnings.add(warning);
        }
        policies::validate(&self.asked(operation, &name), object, old)?;
        webhooks::validate(&self.asked(operation, &name), object, old).await
    }

    fn asked<'r>(&'r self, operation: Operation, name: &'r str) -> webhooks::Asked<'r> {
        webhooks::Asked {
            core: self.core,
            context: self.context,
            resource: self.resource,
            subresource: self.subresource,
            name,
            operation,
            dry_run: self.dry_run,
        }
    }

    /// What quotas are charged for the object as it would be stored, to be written with it.
    ///
    /// # Errors
    /// When a quota has not enough left.
    pub fn charges(&self, operation: Operation, object: &mut Value, old: Option<&Value>) -> Result<Mutation, Failure> {
        let name = self.name_of(Some(object));
        let options = json!({});
        let request = self.request(operation, &name, Some(object), old, &options);
        let mut mutation = Mutation::default();
        for charge in self.core.admission.charges(&request)? {
            let quota = charge.quota;
            let key = keys::full("", "resourcequotas", meta::text(&quota, "namespace"), meta::text(&quota, "name"));
            let revision = meta::text(&quota, "resourceVersion").parse().unwrap_or(0);
            mutation.unchanged(key.clone(), revision).put(key, encoding::encode(&quota).stored().clone());
        }
        Ok(mutation)
    }

    fn name_of(&self, object: Option<&Value>) -> String {
        let path = &self.context.info.name;
        match (self.name, object) {
            (Some(name), _) => name.to_owned(),
            (None, Some(object)) if path.is_empty() => meta::text(object, "name").to_owned(),
            _ => path.clone(),
        }
    }

    fn request<'r>(
        &'r self,
        operation: Operation,
        name: &'r str,
        object: Option<&'r mut Value>,
        old: Option<&'r Value>,
        options: &'r Value,
    ) -> admission::Request<'r> {
        let namespace = &self.context.info.namespace;
        admission::Request {
            user: &self.context.user,
            operation,
            group: &self.resource.group,
            version: &self.resource.version,
            resource: &self.resource.name,
            subresource: self.subresource,
            kind: &self.resource.kind,
            namespace,
            name,
            object,
            old,
            dry_run: self.dry_run,
            options,
        }
    }
}

/// Refuses an object with errors.
///
/// # Errors
/// 422 when there is one.
pub fn refuse_invalid(resource: &Resource, name: &str, errors: &ErrorList) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    // An event is a core event in whichever group it is written.
    let group = if resource.group == "events.k8s.io" { "" } else { &resource.group };
    let kind = GroupKind::new(group, resource.kind.clone());
    Err(Box::new(Status::invalid(&kind, name, errors)))
}
