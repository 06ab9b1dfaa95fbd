//! `list`: pages of a resource's objects at one revision, assembled from the bytes in the watch cache.

use std::sync::Arc;

use serde_json::{Value, json};
use storage::{KeyRange, RangeRequest, StoreError};

use super::{
    Answer, Context, Failure, Presenter, gojson,
    options::{ListOptions, Match},
    selectors::Selection,
};
use crate::{
    cacher::{Entry, Scope},
    core::Core,
    fail, keys,
    registry::strategy,
    resources::Resource,
};

/// A page of a list.
pub struct Page {
    /// Its objects.
    pub entries: Vec<Arc<Entry>>,
    /// The revision at which it is consistent.
    pub revision: u64,
    /// Where the next page begins; empty for none.
    pub continue_token: String,
    /// How many objects are left, where that is known.
    pub remaining: Option<u64>,
}

/// Answers with a list.
pub async fn list(core: &Arc<Core>, context: &Context, resource: &Arc<Resource>) -> Answer {
    let presenter = Presenter::of(core, context, resource)?;
    let options = ListOptions::of(&context.uri, false)?;
    let scope = resource.scope_of(&context.info);
    let page = page(core, resource, &scope, &options).await?;
    presenter.list(&page)
}

/// Gathers a page.
///
/// # Errors
/// As `list` fails.
pub async fn page(core: &Core, resource: &Resource, scope: &Scope, options: &ListOptions) -> Result<Page, Failure> {
    let selection = Selection::of(resource, options)?;
    if !options.continue_token.is_empty() {
        let token = Continue::read(&options.continue_token)?;
        if options.resource_version.as_deref().is_some_and(|version| version != "0") {
            return Err(fail::bad_request("specifying resource version is not allowed when using continue").into());
        }
        return match token.revision {
            Some(revision) => at_revision(core, resource, scope, &selection, options, revision, &token.start).await,
            None => {
                core.cacher.fresh().await?;
                Ok(current(core, resource, scope, &selection, options.limit, Some(&token.start)))
            }
        };
    }
    let wanted = version(options)?;
    match (wanted, options.resource_version_match) {
        (Some(revision), Some(Match::Exact)) => {
            at_revision(core, resource, scope, &selection, options, revision, "").await
        }
        (Some(0), _) => Ok(current(core, resource, scope, &selection, options.limit, None)),
        (Some(revision), _) => {
            // A revision far ahead is refused without waiting for it.
            not_ahead(core, revision).await?;
            core.cacher.reach(revision).await?;
            Ok(current(core, resource, scope, &selection, options.limit, None))
        }
        (None, _) => {
            core.cacher.fresh().await?;
            Ok(current(core, resource, scope, &selection, options.limit, None))
        }
    }
}

/// The revision that the options name.
fn version(options: &ListOptions) -> Result<Option<u64>, Failure> {
    let Some(version) = &options.resource_version else { return Ok(None) };
    match parse_version(version) {
        Ok(revision) => Ok(Some(revision)),
        Err(why) => Err(fail::bad_request(format!("invalid resource version: {why}")).into()),
    }
}

/// Reads a resource version.
///
/// # Errors
/// Kubernetes' words for what is none.
pub fn parse_version(version: &str) -> Result<u64, String> {
    version.parse::<u64>().map_err(|_| {
        format!("resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax")
    })
}

fn current(
    core: &Core,
    resource: &Resource,
    scope: &Scope,
    selection: &Selection,
    limit: usize,
    start: Option<&str>,
) -> Page {
    // Read before the objects: what they hold is at least this new.
    let revision = core.cacher.revision();
    let (entries, changed) = resource.cache(&core.cacher).list(scope, start, |entry| selection.selects(entry));
    cut(entries, revision.max(changed), limit, scope, selection)
}

fn cut(mut entries: Vec<Arc<Entry>>, revision: u64, limit: usize, scope: &Scope, selection: &Selection) -> Page {
    if limit == 0 || entries.len() <= limit {
        return Page { entries, revision, continue_token: String::new(), remaining: None };
    }
    let remaining = (entries.len() - limit) as u64;
    entries.truncate(limit);
    let last = entries.last().map_or("", |entry| entry.key.as_str());
    let prefix = scope.prefix();
    let start = format!("{}\0", last.strip_prefix(prefix.as_str()).unwrap_or(last));
    Page {
        entries,
        revision,
        continue_token: Continue { revision: Some(revision), start }.write(),
        remaining: selection.is_all().then_some(remaining),
    }
}

/// Refuses a revision that nothing was written at yet. One that this server has not heard of may be of a write through another.
async fn not_ahead(core: &Core, revision: u64) -> Result<(), Failure> {
    if revision <= core.store.revision() {
        return Ok(());
    }
    let committed = core.store.current_revision().await.map_err(|error| Box::new(fail::store(&error)))?;
    if revision > committed { Err(fail::too_large_version(revision, committed).into()) } else { Ok(()) }
}

/// A page as of a revision that may have passed.
async fn at_revision(
    core: &Core,
    resource: &Resource,
    scope: &Scope,
    selection: &Selection,
    options: &ListOptions,
    revision: u64,
    start: &str,
) -> Result<Page, Failure> {
    not_ahead(core, revision).await?;
    core.cacher.reach(revision).await?;
    let cache = resource.cache(&core.cacher);
    let (entries, changed) = cache.list(scope, (!start.is_empty()).then_some(start), |entry| selection.selects(entry));
    if changed <= revision {
        // Nothing happened to the resource since, so what is now is what was then.
        return Ok(cut(entries, revision, options.limit, scope, selection));
    }
    let (group, name) = strategy::storage_of(&resource.group, &resource.name);
    let prefix = keys::prefix(group, name) + &scope.prefix();
    let end = KeyRange::prefix(prefix.clone()).end;
    let range = KeyRange { start: (prefix.clone() + start).into_bytes().into(), end };
    let request = RangeRequest { revision: Some(revision), ..RangeRequest::new(range) };
    let answer = match core.store.range(request).await {
        Ok(answer) => answer,
        Err(StoreError::Compacted { .. }) if !options.continue_token.is_empty() => {
            return Err(inconsistent(start).into());
        }
        Err(StoreError::Compacted { .. }) => {
            return Err(fail::expired("The resourceVersion for the provided list is too old.").into());
        }
        Err(error) => return Err(fail::store(&error).into()),
    };
    let mut entries = Vec::new();
    for kv in answer.kvs {
        let Some((_, _, key)) = keys::split(&kv.key) else { continue };
        let entry = Entry::read(group, name, key.to_owned(), kv.value.clone(), kv.mod_revision);
        let entry = entry.map_err(|error| Box::new(fail::internal(error)))?;
        if selection.selects(&entry) {
            entries.push(Arc::new(entry));
        }
    }
    Ok(cut(entries, revision, options.limit, scope, selection))
}

/// The page asked for is compacted; what is offered instead is a list that goes on from the same key as of now.
fn inconsistent(start: &str) -> apimachinery::status::Status {
    let token = Continue { revision: None, start: start.to_owned() }.write();
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
        "metadata": {"continue": token},
        "message": "The provided continue parameter is too old to display a consistent list result. You can start a new \
                    list without the continue parameter, or use the continue token in this response to retrieve the \
                    remainder of the results. Continuing with the provided token results in an inconsistent list - \
                    objects that were created, modified, or deleted between the time the first chunk was returned and \
                    now may show up in the list.",
    });
    serde_json::from_value(body).expect("the fields of a status have the types that Status declares")
}

/// Go's reading of base64, which does not mind what the last character has to spare.
const TOKEN: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    base64::engine::general_purpose::NO_PAD.with_decode_allow_trailing_bits(true),
);

/// Where a page ended.
#[derive(Debug, PartialEq, Eq)]
struct Continue {
    revision: Option<u64>,
    start: String,
}

impl Continue {
    fn write(&self) -> String {
        let revision = self.revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX));
        let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": self.start}).to_string();
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, token)
    }

    fn read(token: &str) -> Result<Self, Failure> {
        let refuse = |why: String| {
            Box::new(fail::bad_request(format!("invalid continue token: continue key is not valid: {why}")))
        };
        let bytes =
            base64::Engine::decode(&TOKEN, token).map_err(|error| refuse(format!("illegal base64 data: {error}")))?;
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(gojson::syntax_error(&bytes).unwrap_or_else(|| error.to_string())))?;
        let revision = value.get("rv").and_then(Value::as_i64).unwrap_or(0);
        let start = value.get("start").and_then(Value::as_str).unwrap_or_default();
        if value.get("v").and_then(Value::as_str) != Some("meta.k8s.io/v1") {
            return Err(refuse("server does not recognize this encoded version".into()));
        }
        if revision == 0 {
            return Err(refuse("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
        }
        if start.is_empty() || start.starts_with('/') || start.contains("../") {
            return Err(refuse("encoded start key empty (version meta.k8s.io/v1)".into()));
        }
        Ok(Self { revision: u64::try_from(revision).ok(), start: start.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_garbage_is_refused() {
        let token = Continue { revision: Some(7), start: "a/b\0".into() };
        assert_eq!(Continue::read(&token.write()).unwrap(), token);
        let without = Continue { revision: None, start: "a/b\0".into() };
        assert_eq!(Continue::read(&without.write()).unwrap(), without);
        let refused = serde_json::to_value(Continue::read("garbage").unwrap_err()).unwrap();
        assert_eq!(
            refused["message"],
            "invalid continue token: continue key is not valid: invalid character '\\u0081' looking for beginning of value"
        );
    }
}
