//! `.mat` of version 7.3: HDF5, of which arrays of plain numbers in groups are read.
//!
//! Known are superblocks of version 0 to 3, object headers of version 1 and 2, groups as symbol tables
//! or as link messages, arrays that lie together, in the header, or in chunks found by a B-tree of
//! version 1, packed with deflate, shuffle and Fletcher's checksum. The rest is an error that says so.
//! Chunks that were never written are 0. Layouts are those of the "HDF5 File Format Specification", 3.0.

use std::collections::BTreeMap;

use super::Value;
use crate::Refused;
use crate::array::{Array, Kind, MAX_BYTES, check_packed, extent};

mod chunks;

use chunks::{Chunks, read_filters};

const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
/// Deepest group or tree.
const MAX_DEPTH: usize = 16;
/// Most nodes, headers and chunks that are looked at: a file that leads in circles ends there.
const MAX_STEPS: usize = 1 << 20;

/// Finds where HDF5 begins: at 0, or at 512 and its doubles behind a block of the user's.
pub(super) fn start(bytes: &[u8]) -> Option<usize> {
    let at = std::iter::once(0).chain((9..16).map(|i| 1 << i));
    at.into_iter().find(|&at| {
        bytes
            .get(at..)
            .is_some_and(|rest| rest.starts_with(SIGNATURE))
    })
}

/// Reads the variables of a file.
pub(super) fn read(bytes: &[u8], start: usize) -> Result<BTreeMap<String, Value>, Refused> {
    let mut file = File {
        bytes,
        base: start as u64,
        offset: 8,
        length: 8,
        left: MAX_STEPS,
        room: MAX_BYTES,
    };
    let mut at = file.at(start)?;
    at.skip(8)?;
    let root = match at.byte()? {
        version @ (0 | 1) => {
            at.skip(4)?;
            (file.offset, file.length) = (at.byte()?, at.byte()?);
            at.skip(1 + 4 + 4 + if version == 1 { 4 } else { 0 })?;
            file.check_sizes()?;
            let base = at.word(file.offset)?;
            at.skip(3 * usize::from(file.offset))?;
            file.base = base;
            at.word(file.offset)?;
            at.word(file.offset)?
        }
        2 | 3 => {
            (file.offset, file.length) = (at.byte()?, at.byte()?);
            file.check_sizes()?;
            at.skip(1)?;
            file.base = at.word(file.offset)?;
            at.skip(2 * usize::from(file.offset))?;
            at.word(file.offset)?
        }
        version => return Err(unknown(format!("a superblock of version {version}"))),
    };
    match file.object(root, 0)? {
        Value::Struct(variables) => Ok(variables),
        _ => Err(Refused::new("its root is no group")),
    }
}

fn unknown(what: impl std::fmt::Display) -> Refused {
    Refused::new(format!(
        "it is HDF5 with {what}, which is not read; save it with `scipy.io.savemat`, or `save -v7` in MATLAB"
    ))
}

fn short() -> Refused {
    Refused::new("it ends too early, or an address in it is wrong")
}

/// A place in the file from which one reads on.
#[derive(Clone, Copy)]
struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Refused> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Result<(), Refused> {
        self.take(count).map(|_| ())
    }

    fn word(&mut self, size: u8) -> Result<u64, Refused> {
        let mut word = [0; 8];
        let bytes = self.take(size.into())?;
        word.get_mut(..bytes.len())
            .ok_or_else(short)?
            .copy_from_slice(bytes);
        Ok(u64::from_le_bytes(word))
    }

    fn byte(&mut self) -> Result<u8, Refused> {
        Ok(self.word(1)? as u8)
    }

    fn short(&mut self) -> Result<u16, Refused> {
        Ok(self.word(2)? as u16)
    }

    fn expect(&mut self, mark: &[u8], what: &str) -> Result<(), Refused> {
        if self.take(mark.len())? == mark {
            return Ok(());
        }
        Err(Refused::new(format!(
            "an address should lead to {what}, and does not"
        )))
    }
}

/// A message of an object's header.
struct Message<'b> {
    kind: u16,
    data: Cursor<'b>,
}

/// How an array is laid out.
enum Layout<'b> {
    Compact(&'b [u8]),
    Contiguous { address: u64, size: u64 },
    Chunked { tree: u64, chunk: Vec<u64> },
}

struct File<'b> {
    bytes: &'b [u8],
    /// What addresses count from.
    base: u64,
    /// Bytes of an address.
    offset: u8,
    /// Bytes of a length.
    length: u8,
    /// Steps that may still be taken.
    left: usize,
    /// Bytes that its arrays may still have.
    room: u64,
}

impl<'b> File<'b> {
    fn check_sizes(&self) -> Result<(), Refused> {
        let known = |size| matches!(size, 2 | 4 | 8);
        if known(self.offset) && known(self.length) {
            return Ok(());
        }
        Err(Refused::new("its addresses have an impossible size"))
    }

    fn at(&self, place: usize) -> Result<Cursor<'b>, Refused> {
        self.bytes.get(place..).map(Cursor).ok_or_else(short)
    }

    fn go(&self, address: u64) -> Result<Cursor<'b>, Refused> {
        let place = self.base.checked_add(address).ok_or_else(short)?;
        self.at(usize::try_from(place).map_err(|_| short())?)
    }

    fn step(&mut self) -> Result<(), Refused> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Refused::new("it has too many parts, or leads in circles"))?;
        Ok(())
    }

    fn is_undefined(&self, address: u64) -> bool {
        address == u64::MAX >> (64 - 8 * u32::from(self.offset))
    }

    /// Reads what lies at an address: a group with all it holds, or an array.
    fn object(&mut self, address: u64, depth: usize) -> Result<Value, Refused> {
        if depth > MAX_DEPTH {
            return Err(Refused::new(format!(
                "its groups are nested more than {MAX_DEPTH} deep"
            )));
        }
        let messages = self.messages(address)?;
        let find = |kind| messages.iter().find(|m| m.kind == kind).map(|m| m.data);
        if let (Some(space), Some(kind), Some(layout)) = (find(1), find(3), find(8)) {
            // Numbers in files beside this one have no address here, as those that were never written.
            if find(7).is_some() {
                let why = unknown("an array that lies in other files");
                return Ok(Value::Other(format!("is not read: {why}")));
            }
            return Ok(match self.array(space, kind, layout, find(11)) {
                Ok(array) => Value::Array(array),
                Err(why) => Value::Other(format!("is not read: {why}")),
            });
        }
        let mut links = Vec::new();
        if let Some(mut table) = find(17) {
            let tree = table.word(self.offset)?;
            let heap = table.word(self.offset)?;
            self.symbols(tree, heap, &mut links, 0)?;
        }
        if let Some(mut info) = find(2) {
            info.skip(1)?;
            let flags = info.byte()?;
            info.skip(if flags & 1 == 1 { 8 } else { 0 })?;
            if !self.is_undefined(info.word(self.offset)?) {
                return Err(unknown("many links in one group"));
            }
        }
        for message in messages.iter().filter(|message| message.kind == 6) {
            links.extend(self.link(message.data)?);
        }
        let mut found = BTreeMap::new();
        for (name, address) in links {
            // MATLAB keeps what cells refer to under names that begin so.
            if !name.starts_with('#') {
                found.insert(name, self.object(address, depth + 1)?);
            }
        }
        Ok(Value::Struct(found))
    }

    /// Reads the header of an object, with what it is continued by.
    fn messages(&mut self, address: u64) -> Result<Vec<Message<'b>>, Refused> {
        let mut at = self.go(address)?;
        let second = at.0.starts_with(b"OHDR");
        let mut flags = 0;
        let size = if second {
            at.skip(4)?;
            let version = at.byte()?;
            if version != 2 {
                return Err(unknown(format!("an object header of version {version}")));
            }
            flags = at.byte()?;
            at.skip(if flags & 0x20 == 0 { 0 } else { 16 })?;
            at.skip(if flags & 0x10 == 0 { 0 } else { 4 })?;
            at.word(1 << (flags & 3))?
        } else {
            let version = at.byte()?;
            if version != 1 {
                return Err(unknown(format!("an object header of version {version}")));
            }
            at.skip(1 + 2 + 4)?;
            let size = at.word(4)?;
            at.skip(4)?;
            size
        };
        let mut blocks = vec![at.take(usize::try_from(size).map_err(|_| short())?)?];
        let mut found = Vec::new();
        while let Some(block) = blocks.pop() {
            let mut at = Cursor(block);
            // What is shorter than a message's head is a gap.
            while at.0.len() >= if second { 4 } else { 8 } {
                self.step()?;
                let kind;
                let size;
                if second {
                    kind = at.byte()?.into();
                    size = at.short()?;
                    at.skip(if flags & 4 == 0 { 1 } else { 3 })?;
                } else {
                    kind = at.short()?;
                    size = at.short()?;
                    at.skip(4)?;
                }
                let mut data = Cursor(at.take(size.into())?);
                if kind != 16 {
                    found.push(Message { kind, data });
                    continue;
                }
                let mut next = self.go(data.word(self.offset)?)?;
                let size = usize::try_from(data.word(self.length)?).map_err(|_| short())?;
                let mut next = Cursor(next.take(size)?);
                if second {
                    next.expect(b"OCHK", "the rest of a header")?;
                    next.0 = &next.0[..next.0.len().saturating_sub(4)];
                }
                blocks.push(next.0);
            }
        }
        Ok(found)
    }

    /// Reads the names of a group from its tree.
    fn symbols(
        &mut self,
        tree: u64,
        heap: u64,
        links: &mut Vec<(String, u64)>,
        depth: usize,
    ) -> Result<(), Refused> {
        self.step()?;
        if depth > MAX_DEPTH {
            return Err(short());
        }
        let mut names = self.go(heap)?;
        names.expect(b"HEAP", "the names of a group")?;
        names.skip(4)?;
        let size = names.word(self.length)?;
        names.skip(self.length.into())?;
        let mut names = self.go(names.word(self.offset)?)?;
        let names = names.take(usize::try_from(size).map_err(|_| short())?)?;
        let mut at = self.go(tree)?;
        at.expect(b"TREE\x00", "the tree of a group")?;
        let level = at.byte()?;
        let count = at.short()?;
        at.skip(2 * usize::from(self.offset))?;
        for _ in 0..count {
            at.skip(self.length.into())?;
            let child = at.word(self.offset)?;
            if level > 0 {
                self.symbols(child, heap, links, depth + 1)?;
                continue;
            }
            let mut node = self.go(child)?;
            node.expect(b"SNOD\x01", "the links of a group")?;
            node.skip(1)?;
            for _ in 0..node.short()? {
                self.step()?;
                let name = usize::try_from(node.word(self.offset)?).map_err(|_| short())?;
                let address = node.word(self.offset)?;
                node.skip(24)?;
                // A link that leads elsewhere has no address.
                if self.is_undefined(address) {
                    continue;
                }
                let name = names.get(name..).ok_or_else(short)?;
                let end = name.iter().position(|&b| b == 0).ok_or_else(short)?;
                links.push((String::from_utf8_lossy(&name[..end]).into_owned(), address));
            }
        }
        Ok(())
    }

    /// Reads a link; those that are not hard lead elsewhere and are passed over.
    fn link(&self, mut data: Cursor<'_>) -> Result<Option<(String, u64)>, Refused> {
        data.skip(1)?;
        let flags = data.byte()?;
        let kind = if flags & 8 == 0 { 0 } else { data.byte()? };
        data.skip(if flags & 4 == 0 { 0 } else { 8 })?;
        data.skip(if flags & 16 == 0 { 0 } else { 1 })?;
        let length = usize::try_from(data.word(1 << (flags & 3))?).map_err(|_| short())?;
        let name = String::from_utf8_lossy(data.take(length)?).into_owned();
        if kind != 0 {
            return Ok(None);
        }
        Ok(Some((name, data.word(self.offset)?)))
    }

    fn array(
        &mut self,
        space: Cursor<'_>,
        kind: Cursor<'_>,
        layout: Cursor<'b>,
        filters: Option<Cursor<'_>>,
    ) -> Result<Array, Refused> {
        let shape = self.shape(space)?;
        let (kind, big_endian) = number(kind, 0)?;
        let size = extent(kind, &shape)?;
        check_packed(size, self.bytes.len() as u64)?;
        self.room = self
            .room
            .checked_sub(size)
            .ok_or_else(|| Refused::new("its arrays are larger than any label maps"))?;
        let bytes = match self.layout(layout)? {
            Layout::Compact(bytes) => bytes.to_vec(),
            Layout::Contiguous { address, .. } if self.is_undefined(address) => {
                vec![0; size as usize]
            }
            Layout::Contiguous {
                address,
                size: have,
            } => {
                if have < size {
                    return Err(short());
                }
                self.go(address)?.take(size as usize)?.to_vec()
            }
            Layout::Chunked { tree, chunk } => {
                let filters = filters.map_or(Ok(Vec::new()), read_filters)?;
                let mut chunks = Chunks::new(&shape, &chunk, kind.size(), filters)?;
                if !self.is_undefined(tree) {
                    self.chunks(tree, &mut chunks, 0)?;
                }
                chunks.bytes
            }
        };
        // MATLAB writes the axes in reverse, and the first index fastest.
        let shape = shape.into_iter().rev().collect();
        Array::new(kind, big_endian, true, shape, bytes)
    }

    fn shape(&self, mut at: Cursor<'_>) -> Result<Vec<usize>, Refused> {
        let version = at.byte()?;
        let rank = at.byte()?;
        at.skip(match version {
            1 => 1 + 5,
            2 => 2,
            _ => return Err(unknown(format!("a data space of version {version}"))),
        })?;
        if rank > 32 {
            return Err(Refused::new(format!("an array claims {rank} axes")));
        }
        let axis = |_| usize::try_from(at.word(self.length)?).map_err(|_| short());
        (0..rank).map(axis).collect()
    }

    fn layout(&self, mut at: Cursor<'b>) -> Result<Layout<'b>, Refused> {
        let version = at.byte()?;
        if !(3..=4).contains(&version) {
            return Err(unknown(format!("a layout of version {version}")));
        }
        match at.byte()? {
            0 => {
                let size = at.short()?;
                Ok(Layout::Compact(at.take(size.into())?))
            }
            1 => Ok(Layout::Contiguous {
                address: at.word(self.offset)?,
                size: at.word(self.length)?,
            }),
            2 if version == 3 => {
                let axes = at.byte()?;
                let tree = at.word(self.offset)?;
                let chunk = (0..axes).map(|_| at.word(4)).collect::<Result<_, _>>()?;
                Ok(Layout::Chunked { tree, chunk })
            }
            2 => Err(unknown("chunks of the latest format (`libver=\"latest\"`)")),
            _ => Err(unknown("an array that lies in other files")),
        }
    }

    /// Puts the chunks below a node of their tree into place.
    fn chunks(&mut self, tree: u64, chunks: &mut Chunks, depth: usize) -> Result<(), Refused> {
        self.step()?;
        if depth > MAX_DEPTH {
            return Err(short());
        }
        let mut at = self.go(tree)?;
        at.expect(b"TREE\x01", "the tree of an array")?;
        let level = at.byte()?;
        let count = at.short()?;
        at.skip(2 * usize::from(self.offset))?;
        for _ in 0..count {
            self.step()?;
            let size = at.word(4)?;
            let skipped = at.word(4)? as u32;
            let offsets: Vec<u64> = (0..=chunks.shape.len())
                .map(|_| at.word(8))
                .collect::<Result<_, _>>()?;
            let child = at.word(self.offset)?;
            if level > 0 {
                self.chunks(child, chunks, depth + 1)?;
            } else {
                let packed = self.go(child)?.take(size as usize)?;
                chunks.place(packed, skipped, &offsets)?;
            }
        }
        Ok(())
    }
}

fn number(mut at: Cursor<'_>, depth: usize) -> Result<(Kind, bool), Refused> {
    let class = at.byte()? & 15;
    let flags = at.word(3)?;
    let size = at.word(4)?;
    let small = u8::try_from(size)
        .ok()
        .filter(|size| matches!(size, 1 | 2 | 4 | 8));
    match (class, small) {
        (0, Some(size)) if flags & 8 == 0 => Ok((Kind::Uint(size), flags & 1 == 1)),
        (0, Some(size)) => Ok((Kind::Int(size), flags & 1 == 1)),
        (1, Some(size @ (4 | 8))) if flags & 0x40 == 0 => Ok((Kind::Float(size), flags & 1 == 1)),
        // Named numbers, as booleans are: the numbers follow.
        (8, Some(_)) if depth == 0 => number(at, 1),
        (7, _) => Err(unknown("cells (references)")),
        (class, _) => Err(unknown(format!(
            "numbers of class {class} and {size} bytes"
        ))),
    }
}
