//! Names of images, parsed by hand: the library's expression for them takes twelve megabytes and a tenth of a second
//! of every runtime. It still says what is right: the tests compare.

use oci_client::Reference;

use crate::ImageError;

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_OLD: &str = "index.docker.io";
const DOCKER_OFFICIAL: &str = "library";
const REPOSITORY_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

/// `[HOST[:PORT]/]PATH[:TAG][@DIGEST]` in full: with registry, and with the tag `latest` where neither is given.
///
/// # Errors
/// When it is no such name.
pub fn parse(text: &str) -> Result<Reference, ImageError> {
    split(text).ok_or_else(|| ImageError::InvalidReference { reference: text.to_owned() })
}

fn split(text: &str) -> Option<Reference> {
    let (named, digest) = text.split_once('@').map_or((text, None), |(named, digest)| (named, Some(digest)));
    let path_start = named.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match named[path_start..].split_once(':') {
        Some((last, tag)) => (&named[..path_start + last.len()], Some(tag)),
        None => (named, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => (DOCKER_HUB, name),
    };
    let registry = if registry == DOCKER_HUB_OLD { DOCKER_HUB } else { registry };
    let repository = match path.contains('/') {
        false if registry == DOCKER_HUB => format!("{DOCKER_OFFICIAL}/{path}"),
        _ => path.to_owned(),
    };
    let valid = is_host(registry)
        && path.split('/').all(is_path_part)
        && repository.len() <= REPOSITORY_BYTES_MAX
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    if !valid {
        return None;
    }
    let registry = registry.to_owned();
    Some(match (tag, digest) {
        (Some(tag), Some(digest)) => {
            Reference::with_tag_and_digest(registry, repository, tag.to_owned(), digest.to_owned())
        }
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest.to_owned()),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned()),
    })
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Small letters and digits, between them single `.` or `_`, `__`, or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators = part.split(|c: char| c.is_ascii() && plain(c as u8)).filter(|between| !between.is_empty());
    part.bytes().next().is_some_and(plain)
        && part.bytes().next_back().is_some_and(plain)
        && separators.all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// Of the usual algorithms the right length; what this store can use is checked where it is used.
fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let length = match algorithm {
        "sha256" => hex.len() == 64,
        "sha384" => hex.len() == 96,
        "sha512" => hex.len() == 128,
        _other => false,
    };
    length && algorithm.split(['-', '_', '+', '.']).all(part) && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agree(text: &str) {
        let theirs = text.parse::<Reference>().ok();
        match split(text) {
            Some(ours) => assert_eq!(Some(ours), theirs, "{text:?}"),
            // The library takes capitals in what it first took for a host, and letters of all scripts in a tag; no
            // registry does.
            None => assert!(
                theirs.is_none_or(|theirs| !text.is_ascii() || theirs.repository().contains(char::is_uppercase)),
                "{text:?}"
            ),
        }
    }

    #[test]
    fn names_are_read_as_the_library_reads_them() {
        let digest = format!("sha256:{}", "0aF1".repeat(16));
        for name in [
            "",
            "a",
            "a/b",
            "a.b/c",
            "localhost/a",
            "localhost:5000/a/b",
            "index.docker.io/a",
            "A/b",
            "a..b",
            "a__b",
            "a___b",
            "a-_b",
            "a---b",
            "-a",
            "a-",
            "UPPER.io/a",
            "a.b:x/c",
            "a:5000/b",
            "a/b/",
            "/a",
            "a//b",
            "ghcr.io/acme/shop",
            "a b",
            "é",
        ] {
            for end in [
                "",
                ":v1",
                ":",
                ":.x",
                ":v1.0-x_y",
                ":é",
                "@",
                &format!("@{digest}"),
                &format!(":v1@{digest}"),
                "@sha256:00",
                "@md5:00",
            ] {
                agree(&format!("{name}{end}"));
            }
        }
        agree(&format!("a:{}", "x".repeat(129)));
        agree(&format!("a.io/{}", "x".repeat(256)));
        let full = parse("shop").expect("a name");
        assert_eq!(full.whole(), "docker.io/library/shop:latest");
        assert!(parse("not a name").expect_err("refused").to_string().contains("not a name"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn no_text_is_read_otherwise(text in "[a-cA-Z0-9./:@_-]{0,24}") {
            agree(&text);
        }
    }
}
