//! The files beside a program: from archives or single layers into one folder, which a container's root is copied
//! from.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Component, Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use crate::{
    ImageError,
    blobs::Blobs,
    layout::{FileContent, PlannedFile},
};

/// What all files of one image may take.
const FILES_BYTES_MAX: u64 = 2 << 30;
const FILES_COUNT_MAX: usize = 200_000;

/// Writes planned files below `folder`.
pub fn write_planned(files: &[PlannedFile], blobs: &Blobs, folder: &Path) -> Result<(), ImageError> {
    for file in files {
        let place = folder.join(below_root(Path::new(&file.path)).ok_or_else(|| outside(folder, &file.path))?);
        let content = match &file.content {
            FileContent::Inline(bytes) => bytes.clone(),
            FileContent::Layer(digest) => blobs.read(digest)?,
        };
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(ImageError::io("create", parent))?;
        }
        fs::write(&place, content).map_err(ImageError::io("write", &place))?;
    }
    Ok(())
}

/// Unpacks one layer over what the layers before it left in `folder`. `None` when a limit or a path is broken.
pub fn unpack_layer(layer: &Path, folder: &Path) -> Result<(), ImageError> {
    let failed =
        |action: &'static str| move |source: io::Error| ImageError::Io { action, path: layer.to_owned(), source };
    let reader = open_maybe_gzip(layer).map_err(failed("open layer"))?;
    let mut archive = tar::Archive::new(reader.take(FILES_BYTES_MAX));
    archive.set_preserve_permissions(false);
    archive.set_unpack_xattrs(false);
    archive.set_overwrite(true);
    let mut count = 0;
    for entry in archive.entries().map_err(failed("read layer"))? {
        let mut entry = entry.map_err(failed("read layer"))?;
        count += 1;
        if count > FILES_COUNT_MAX {
            return Err(ImageError::TooLarge { subject: "number of files".to_owned(), limit: FILES_COUNT_MAX as u64 });
        }
        let path = entry.path().map_err(failed("read layer"))?.into_owned();
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && let Some(hidden) = name.strip_prefix(".wh.")
        {
            whiteout(folder, &path, hidden)?;
            continue;
        }
        use tar::EntryType::{Directory, GNUSparse, Link, Regular, Symlink};
        if matches!(entry.header().entry_type(), Regular | Directory | Link | Symlink | GNUSparse) {
            // `unpack_in` refuses paths, and links in paths, that lead out of the folder.
            entry.unpack_in(folder).map_err(failed("unpack layer"))?;
        }
    }
    Ok(())
}

/// Opens a file that may be compressed, by its first bytes.
pub fn open_maybe_gzip(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut magic = [0; 2];
    let length = File::open(path)?.read(&mut magic)?;
    let file = BufReader::with_capacity(128 * 1024, File::open(path)?);
    Ok(if length == 2 && magic == [0x1f, 0x8b] { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// A layer hides what an earlier one brought: one file, or all of a folder.
fn whiteout(folder: &Path, path: &Path, hidden: &str) -> Result<(), ImageError> {
    let parent = below_root(path.parent().unwrap_or(Path::new(""))).ok_or_else(|| outside(folder, &path.display()))?;
    let parent = folder.join(parent);
    // A link in the path could lead out of the folder; then nothing is removed.
    let real = |path: &Path| path.canonicalize().ok();
    if !matches!((real(&parent), real(folder)), (Some(parent), Some(folder)) if parent.starts_with(&folder)) {
        return Ok(());
    }
    let hidden: Vec<PathBuf> = if hidden == ".wh..opq" {
        let entries = fs::read_dir(&parent).map_err(ImageError::io("read", &parent))?;
        entries.flatten().map(|entry| entry.path()).collect()
    } else {
        vec![parent.join(hidden)]
    };
    for path in hidden {
        let removed = match fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(_) => Ok(()),
        };
        removed.map_err(ImageError::io("remove", path))?;
    }
    Ok(())
}

/// The program among the files of `folder`: the one at `named`, or the only one there is.
pub fn find_program(folder: &Path, named: Option<&str>) -> Option<PathBuf> {
    if let Some(path) = named.and_then(|named| below_root(Path::new(named))) {
        let path = folder.join(path);
        if fs::symlink_metadata(&path).is_ok_and(|data| data.is_file()) {
            return Some(path);
        }
    }
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && entry.path().extension().is_some_and(|end| end == "wasm") => {
                    found.push(entry.path());
                }
                _other => {}
            }
        }
    }
    if found.len() == 1 { found.pop() } else { None }
}

/// `path` without its root; `None` when it climbs.
fn below_root(path: &Path) -> Option<PathBuf> {
    let mut below = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(below)
}

fn outside(folder: &Path, path: &dyn std::fmt::Display) -> ImageError {
    ImageError::Layout { image: folder.display().to_string(), problem: format!("path {path} leads out of the image") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(folder: &Path, name: &str, entries: &[(&str, &str)]) -> PathBuf {
        let path = folder.join(name);
        let mut builder = tar::Builder::new(File::create(&path).expect("a file"));
        for (path, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, path, content.as_bytes()).expect("an entry");
        }
        builder.finish().expect("an archive");
        path
    }

    #[test]
    fn later_layers_replace_and_hide() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("root");
        fs::create_dir(&root).expect("a folder");
        let first = layer(folder.path(), "1", &[("app.wasm", "old"), ("etc/a", "a"), ("etc/b", "b"), ("x/y", "y")]);
        let second = layer(folder.path(), "2", &[("app.wasm", "new"), ("etc/.wh.a", ""), ("x/.wh..wh..opq", "")]);
        unpack_layer(&first, &root).expect("unpacked");
        unpack_layer(&second, &root).expect("unpacked");
        assert_eq!(fs::read_to_string(root.join("app.wasm")).expect("a file"), "new");
        assert!(!root.join("etc/a").exists() && root.join("etc/b").exists() && !root.join("x/y").exists());
        assert_eq!(find_program(&root, None), Some(root.join("app.wasm")));
        assert_eq!(find_program(&root, Some("/etc/b")), Some(root.join("etc/b")));
    }

    #[test]
    fn a_link_out_of_the_image_is_not_written_or_removed_through() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        fs::create_dir(&root).expect("a folder");
        fs::create_dir(&outside).expect("a folder");
        fs::write(outside.join("kept"), "kept").expect("written");
        std::os::unix::fs::symlink(&outside, root.join("link")).expect("a link");
        let bad = layer(folder.path(), "bad", &[("link/new", "new")]);
        let _ = unpack_layer(&bad, &root);
        let bad = layer(folder.path(), "worse", &[("link/.wh.kept", "")]);
        let _ = unpack_layer(&bad, &root);
        assert!(!outside.join("new").exists() && outside.join("kept").exists());
        assert_eq!(below_root(Path::new("../x")), None);
    }
}
