//! The short names that Kubernetes gives to versions of a template.

use serde::Serialize;

/// What Kubernetes draws generated names from: no vowels, so no words; no 0, 1 or 3, which are misread.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a of 32 bits over `value` and the count of collisions so far, in safe letters.
pub fn of<T: Serialize>(value: &T, collision_count: Option<i32>) -> String {
    // A value that does not encode could not have been decoded.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let collisions = collision_count.map(|count| i64::from(count).to_le_bytes());
    let bytes = bytes.iter().chain(collisions.iter().flatten());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    safe(&hash.to_string())
}

/// FNV-1 of 32 bits over a text, in safe letters.
pub fn of_text(text: &str) -> String {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte));
    safe(&hash.to_string())
}

/// Each letter replaced by one of the alphabet.
fn safe(text: &str) -> String {
    text.bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_safe_and_move_with_the_collision_count() {
        assert_eq!(safe("0123456789"), "456789bcdf");
        let names: Vec<_> = [None, Some(1), Some(2)].map(|count| of(&"template", count)).to_vec();
        assert!(names.iter().all(|name| name.bytes().all(|byte| ALPHABET.contains(&byte))));
        assert!(names[0] != names[1] && names[1] != names[2]);
        assert_eq!(of(&"template", Some(1)), names[1]);
    }
}
