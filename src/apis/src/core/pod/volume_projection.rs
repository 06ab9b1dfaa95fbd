//! Volumes that several sources are projected into.

use std::collections::HashSet;

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use super::{
    spec::Options,
    volume::{check_downward_file, check_key_to_path, check_local_path, check_mode},
};
use crate::{
    checks,
    json::{int, list, some, text},
};

const CONFLICT: &str = "conflicting duplicate paths";

/// Checks a projected volume.
pub(crate) fn check(errors: &mut ErrorList, path: &Path, source: &Value, _: &Options) {
    check_mode(errors, &path.child("defaultMode"), int(source, "defaultMode"));
    let mut seen = HashSet::new();
    for (index, source) in list(source, "sources").iter().enumerate() {
        let at = path.child("sources").index(index);
        let mut count = 0;
        for name in ["secret", "configMap"] {
            let Some(object) = some(source, name) else { continue };
            count += 1;
            let at = at.child(name);
            let object_name = text(object, "name");
            checks::required(errors, &at.child("name"), object_name);
            for (index, item) in list(object, "items").iter().enumerate() {
                check_key_to_path(errors, &at.child("items").index(index), item);
                let file = text(item, "path");
                if !file.is_empty() && !seen.insert(file) {
                    errors.push(FieldError::invalid(path, object_name, CONFLICT));
                }
            }
        }
        if let Some(downward) = some(source, "downwardAPI") {
            count += 1;
            let at = at.child("downwardAPI");
            for file in list(downward, "items") {
                check_downward_file(errors, &at, file);
                let file = text(file, "path");
                if !file.is_empty() && !seen.insert(file) {
                    errors.push(FieldError::invalid(path, file, CONFLICT));
                }
            }
        }
        if let Some(token) = some(source, "serviceAccountToken") {
            count += 1;
            check_token(errors, path, &at.child("serviceAccountToken"), token);
        }
        if count > 1 {
            errors.push(FieldError::forbidden(&at, "may not specify more than 1 volume type per source"));
        }
    }
}

/// A token; what is wrong with its path is told of the volume.
fn check_token(errors: &mut ErrorList, path: &Path, at: &Path, token: &Value) {
    let seconds = int(token, "expirationSeconds").unwrap_or_default();
    let why = match seconds {
        ..600 => Some("may not specify a duration less than 10 minutes"),
        0x1_0000_0001.. => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    errors.extend(why.map(|why| FieldError::invalid(&at.child("expirationSeconds"), seconds, why)));
    let file = text(token, "path");
    if checks::required(errors, &path.child("path"), file) {
        check_local_path(errors, &path.child("path"), file);
    }
}
