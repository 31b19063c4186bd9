//! Reads fjall's journals independently of fjall, and changes nothing. fjall takes the first invalid
//! byte for the end of a journal and truncates the rest. After a crash that is correct; after bit rot
//! it silently loses valid batches.
//!
//! A journal is a sequence of batches: start (tag 1, item count 4, sequence number 8), items (tag 2,
//! kind 1, compression 1, keyspace 8, lengths of key 2, value 4 and stored value 4, key, stored value)
//! or clears (tag 4, keyspace 8), end (tag 3, checksum 8 of the items, trailer), then zeros. Numbers
//! are little-endian. The keyspace of messages is the first one, 1. This is the format of fjall 3; the tests read what fjall wrote.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::chain::{self, ChainRow, Linker};
use crate::codec::MessageKey;

/// The last bytes of every batch.
const TRAILER: &[u8; 4] = b"FJL\x03";
const START_BYTES: usize = 13;
const ITEM_BYTES: usize = 21;
/// How far the sequence number of a batch may lie above the floor in its chain: fjall gives few
/// numbers to anything but batches.
const MAX_ABOVE_FLOOR: u64 = 1 << 16;

/// A whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The offset of its first byte.
    pub(super) at: u64,
    /// The offset after its last byte.
    pub(super) end: u64,
    /// The sequence number of fjall.
    pub(super) sequence: u64,
    /// How many messages it holds.
    pub(super) messages: u64,
    /// Its row of the chain; absent in a batch of a release that wrote none.
    pub(super) chain: Option<ChainRow>,
}

/// What is at a place in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A whole batch.
    Batch(Batch),
    /// Nothing but zeros.
    End,
    /// Something that is not a whole batch.
    Broken,
}

/// Reads one journal from its start.
pub(super) struct JournalReader<R> {
    bytes: R,
    /// Where the next batch begins.
    at: u64,
    length: u64,
    secret: u64,
    buffer: Vec<u8>,
}

impl JournalReader<BufReader<File>> {
    /// Opens the journal at `path` of the store with this secret.
    pub(super) fn open(path: &Path, secret: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let bytes = BufReader::with_capacity(256 << 10, file);
        Ok(Self { bytes, at: 0, length, secret, buffer: Vec::new() })
    }
}

impl<'a> JournalReader<io::Cursor<&'a [u8]>> {
    fn of(bytes: &'a [u8], secret: u64) -> Self {
        let length = bytes.len() as u64;
        Self { bytes: io::Cursor::new(bytes), at: 0, length, secret, buffer: Vec::new() }
    }
}

impl<R: Read + Seek> JournalReader<R> {
    /// Where the part that was read ends: after the last whole batch.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next batch. After anything but a batch the reader stays where it is.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        self.bytes.seek(SeekFrom::Start(self.at))?;
        match self.batch() {
            Ok(Some(batch)) => {
                self.at = batch.end;
                Ok(Next::Batch(batch))
            }
            Ok(None) if self.rest()?.is_empty() => Ok(Next::End),
            Ok(None) => Ok(Next::Broken),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                if self.rest()?.is_empty() { Ok(Next::End) } else { Ok(Next::Broken) }
            }
            Err(error) => Err(error),
        }
    }

    /// Whole batches after the broken place. Only with the link of its chain does something count as
    /// a batch, or in a journal without a chain by the checksum of fjall: a message may contain what
    /// looks like one.
    pub(super) fn later_batches(&mut self, chained: bool) -> io::Result<Vec<Batch>> {
        let rest = self.rest()?;
        let (mut found, mut from) = (Vec::new(), 1);
        while from < rest.len() {
            let Some(start) = rest[from..].iter().position(|&byte| byte == 1) else { break };
            from += start;
            // A start is followed by an item or a clear.
            let plausible = matches!(rest.get(from + START_BYTES), Some(2 | 4));
            let next = match plausible {
                true => JournalReader::of(&rest[from..], self.secret).next()?,
                false => Next::Broken,
            };
            match next {
                Next::Batch(batch) if batch.chain.is_some() || !chained => {
                    let (at, end) = (self.at + from as u64, self.at + from as u64 + batch.end);
                    found.push(Batch { at, end, ..batch });
                    from += batch.end as usize;
                }
                _ => from += 1,
            }
        }
        Ok(found)
    }

    /// The bytes from the broken place on, without the zeros at the end.
    pub(super) fn rest(&mut self) -> io::Result<Vec<u8>> {
        self.bytes.seek(SeekFrom::Start(self.at))?;
        let (mut rest, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        let mut zeros = 0_usize;
        loop {
            let read = self.bytes.read(&mut chunk)?;
            if read == 0 {
                return Ok(rest);
            }
            // Zeros are counted, not kept: fjall allocates 64 MiB of them in advance.
            let used = chunk[..read].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if used > 0 {
                rest.resize(rest.len() + zeros, 0);
                rest.extend_from_slice(&chunk[..used]);
                zeros = 0;
            }
            zeros += read - used;
        }
    }

    /// The batch here, if it is whole.
    fn batch(&mut self) -> io::Result<Option<Batch>> {
        let start: [u8; START_BYTES] = self.take()?;
        let items = little_endian(&start[1..5]);
        let sequence = little_endian(&start[5..13]);
        if start[0] != 1 {
            return Ok(None);
        }
        let mut read = START_BYTES as u64;
        let (mut checksum, mut linker) = (Xxh3::new(), Linker::new(self.secret));
        let (mut chain, mut messages) = (None, 0);
        for _ in 0..items {
            if chain.is_some() {
                // The chain is the last row of a batch.
                return Ok(None);
            }
            let Some(item) = self.item(read, &mut checksum)? else { return Ok(None) };
            read += item.bytes;
            chain = item.chain;
            if let (None, Some(row)) = (chain, item.row) {
                let (key_start, key_bytes) = (ITEM_BYTES, row.key_bytes);
                let key = &self.buffer[key_start..key_start + key_bytes];
                messages +=
                    u64::from(row.key_bytes == size_of::<MessageKey>() && row.keyspace == 1);
                linker.row(row.keyspace, row.kind, key, row.value_bytes);
            }
        }
        let end: [u8; 13] = self.take()?;
        let whole = end[0] == 3
            && little_endian(&end[1..9]) == checksum.digest()
            && &end[9..] == TRAILER
            && chain.is_none_or(|row: ChainRow| {
                let above_floor = sequence.checked_sub(row.floor);
                row.link == linker.link(&row)
                    && above_floor.is_some_and(|above| above <= MAX_ABOVE_FLOOR)
            });
        let end = self.at + read + 13;
        Ok(whole.then_some(Batch { at: self.at, end, sequence, messages, chain }))
    }

    /// The next item, `from` the start of the batch, which is then in the buffer.
    fn item(&mut self, from: u64, checksum: &mut Xxh3) -> io::Result<Option<Item>> {
        let tag: [u8; 1] = self.take()?;
        if tag[0] == 4 {
            let keyspace: [u8; 8] = self.take()?;
            checksum.update(&tag);
            checksum.update(&keyspace);
            return Ok(Some(Item { bytes: 9, row: None, chain: None }));
        }
        let head: [u8; ITEM_BYTES - 1] = self.take()?;
        if tag[0] != 2 {
            return Ok(None);
        }
        let (kind, compression) = (head[0], head[1]);
        let keyspace = little_endian(&head[2..10]);
        let [key_bytes, value_bytes, stored_bytes] =
            [&head[10..12], &head[12..16], &head[16..20]].map(|it| little_endian(it) as usize);
        let bytes = ITEM_BYTES + key_bytes + stored_bytes;
        if kind > 2
            || compression > 1
            || (compression == 0 && value_bytes != stored_bytes)
            || self.at + from + bytes as u64 > self.length
        {
            return Ok(None);
        }
        self.buffer.resize(bytes, 0);
        self.buffer[0] = tag[0];
        self.buffer[1..ITEM_BYTES].copy_from_slice(&head);
        self.bytes.read_exact(&mut self.buffer[ITEM_BYTES..])?;
        checksum.update(&self.buffer);
        let (key, value) = self.buffer[ITEM_BYTES..].split_at(key_bytes);
        let chain = match key == chain::KEY && kind == chain::VALUE && compression == 0 {
            true => ChainRow::decode(value),
            false => None,
        };
        let row = Row { keyspace, kind, key_bytes, value_bytes };
        Ok(Some(Item { bytes: bytes as u64, row: Some(row), chain }))
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.bytes.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// An item of a batch.
struct Item {
    bytes: u64,
    /// Absent for a clear.
    row: Option<Row>,
    chain: Option<ChainRow>,
}

/// The head of a row; its key is in the buffer of the reader.
struct Row {
    keyspace: u64,
    kind: u8,
    key_bytes: usize,
    value_bytes: usize,
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
