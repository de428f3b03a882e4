//! Records of a CSV file: one buffer, exact lines, and a way back after an open quote.

use std::{io, io::Read, str};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{super::SourceError, formula::restored};

/// The longest record; a longer one is refused rather than kept in memory.
const LIMIT: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// The records of one file.
pub(super) struct Records<R> {
    input: R,
    /// What was read and is not used yet: `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    parser: Reader,
    delimiter: u8,
    has_header: bool,
    /// The line at `start`, from 1.
    line: u64,
    /// The record just found: its fields without quotes, joined, and where each ends.
    fields: Vec<u8>,
    written: usize,
    ends: Vec<usize>,
    count: usize,
    /// Where the record just found began, as long as it is in the buffer.
    origin: (usize, u64),
}

/// What stands next in the file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// A record, and the lines that it takes.
    Record { line: u64, last_line: u64 },
    /// A line that begins no record.
    Broken { line: u64, detail: &'static str },
}

impl<R: Read> Records<R> {
    /// Reads the start of a file, to see how it is written.
    pub(super) fn open(input: R) -> Result<Self, SourceError> {
        let mut records = Self {
            input,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            parser: Reader::new(),
            delimiter: b',',
            has_header: false,
            line: 1,
            fields: vec![0; 1024],
            written: 0,
            ends: vec![0; 64],
            count: 0,
            origin: (0, 1),
        };
        while records.unread().len() < LIMIT
            && !has_whole_line(records.unread())
            && records.fill().map_err(SourceError::Read)?
        {}
        match records.unread() {
            // With the mark that says so, and without it.
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, _, 0, ..] | [0, _, 0, _, ..] => {
                return Err(SourceError::Utf16);
            }
            // The archive that newer spreadsheets are, and the container of the older ones.
            [b'P', b'K', 3, 4, ..] | [0xd0, 0xcf, 0x11, 0xe0, ..] => return Err(SourceError::Spreadsheet),
            [0xef, 0xbb, 0xbf, ..] => records.start = 3,
            _ => {}
        }
        records.delimiter = delimiter(records.unread());
        records.parser = ReaderBuilder::new().delimiter(records.delimiter).build();
        Ok(records)
    }

    /// Finds the next record.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        self.skip_blank_lines()?;
        self.origin = (self.start, self.line);
        (self.written, self.count) = (0, 0);
        if let Some(found) = self.plain_line() {
            return Ok(Some(found));
        }
        (self.written, self.count) = (0, 0);
        let mut used = 0;
        loop {
            let input = &self.buffer[self.start + used..self.end];
            let (state, read, wrote, ended) =
                self.parser.read_record(input, &mut self.fields[self.written..], &mut self.ends[self.count..]);
            used += read;
            self.written += wrote;
            self.count += ended;
            match state {
                ReadRecordResult::Record => return Ok(Some(self.found(used))),
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if used > LIMIT => {
                    return self.give_up("the row is longer than 1 MiB").map(Some);
                }
                ReadRecordResult::InputEmpty => {
                    self.fill()?;
                }
            }
        }
    }

    /// The way of nearly all rows: a line in the buffer without a quote is taken apart at its delimiters. The header goes the long way,
    /// which knows the mark that may stand at the start of a file.
    fn plain_line(&mut self) -> Option<Found> {
        if !self.has_header {
            self.has_header = true;
            return None;
        }
        let unread = &self.buffer[self.start..self.end];
        let length = unread.iter().position(|byte| matches!(byte, b'\n' | b'\r' | b'"'))?;
        let line = &unread[..length];
        if unread[length] == b'"' || length > self.fields.len() {
            return None;
        }
        for field in line.split(|byte| *byte == self.delimiter) {
            let end = self.written + field.len();
            *self.ends.get_mut(self.count)? = end;
            self.fields[self.written..end].copy_from_slice(field);
            self.written = end;
            self.count += 1;
        }
        self.start += length;
        Some(Found::Record { line: self.line, last_line: self.line })
    }

    /// Passes over the record that ends `used` bytes on, unless it was held together by a wrong quote.
    fn found(&mut self, used: usize) -> Found {
        let record = without_end_of_line(&self.buffer[self.start..self.start + used]);
        let (line, inner) = (self.line, count_breaks(record));
        if inner > 0 && !is_well_quoted(record, self.delimiter) {
            self.retry_after_first_line();
            return Found::Broken { line, detail: "a quote in the row is not closed" };
        }
        self.start += record.len();
        self.line += inner;
        Found::Record { line, last_line: self.line }
    }

    /// Goes back to the end of the first line of the record just found.
    pub(super) fn retry_after_first_line(&mut self) {
        let (origin, line) = self.origin;
        let length = self.buffer[origin..self.end].iter().position(|byte| is_break(*byte));
        self.start = length.map_or(self.end, |length| origin + length);
        self.line = line;
        self.parser.reset();
    }

    /// Passes over the first line of a record that is too long to keep.
    fn give_up(&mut self, detail: &'static str) -> io::Result<Found> {
        while !self.unread().iter().any(|byte| is_break(*byte)) {
            self.start = self.end;
            if !self.fill()? {
                break;
            }
        }
        self.origin.0 = self.start;
        self.retry_after_first_line();
        Ok(Found::Broken { line: self.line, detail })
    }

    /// Stops at the first byte of a record; what ends the line before is passed over, and counted, here.
    fn skip_blank_lines(&mut self) -> io::Result<()> {
        while let Some(byte) = self.peek()?.filter(|byte| is_break(*byte)) {
            self.start += 1;
            // A \r\n is counted by its \n.
            if byte == b'\n' || self.peek()? != Some(b'\n') {
                self.line += 1;
            }
        }
        Ok(())
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.unread().is_empty() {
            self.fill()?;
        }
        Ok(self.unread().first().copied())
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads more; gives `false` at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.origin.0 = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R> Records<R> {
    /// All fields of the record just found, joined, if each is UTF-8.
    pub(super) fn text(&self) -> Option<&str> {
        let text = str::from_utf8(&self.fields[..self.written]).ok()?;
        self.ends[..self.count].iter().all(|end| text.is_char_boundary(*end)).then_some(text)
    }

    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// One field that is UTF-8 whatever the others are.
    pub(super) fn sound_field(&self, index: usize) -> Option<&str> {
        str::from_utf8(self.bytes(index)?).ok().map(restored)
    }

    fn bytes(&self, index: usize) -> Option<&[u8]> {
        let ends = &self.ends[..self.count];
        let start = if index == 0 { 0 } else { *ends.get(index - 1)? };
        self.fields.get(start..*ends.get(index)?)
    }

    /// The fields of the record just found; bytes that are no UTF-8 are replaced.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> {
        let fields = (0..self.count).filter_map(|index| self.bytes(index));
        fields.map(|field| restored(&String::from_utf8_lossy(field)).to_owned())
    }

    /// The first line of the record just found, as far as it is still known.
    pub(super) fn first_line(&self) -> String {
        let line = &self.buffer[self.origin.0..self.start];
        let end = line.iter().position(|byte| is_break(*byte)).unwrap_or(line.len());
        String::from_utf8_lossy(&line[..end]).into_owned()
    }

    /// How many fields the record just found has.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// One field out of the joined text.
    pub(super) fn field<'a>(&self, text: &'a str, index: usize) -> Option<&'a str> {
        let ends = &self.ends[..self.count];
        let start = if index == 0 { 0 } else { *ends.get(index - 1)? };
        text.get(start..*ends.get(index)?).map(restored)
    }
}

impl<R> std::fmt::Debug for Records<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("line", &self.line)
            .field("delimiter", &char::from(self.delimiter))
            .finish_non_exhaustive()
    }
}

/// Line ends are `\n`, `\r\n`, or `\r` alone.
fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn without_end_of_line(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn count_breaks(bytes: &[u8]) -> u64 {
    let next = bytes.iter().skip(1).chain(&[0]);
    bytes.iter().zip(next).map(|(byte, next)| u64::from(*byte == b'\n' || (*byte == b'\r' && *next != b'\n'))).sum()
}

/// The bytes outside quotes.
fn unquoted(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let mut quoted = false;
    bytes.iter().copied().filter(move |byte| {
        quoted ^= *byte == b'"';
        !quoted
    })
}

fn has_whole_line(bytes: &[u8]) -> bool {
    unquoted(bytes).any(is_break)
}

/// The separator that the first line has most of; a comma if it has none.
fn delimiter(bytes: &[u8]) -> u8 {
    let mut counts = [(b'\t', 0), (b';', 0), (b',', 0)];
    for byte in unquoted(bytes).skip_while(|byte| is_break(*byte)).take_while(|byte| !is_break(*byte)) {
        counts.iter_mut().filter(|(delimiter, _)| *delimiter == byte).for_each(|(_, count)| *count += 1);
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| delimiter)
}

/// Whether every quoted field is closed, right before a delimiter or the end of the record.
fn is_well_quoted(raw: &[u8], delimiter: u8) -> bool {
    let mut rest = raw;
    loop {
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let Some(after) = after_closing_quote(quoted) else { return false };
            rest = after;
            if !matches!(rest, [] | [b'\r' | b'\n', ..]) && rest.first() != Some(&delimiter) {
                return false;
            }
        }
        match rest.iter().position(|byte| *byte == delimiter) {
            Some(end) => rest = &rest[end + 1..],
            None => return true,
        }
    }
}

fn after_closing_quote(quoted: &[u8]) -> Option<&[u8]> {
    let mut rest = quoted;
    loop {
        let quote = rest.iter().position(|byte| *byte == b'"')?;
        rest = &rest[quote + 1..];
        match rest.strip_prefix(b"\"") {
            Some(escaped) => rest = escaped,
            None => return Some(rest),
        }
    }
}
