//! How text stands on a terminal: its width, its colours, columns that fit.

use std::{env::var, io::IsTerminal, io::stdout};

use console::{Style, Term};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// The width of what is no terminal.
const WIDTH: usize = 100;
/// How far the lines of a group stand behind its heading, and the rest of a heading behind its start.
const INDENT: usize = 2;
const HANG: usize = 4;
const GAP: usize = 2;

/// Where text for a person goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    width: usize,
    has_colours: bool,
    is_terminal: bool,
}

/// What a text is painted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Heading,
    Good,
    Care,
    Bad,
}

/// One cell of a table, whose text is safe to show.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Text(String),
    /// Shown in quotes, and cut short where the line is too narrow.
    Name(String),
    /// Goes on in the lines below; the last column only.
    Prose(String),
}

impl Cell {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Name(text) | Self::Prose(text) => text,
        }
    }

    fn width(&self) -> usize {
        self.text().width() + if matches!(self, Self::Name(_)) { 2 } else { 0 }
    }

    /// How narrow it may become.
    fn least(&self) -> usize {
        self.width().min(match self {
            Self::Text(_) => 20,
            Self::Name(_) => 8,
            Self::Prose(_) => 16,
        })
    }
}

impl Screen {
    pub(crate) fn of_stdout() -> Self {
        let is_terminal = stdout().is_terminal();
        let term = Term::stdout();
        let width = term.size_checked().map(|(_, columns)| usize::from(columns)).filter(|_| is_terminal);
        let is_wanted = var("NO_COLOR").map_or(true, |text| text.is_empty()) && var("TERM").as_deref() != Ok("dumb");
        let has_colours = is_terminal && is_wanted && (cfg!(unix) || term.features().colors_supported());
        Self { width: width.filter(|width| *width > 0).unwrap_or(WIDTH), has_colours, is_terminal }
    }

    pub(crate) fn paint(self, ink: Ink, text: &str) -> String {
        let style = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Heading => Style::new().bold(),
            Ink::Good => Style::new().bold().green(),
            Ink::Care => Style::new().bold().yellow(),
            Ink::Bad => Style::new().bold().red(),
        };
        style.force_styling(self.has_colours).apply_to(text).to_string()
    }

    /// A text over as many lines as it takes, each painted; all but the first are indented.
    pub(crate) fn heading(self, ink: Ink, text: &str) -> Vec<String> {
        let lines = wrapped(text, self.width.saturating_sub(HANG));
        let indent = |(n, line): (usize, String)| {
            format!("{}{}", " ".repeat(if n == 0 { 0 } else { HANG }), self.paint(ink, &line))
        };
        lines.into_iter().enumerate().map(indent).collect()
    }

    /// The same below a heading, without paint.
    pub(crate) fn below(self, depth: usize, text: &str) -> Vec<String> {
        let indent = " ".repeat(INDENT * depth);
        let lines = wrapped(text, self.width.saturating_sub(indent.len()));
        lines.into_iter().map(|line| format!("{indent}{line}")).collect()
    }

    /// Rows of cells, each column as wide as its widest cell as far as the screen allows.
    pub(crate) fn table(self, depth: usize, rows: &[Vec<Cell>]) -> Vec<String> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let most = |measure: fn(&Cell) -> usize| -> Vec<usize> {
            (0..columns).map(|at| rows.iter().filter_map(|row| row.get(at)).map(measure).max().unwrap_or(0)).collect()
        };
        let indent = INDENT * depth;
        let room = self.width.saturating_sub(indent + GAP * columns.saturating_sub(1));
        let widths = fitted(most(Cell::width), &most(Cell::least), room);
        rows.iter().flat_map(|row| self.row(indent, row, &widths)).collect()
    }

    fn row(self, indent: usize, row: &[Cell], widths: &[usize]) -> Vec<String> {
        let (mut line, mut column, mut rest) = (" ".repeat(indent), indent, Vec::new());
        for (cell, width) in row.iter().zip(widths) {
            let (text, taken) = match cell {
                Cell::Text(text) => measured(cut(text, *width)),
                Cell::Name(name) => self.quoted(name, *width),
                Cell::Prose(text) => {
                    let mut lines = wrapped(text, *width).into_iter();
                    let first = lines.next().unwrap_or_default();
                    rest = lines.map(|line| format!("{}{line}", " ".repeat(column))).collect();
                    measured(first)
                }
            };
            line += &text;
            line += &" ".repeat(width.saturating_sub(taken) + GAP);
            column += width + GAP;
        }
        line.truncate(line.trim_end().len());
        [vec![line], rest].concat()
    }

    /// A name in quotes, and how wide that is. On a terminal, one that runs from right to left turns nothing beside it.
    fn quoted(self, name: &str, width: usize) -> (String, usize) {
        let (text, taken) = measured(format!("\"{}\"", cut(name, width.saturating_sub(2))));
        let is_turned = self.is_terminal && name.chars().any(runs_leftwards);
        (if is_turned { format!("\u{2068}{text}\u{2069}") } else { text }, taken)
    }
}

fn measured(text: String) -> (String, usize) {
    let width = text.width();
    (text, width)
}

/// Makes the widest column narrower until all fit, or none may give more.
fn fitted(mut widths: Vec<usize>, least: &[usize], room: usize) -> Vec<usize> {
    while widths.iter().sum::<usize>() > room {
        let giving = widths.iter_mut().zip(least).filter(|(width, least)| **width > **least);
        let Some((widest, _)) = giving.max_by_key(|(width, _)| **width) else { break };
        *widest -= 1;
    }
    widths
}

/// A text of at most this width, with an ellipsis where its end is left out.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (start, _) = split(text, width.saturating_sub(1));
    format!("{start}…")
}

/// The longest start of a text that is not wider, and the rest; no character is torn apart.
fn split(text: &str, width: usize) -> (&str, &str) {
    let mut taken = 0;
    for (at, cluster) in text.grapheme_indices(true) {
        taken += cluster.width();
        if taken > width {
            return text.split_at(at);
        }
    }
    (text, "")
}

/// A text in lines of at most this width, broken between words where that is possible, and not between a number and what it counts.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for mut words in counted(text) {
        if !line.is_empty() && line.width() + 1 + words.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        while line.is_empty() && words.width() > width.max(2) {
            let (start, rest) = split(&words, width.max(2));
            lines.push(start.to_owned());
            words = rest.to_owned();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += &words;
    }
    lines.push(line);
    lines
}

/// The words of a text; a number and the word behind it are one.
fn counted(text: &str) -> Vec<String> {
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match words.last_mut().filter(|last| is_number(last)) {
            Some(number) => number.extend([" ", word]),
            None => words.push(word.to_owned()),
        }
    }
    words
}

/// Whether a character is of a script that runs from right to left.
fn runs_leftwards(char: char) -> bool {
    matches!(char,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}'
        | '\u{1e800}'..='\u{1efff}')
}
