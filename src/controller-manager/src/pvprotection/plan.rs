//! A finalizer that holds what is in use.

/// The finalizers as they should be: with `finalizer` while the object stays, without it when it goes and is not used; `None` when
/// they are.
pub fn plan(finalizer: &str, finalizers: &[String], deleting: bool, in_use: bool) -> Option<Vec<String>> {
    let there = finalizers.iter().any(|one| one == finalizer);
    match (deleting, there) {
        (false, false) => Some(finalizers.iter().cloned().chain([finalizer.to_owned()]).collect()),
        (true, true) if !in_use => Some(finalizers.iter().filter(|one| *one != finalizer).cloned().collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_held() {
        let held = ["other".to_owned(), "f".to_owned()];
        assert_eq!(plan("f", &[], false, false), Some(vec!["f".to_owned()]));
        assert_eq!(plan("f", &held, false, true), None);
        assert_eq!(plan("f", &held, true, true), None);
        assert_eq!(plan("f", &held, true, false), Some(vec!["other".to_owned()]));
        assert_eq!(plan("f", &held[..1], true, false), None);
    }
}
