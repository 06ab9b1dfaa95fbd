//! Acting as somebody else, for those who may.

use apimachinery::status::Status;
use auth::{Attributes, UserInfo};
use http::HeaderMap;

use crate::{core::Core, fail, query};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The identity under which the request goes on: the one it came with, or the one its headers ask for.
///
/// # Errors
/// 403 when the requester may not impersonate; 500 when the headers name no user.
pub fn impersonate(core: &Core, headers: &HeaderMap, user: UserInfo) -> Result<UserInfo, Box<Status>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let name = text(USER);
    let groups: Vec<String> =
        headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
    let uid = text(UID);
    let mut extra = std::collections::BTreeMap::<String, Vec<String>>::new();
    for (header, value) in headers {
        if let (Some(key), Ok(value)) = (header.as_str().strip_prefix(EXTRA), value.to_str()) {
            extra.entry(query::decode_path(key)).or_default().push(value.to_owned());
        }
    }
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(user);
        }
        return Err(fail::internal("requested a group, uid or extra without impersonating a user").into());
    }
    let service_account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match service_account {
        Some((namespace, account)) => may(core, &user, "", "serviceaccounts", "", namespace, account)?,
        None => may(core, &user, "", "users", "", "", &name)?,
    }
    for group in &groups {
        may(core, &user, "", "groups", "", "", group)?;
    }
    if !uid.is_empty() {
        may(core, &user, "authentication.k8s.io", "uids", "", "", &uid)?;
    }
    for (key, values) in &extra {
        for value in values {
            may(core, &user, "authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    let mut groups = groups;
    if groups.is_empty()
        && let Some((namespace, _)) = service_account
    {
        groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let implied = if name == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !groups.iter().any(|group| group == implied) {
        groups.push(implied.into());
    }
    Ok(UserInfo { name, uid, groups, extra })
}

fn may(
    core: &Core,
    user: &UserInfo,
    group: &str,
    resource: &str,
    subresource: &str,
    namespace: &str,
    name: &str,
) -> Result<(), Box<Status>> {
    let attributes = Attributes {
        user: user.clone(),
        verb: "impersonate".into(),
        api_group: group.into(),
        api_version: "v1".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        name: name.into(),
        namespace: namespace.into(),
        path: String::new(),
        resource_request: true,
    };
    super::authorize::require(core, &attributes)
}
