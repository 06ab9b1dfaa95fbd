//! Files that change all at once.
//!
//! ```text
//!   volume/..2026_11_24_02_30_00.123456789/key   the files
//!   volume/..data -> ..2026_11_24_02_30_00.…     replaced by rename
//!   volume/key -> ..data/key                     what a guest opens
//! ```

use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path},
    time::{SystemTime, UNIX_EPOCH},
};

use super::payload::Payload;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes `folder` hold exactly `files`.
pub(super) fn write(folder: &Path, files: &Payload) -> io::Result<()> {
    for path in files.keys() {
        check(path)?;
    }
    std::fs::create_dir_all(folder)?;
    let old = std::fs::read_link(folder.join(DATA)).ok();
    if old.as_ref().is_some_and(|old| holds(&folder.join(old), files)) {
        return link_and_tidy(folder, files);
    }
    let new = new_name(folder);
    let staged = folder.join(&new);
    std::fs::create_dir(&staged)?;
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let target = staged.join(path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&target, &file.data)?;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(file.mode))?;
    }
    let link = folder.join(DATA_NEW);
    let _ = std::fs::remove_file(&link);
    symlink(&new, &link)?;
    std::fs::rename(&link, folder.join(DATA))?;
    link_and_tidy(folder, files)?;
    if let Some(old) = old {
        std::fs::remove_dir_all(folder.join(old))?;
    }
    Ok(())
}

/// Visible names for all files, and none for what is gone.
fn link_and_tidy(folder: &Path, files: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = folder.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            std::fs::remove_file(folder.join(name.as_ref()))?;
        }
    }
    Ok(())
}

/// Whether `folder` holds exactly `files`.
fn holds(folder: &Path, files: &Payload) -> bool {
    fn count(folder: &Path) -> io::Result<usize> {
        let mut sum = 0;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            sum += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
        }
        Ok(sum)
    }
    let same = |path: &str, file: &super::payload::File| {
        let path = folder.join(path);
        std::fs::read(&path).is_ok_and(|data| data == file.data)
            && std::fs::metadata(&path).is_ok_and(|metadata| metadata.permissions().mode() & 0o7777 == file.mode)
    };
    count(folder).is_ok_and(|count| count == files.len()) && files.iter().all(|(path, file)| same(path, file))
}

/// A name no other folder here has; only its difference matters, so no clock is asked for.
fn new_name(folder: &Path) -> String {
    let stamp = std::fs::metadata(folder).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let base = stamp.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    (0u32..)
        .map(|attempt| format!("..{base}.{attempt}"))
        .find(|name| !folder.join(name).exists())
        .unwrap_or_else(|| format!("..{base}"))
}

fn check(path: &str) -> io::Result<()> {
    let mut parts = Path::new(path).components();
    let plain = parts.all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        let message = format!("invalid path {path:?}: must be relative and inside the volume");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::payload::File, *};

    fn files(list: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.as_bytes().to_vec(), mode: 0o640 };
        list.iter().map(|(path, data)| ((*path).to_owned(), file(data))).collect()
    }

    fn visible(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with(".."))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_replaced_all_at_once_and_leftovers_go() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path().join("volume");
        write(&folder, &files(&[("a", "1"), ("deep/b", "2")])).expect("the first write");
        assert_eq!(std::fs::read_to_string(folder.join("deep/b")).expect("b"), "2");
        let first = std::fs::read_link(folder.join(DATA)).expect("a link");
        write(&folder, &files(&[("a", "1"), ("deep/b", "2")])).expect("the same again");
        assert_eq!(std::fs::read_link(folder.join(DATA)).expect("a link"), first, "nothing changed");
        write(&folder, &files(&[("a", "3"), ("c", "4")])).expect("the second write");
        assert_eq!(std::fs::read_to_string(folder.join("a")).expect("a"), "3");
        assert_eq!(visible(&folder), ["a", "c"]);
        let folders = std::fs::read_dir(&folder).expect("the folder").count();
        assert_eq!(folders, 4, "a, c, ..data and one folder");
    }

    #[test]
    fn a_path_that_leaves_the_volume_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for path in ["../x", "/x", "a/../../x", "", "..data"] {
            assert!(write(folder.path(), &files(&[(path, "x")])).is_err(), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_was_there_the_folder_holds_what_was_written_last(
            writes in proptest::collection::vec(
                proptest::collection::btree_map("[a-c](/[d-e])?", "[xy]{0,3}", 0..4), 1..5)
        ) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            for wanted in writes {
                // `a` cannot be both a file and a folder.
                let flat: Vec<&str> = wanted.keys().map(String::as_str).filter(|path| !path.contains('/')).collect();
                let wanted: Vec<(&str, &str)> = wanted
                    .iter()
                    .filter(|(path, _)| !path.contains('/') || !flat.contains(&&path[..1]))
                    .map(|(path, data)| (path.as_str(), data.as_str()))
                    .collect();
                write(folder.path(), &files(&wanted)).expect("a write");
                for (path, data) in &wanted {
                    let found = std::fs::read_to_string(folder.path().join(path));
                    let found = found.ok();
                    proptest::prop_assert_eq!(found.as_deref(), Some(*data));
                }
                let tops: BTreeSet<&str> = wanted.iter().filter_map(|(path, _)| path.split('/').next()).collect();
                proptest::prop_assert_eq!(visible(folder.path()), tops.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
