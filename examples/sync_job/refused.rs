//! The rows that could not be used, as a file for those who keep the CRM.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use csv::{QuoteStyle, Terminator, WriterBuilder};
use wawp_contacts::crm::{CrmContact, Csv, Mapping, Refusal, RowError, defused};

use crate::{AnyError, args::write_whole, words};

/// What says to a spreadsheet that the text is UTF-8.
const UTF_8: &[u8] = b"\xef\xbb\xbf";
/// The columns that are ours.
const OURS: [&str; 2] = ["reason", "fix"];
/// What is known of a row whose export has no columns.
const KNOWN: [&str; 3] = ["line", "crm_id", "phone"];

/// Collects the rows that are refused, if somebody wants to have them.
pub(crate) struct Refused {
    path: Option<PathBuf>,
    rows: Mutex<Vec<Refusal>>,
}

impl Refused {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, rows: Mutex::new(Vec::new()) }
    }

    pub(crate) fn note(&self, refusal: &Refusal) {
        if self.path.is_some() {
            self.rows.lock().unwrap_or_else(PoisonError::into_inner).push(refusal.clone());
        }
    }

    /// Writes the file, if one was asked for; the export is read again for the rows as they stand there.
    pub(crate) fn write(&self, export: Option<&Path>, mapping: &Mapping) -> Result<(), AnyError> {
        let Some(path) = &self.path else { return Ok(()) };
        let rows = std::mem::take(&mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner));
        let export = export.filter(|export| !crate::export::is_json(export));
        let file = export.and_then(|export| File::open(export).ok()).filter(is_regular);
        let sheet = match file.map(|file| Csv::with_mapping(file, mapping)) {
            Some(Ok(csv)) => Sheet::of_columns(csv, &rows),
            _ => Sheet::of_known(rows),
        };
        sheet.save(path).map_err(|error| format!("the refused rows {}: {error}", path.display()).into())
    }
}

/// A pipe was read once, and has nothing more to say.
fn is_regular(file: &File) -> bool {
    file.metadata().is_ok_and(|data| data.is_file())
}

struct Sheet {
    delimiter: u8,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    /// What is known of the rows.
    fn of_known(refused: Vec<Refusal>) -> Self {
        let cells = |refusal: Refusal| {
            let line = refusal.line.map(|line| line.to_string()).unwrap_or_default();
            let phone = refusal.chat.as_ref().map(words::who).unwrap_or_default();
            let (cause, fix) = words::cause_and_fix(&refusal);
            vec![line, refusal.crm_id.unwrap_or_default(), phone, cause, fix]
        };
        let header = KNOWN.into_iter().chain(OURS).map(Into::into).collect();
        Self { delimiter: b',', header, rows: refused.into_iter().map(cells).collect() }
    }

    /// The rows as they stand in the export, in its order; then those that are not there.
    fn of_columns(mut csv: Csv<File>, refused: &[Refusal]) -> Self {
        let mut header = csv.header().to_vec();
        let full = header.len();
        // Such a file may come back as an export.
        if header.ends_with(&OURS.map(String::from)) {
            header.truncate(header.len() - OURS.len());
        }
        let (width, delimiter) = (header.len(), csv.delimiter());
        let mut found = Originals::find(&mut csv, refused);
        let mut rows: Vec<_> = refused.iter().map(|refusal| (found.take(refusal), refusal)).collect();
        rows.sort_by_key(|(original, _)| original.as_ref().map_or(usize::MAX, |original| original.at));
        let cells = |(original, refusal): (Option<Original>, &Refusal)| {
            let (mut cause, fix) = words::cause_and_fix(refusal);
            if original.is_none() {
                let known = [refusal.crm_id.clone(), refusal.chat.as_ref().map(words::who)];
                cause = known.into_iter().flatten().chain([cause]).collect::<Vec<_>>().join(": ");
            }
            let texts = original.map(|original| original.texts).unwrap_or_default();
            let mut row = in_columns(texts, full, delimiter);
            row.truncate(width);
            row.extend([cause, fix]);
            row
        };
        header.extend(OURS.map(Into::into));
        Self { delimiter, header, rows: rows.into_iter().map(cells).collect() }
    }

    /// Writes the file beside its place and moves it there, so that nobody finds half of it.
    fn save(&self, path: &Path) -> Result<(), AnyError> {
        let mut file = UTF_8.to_vec();
        // Each field is quoted, so that no separator of another country begins a new one.
        let mut writer = WriterBuilder::new()
            .delimiter(self.delimiter)
            .quote_style(QuoteStyle::Always)
            .terminator(Terminator::CRLF)
            .from_writer(&mut file);
        for row in std::iter::once(&self.header).chain(&self.rows) {
            writer.write_record(row.iter().map(|text| defused(text).into_owned()))?;
        }
        writer.flush()?;
        drop(writer);
        Ok(write_whole(path, &file)?)
    }
}

/// A record of the export, and where it stood.
struct Original {
    at: usize,
    version: Option<u64>,
    texts: Vec<String>,
}

/// The records of the export that were refused, as far as they are found again.
struct Originals {
    by_line: HashMap<u64, Original>,
    by_id: HashMap<String, Original>,
}

impl Originals {
    fn find(csv: &mut Csv<File>, refused: &[Refusal]) -> Self {
        let lines: HashMap<u64, &Refusal> =
            refused.iter().filter_map(|refusal| Some((refusal.line?, refusal))).collect();
        let later = refused.iter().filter(|refusal| refusal.line.is_none());
        let ids: HashSet<&str> = later.filter_map(|refusal| refusal.crm_id.as_deref()).collect();
        let (mut by_line, mut by_id) = (HashMap::new(), HashMap::<_, Original>::new());
        let mut at = 0;
        while let Some(row) = csv.next() {
            let texts = |csv: &Csv<File>, version| Original { at, version, texts: csv.record() };
            match row {
                Err(RowError::Refused(again)) => {
                    let line = again.line.filter(|line| lines.get(line).is_some_and(|known| is_same(known, &again)));
                    line.map(|line| by_line.insert(line, texts(csv, None)));
                }
                Ok(CrmContact { id, version, .. }) if ids.contains(id.as_str()) => {
                    // Of rows with one id, the newest counts, or else the last.
                    if by_id.get(&id).is_none_or(|known| version.is_none() || version >= known.version) {
                        by_id.insert(id, texts(csv, version));
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
            at += 1;
        }
        Self { by_line, by_id }
    }

    fn take(&mut self, refusal: &Refusal) -> Option<Original> {
        match refusal.line {
            Some(line) => self.by_line.remove(&line),
            None => self.by_id.remove(refusal.crm_id.as_deref()?),
        }
    }
}

/// Whether a row that is refused when it is read again is the one that was refused: the file may have changed.
fn is_same(one: &Refusal, other: &Refusal) -> bool {
    (one.reason, &one.crm_id, &one.chat) == (other.reason, &other.crm_id, &other.chat)
}

/// As many texts as there are columns; what is too much for them stands in the last one.
fn in_columns(mut texts: Vec<String>, width: usize, delimiter: u8) -> Vec<String> {
    if texts.len() > width && width > 0 {
        let rest = texts.split_off(width - 1).join(&char::from(delimiter).to_string());
        texts.push(rest.trim_end_matches(char::from(delimiter)).to_owned());
    }
    texts.resize(width, String::new());
    texts
}
