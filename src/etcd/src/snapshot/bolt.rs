//! Writing a bbolt database from beginning to end, in the order of its keys.
//!
//! ```text
//! page 0, 1  meta: where the root bucket is, how many pages there are, a checksum     page 2  free pages: none
//! then, bucket by bucket: leaf pages, then the branch pages above them, level by level; last the leaf of all buckets
//!
//! page       number u64 │ kind u16 │ count u16 │ overflow u32 │ elements │ keys and values      (little-endian, 4 KiB each)
//! leaf       kind u32 │ offset u32 │ key length u32 │ value length u32          offsets count from the element itself
//! branch     offset u32 │ key length u32 │ page u64
//! ```

use std::io::{self, Write};

use super::{Sink, SnapshotError};

const PAGE: usize = 4096;
const HEAD: usize = 16;
const ELEMENT: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const META: u16 = 4;
const FREE: u16 = 16;
/// Marks an element of a leaf whose value is a bucket.
const BUCKET: u32 = 1;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Pages before the first of the tree.
const FIRST: u64 = 3;

/// Where everything is in a database that was laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    root: u64,
    pages: u64,
}

impl Layout {
    /// How large the database is.
    pub(super) fn bytes(&self) -> u64 {
        self.pages * PAGE as u64
    }

    /// Writes the pages before the tree.
    pub(super) fn write_head(&self, mut out: impl Write) -> io::Result<()> {
        for number in 0..2 {
            let mut meta = Vec::with_capacity(64);
            for field in [MAGIC, VERSION, u32::try_from(PAGE).expect("a page is small"), 0] {
                meta.extend_from_slice(&field.to_le_bytes());
            }
            // Root page and sequence of the root bucket, page of the free list, number of pages, transaction.
            for field in [self.root, 0, 2, self.pages, number] {
                meta.extend_from_slice(&field.to_le_bytes());
            }
            let sum = fnv(&meta);
            meta.extend_from_slice(&sum.to_le_bytes());
            out.write_all(&page(number, META, 0, &meta))?;
        }
        out.write_all(&page(2, FREE, 0, &[]))
    }
}

/// FNV-1a, 64 bit.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn page(number: u64, kind: u16, count: usize, body: &[u8]) -> Vec<u8> {
    let pages = (HEAD + body.len()).div_ceil(PAGE);
    let mut page = Vec::with_capacity(pages * PAGE);
    page.extend_from_slice(&number.to_le_bytes());
    page.extend_from_slice(&kind.to_le_bytes());
    page.extend_from_slice(&u16::try_from(count).expect("a page of 4 KiB has few elements").to_le_bytes());
    page.extend_from_slice(&u32::try_from(pages - 1).expect("a record is small").to_le_bytes());
    page.extend_from_slice(body);
    page.resize(pages * PAGE, 0);
    page
}

/// Elements that will be a page.
struct Node {
    kind: u16,
    heads: Vec<(u32, usize, usize, u64)>,
    data: Vec<u8>,
    first: Vec<u8>,
}

impl Node {
    fn new(kind: u16) -> Self {
        Self { kind, heads: Vec::new(), data: Vec::new(), first: Vec::new() }
    }

    fn has_room(&self, key: &[u8], value: &[u8]) -> bool {
        self.heads.is_empty()
            || HEAD + (self.heads.len() + 1) * ELEMENT + self.data.len() + key.len() + value.len() <= PAGE
    }

    /// Adds a record of a leaf, or with `page` one of a branch.
    fn add(&mut self, flags: u32, key: &[u8], value: &[u8], page: u64) {
        if self.heads.is_empty() {
            self.first = key.to_vec();
        }
        self.heads.push((flags, key.len(), value.len(), page));
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    fn page(&self, number: u64) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.heads.len() * ELEMENT + self.data.len());
        let small = |size: usize| u32::try_from(size).expect("a record is small").to_le_bytes();
        let mut at = 0;
        for (index, (flags, key, value, page)) in self.heads.iter().enumerate() {
            let offset = small((self.heads.len() - index) * ELEMENT + at);
            if self.kind == LEAF {
                body.extend_from_slice(&flags.to_le_bytes());
                body.extend_from_slice(&offset);
                body.extend_from_slice(&small(*key));
                body.extend_from_slice(&small(*value));
            } else {
                body.extend_from_slice(&offset);
                body.extend_from_slice(&small(*key));
                body.extend_from_slice(&page.to_le_bytes());
            }
            at += key + value;
        }
        body.extend_from_slice(&self.data);
        self::page(number, self.kind, self.heads.len(), &body)
    }
}

/// Writes the tree. Memory is that of the keys that begin pages.
pub(super) struct Writer<W> {
    out: W,
    next: u64,
    leaf: Node,
    /// First key and number of the pages of the lowest level of this bucket.
    level: Vec<(Vec<u8>, u64)>,
    bucket: Option<&'static [u8]>,
    buckets: Vec<(&'static [u8], u64)>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, next: FIRST, leaf: Node::new(LEAF), level: Vec::new(), bucket: None, buckets: Vec::new() }
    }

    fn put(&mut self, node: &Node) -> io::Result<u64> {
        let number = self.next;
        let page = node.page(number);
        self.next += (page.len() / PAGE) as u64;
        self.out.write_all(&page)?;
        Ok(number)
    }

    fn end_leaf(&mut self) -> io::Result<()> {
        let leaf = std::mem::replace(&mut self.leaf, Node::new(LEAF));
        let number = self.put(&leaf)?;
        self.level.push((leaf.first, number));
        Ok(())
    }

    /// Ends a tree, and returns its root.
    fn end_tree(&mut self) -> io::Result<u64> {
        self.end_leaf()?;
        let mut level = std::mem::take(&mut self.level);
        while level.len() > 1 {
            let mut above = Vec::new();
            let mut node = Node::new(BRANCH);
            for (key, number) in level {
                if !node.has_room(&key, &[]) {
                    let full = std::mem::replace(&mut node, Node::new(BRANCH));
                    let written = self.put(&full)?;
                    above.push((full.first, written));
                }
                node.add(0, &key, &[], number);
            }
            let written = self.put(&node)?;
            above.push((node.first, written));
            level = above;
        }
        Ok(level[0].1)
    }

    fn end_bucket(&mut self) -> io::Result<()> {
        if let Some(name) = self.bucket.take() {
            let root = self.end_tree()?;
            self.buckets.push((name, root));
        }
        Ok(())
    }

    /// Writes the leaf of all buckets; says where everything came to lie.
    pub(super) fn finish(mut self) -> Result<Layout, SnapshotError> {
        self.end_bucket()?;
        for (name, root) in std::mem::take(&mut self.buckets) {
            let mut bucket = [0; 16];
            bucket[..8].copy_from_slice(&root.to_le_bytes());
            self.leaf.add(BUCKET, name, &bucket, 0);
        }
        let root = self.end_tree()?;
        Ok(Layout { root, pages: self.next })
    }
}

impl<W: Write> Sink for Writer<W> {
    type Error = SnapshotError;

    fn bucket(&mut self, name: &'static [u8]) -> Result<(), SnapshotError> {
        self.end_bucket()?;
        self.bucket = Some(name);
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        if !self.leaf.has_room(key, value) {
            self.end_leaf()?;
        }
        self.leaf.add(0, key, value, 0);
        Ok(())
    }
}
