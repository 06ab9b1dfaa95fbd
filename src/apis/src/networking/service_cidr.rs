//! ServiceCIDRs: ranges from which Services get addresses.

use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;

use crate::{
    checks, ip,
    json::{field, list},
    kind::Kind,
};

pub(crate) struct ServiceCidr;

impl Kind for ServiceCidr {
    fn has_status(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value, errors: &mut ErrorList) {
        check_ranges(list(field(object, "spec"), "cidrs"), &Path::new("spec").child("cidrs"), errors);
    }

    fn validate_update(&self, subresource: Option<&str>, new: &Value, old: &Value, errors: &mut ErrorList) {
        if subresource == Some("status") {
            return;
        }
        let path = Path::new("spec").child("cidrs");
        let (now, before) = (list(field(new, "spec"), "cidrs"), list(field(old, "spec"), "cidrs"));
        // A second family may be added and taken away; nothing else changes.
        if now.is_empty() {
            errors.push(FieldError::required(&path, "at least one CIDR required"));
            return;
        }
        for (index, (range, stored)) in now.iter().zip(before).enumerate() {
            if range != stored {
                errors.push(FieldError::invalid(&path.index(index), range.clone(), checks::IMMUTABLE));
            }
        }
        if now.len() != before.len() {
            check_ranges(now, &path, errors);
        }
    }
}

fn check_ranges(ranges: &[Value], path: &Path, errors: &mut ErrorList) {
    let texts: Vec<&str> = ranges.iter().map(|range| range.as_str().unwrap_or_default()).collect();
    match texts.as_slice() {
        [] => errors.push(FieldError::required(path, "at least one CIDR required")),
        [one, other]
            if ip::is_v6(one) == ip::is_v6(other) && texts.iter().all(|range| ip::parse_range(range).is_some()) =>
        {
            let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96";
            errors.push(FieldError::invalid(path, ranges.to_vec(), detail));
        }
        [_, _, _, ..] => {
            errors.push(FieldError::invalid(path, ranges.to_vec(), "may only hold up to 2 values"));
            return;
        }
        _ => {}
    }
    for (index, range) in texts.iter().enumerate() {
        ip::check_range(errors, &path.index(index), range);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn there_is_one_range_a_family() {
        let count = |ranges: &[&str]| {
            let object = json!({"metadata": {"name": "s"}, "spec": {"cidrs": ranges}});
            crate::validate_create("networking.k8s.io", "ServiceCIDR", &object).len()
        };
        assert_eq!(count(&["10.0.0.0/24"]), 0);
        assert_eq!(count(&["10.0.0.0/24", "2001:db8::/64"]), 0);
        assert_eq!(count(&["10.0.0.0/24", "10.1.0.0/24"]), 1);
        assert_eq!(count(&[]), 1);
    }
}
