//! `get`.

use std::sync::Arc;

use super::{Answer, Context, Presenter};
use crate::{core::Core, fail, keys, resources::Resource};

/// Answers with one object.
pub async fn get(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    core.cacher.fresh().await?;
    let info = &context.info;
    let namespace = resource.namespace_of(info);
    let entry = resource.cache(&core.cacher).get(&keys::object(namespace, &info.name));
    match entry {
        Some(entry) => presenter.entry(&entry),
        None => Err(fail::not_found(&resource.group, &resource.name, &info.name).into()),
    }
}
