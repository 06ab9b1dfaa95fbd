//! Ranges: what is asked of the store, and what is done with its answer.
//!
//! The store reads in the order of keys, up to a limit. Filters and other orders are applied to all that a range holds, as
//! etcd does too; the count is that of the range, whatever is filtered out.

use storage::KeyValue;
use tonic::Status;

use crate::{
    convert::{key_range, unsigned},
    door::signed,
    fail,
    pb::{
        self, RangeRequest, RangeResponse,
        range_request::{SortOrder, SortTarget},
    },
};

/// Refuses what etcd refuses.
pub(super) fn check(request: &RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(fail::empty_key());
    }
    let valid = SortOrder::try_from(request.sort_order).is_ok() && SortTarget::try_from(request.sort_target).is_ok();
    if valid { Ok(()) } else { Err(fail::invalid_sort_option()) }
}

/// Whether the order of keys and the store's own limit will do.
fn is_plain(request: &RangeRequest) -> bool {
    let bounds =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    request.sort_order() == SortOrder::None && bounds == [0; 4]
}

/// What is asked of the store.
pub(super) fn wanted(request: &RangeRequest) -> storage::RangeRequest {
    let limit = usize::try_from(request.limit).unwrap_or(0);
    storage::RangeRequest {
        range: key_range(request.key.clone(), request.range_end.clone()),
        revision: (request.revision > 0).then(|| unsigned(request.revision)),
        limit: match (is_plain(request), request.sort_target()) {
            (false, _) => 0,
            (true, SortTarget::Key) => limit,
            // Another target without an order: etcd sorts the keys up to the limit and one, then cuts.
            (true, _) if limit > 0 => limit + 1,
            (true, _) => 0,
        },
        keys_only: request.keys_only && request.sort_target() != SortTarget::Value,
        count_only: request.count_only,
    }
}

/// The answer, without its head.
pub(super) fn shaped(request: &RangeRequest, found: storage::RangeResponse) -> RangeResponse {
    let storage::RangeResponse { mut kvs, mut more, count, .. } = found;
    let within = |number: u64, min: i64, max: i64| {
        let number = signed(number);
        (min == 0 || number >= min) && (max == 0 || number <= max)
    };
    kvs.retain(|kv| {
        within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
            && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
    });
    sort(request, &mut kvs);
    if !is_plain(request) || request.sort_target() != SortTarget::Key {
        let limit = usize::try_from(request.limit).unwrap_or(0);
        more = limit > 0 && kvs.len() > limit;
        if more {
            kvs.truncate(limit);
        }
    }
    let kv = |mut kv: KeyValue| {
        if request.keys_only {
            kv.value.clear();
        }
        pb::KeyValue::from(kv)
    };
    RangeResponse { header: None, kvs: kvs.into_iter().map(kv).collect(), more, count: signed(count) }
}

fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let descending = match (request.sort_order(), request.sort_target()) {
        (SortOrder::None, SortTarget::Key) | (SortOrder::Ascend, SortTarget::Key) => return,
        (order, _) => order == SortOrder::Descend,
    };
    kvs.sort_by(|a, b| {
        let order = match request.sort_target() {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if descending { order.reverse() } else { order }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &'static str, create: u64, modified: u64, version: u64) -> KeyValue {
        let (create_revision, mod_revision) = (create, modified);
        KeyValue { key: key.into(), value: key.into(), create_revision, mod_revision, version, lease: 0 }
    }

    #[test]
    fn filters_and_orders_are_applied_before_the_limit_and_never_to_the_count() {
        let all = || vec![kv("a", 2, 9, 5), kv("b", 3, 3, 1), kv("c", 4, 7, 2), kv("d", 5, 8, 3)];
        let ask = |request: RangeRequest| {
            let limit = wanted(&request).limit;
            let kvs = if limit > 0 { all()[..limit].to_vec() } else { all() };
            let more = limit > 0;
            let found = shaped(&request, storage::RangeResponse { revision: 9, kvs, more, count: 4 });
            let keys = found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect::<String>();
            (keys, found.more, found.count)
        };
        let request = RangeRequest { key: "a".into(), range_end: "z".into(), ..RangeRequest::default() };
        let sorted = |order: SortOrder, target: SortTarget, limit| RangeRequest {
            sort_order: order.into(),
            sort_target: target.into(),
            limit,
            ..request.clone()
        };
        assert_eq!(ask(sorted(SortOrder::None, SortTarget::Key, 2)), ("ab".to_owned(), true, 4));
        assert_eq!(ask(sorted(SortOrder::Descend, SortTarget::Key, 3)), ("dcb".to_owned(), true, 4));
        assert_eq!(ask(sorted(SortOrder::Ascend, SortTarget::Mod, 0)), ("bcda".to_owned(), false, 4));
        assert_eq!(ask(sorted(SortOrder::Descend, SortTarget::Version, 2)), ("ad".to_owned(), true, 4));
        assert_eq!(ask(sorted(SortOrder::None, SortTarget::Version, 2)), ("bc".to_owned(), true, 4));
        let filtered = RangeRequest { min_mod_revision: 7, max_create_revision: 4, limit: 2, ..request.clone() };
        assert_eq!(ask(filtered), ("ac".to_owned(), false, 4));
        let unknown = RangeRequest { sort_order: 9, ..request };
        assert_eq!(check(&unknown).unwrap_err().message(), "etcdserver: invalid sort option");
    }
}
