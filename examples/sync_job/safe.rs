//! Text that came from outside, made harmless for whoever reads it.

/// Text without what could move, turn or hide other text on a terminal, or be taken for the end of the line: each UTF-16 unit of it
/// is written as an escape.
pub(crate) fn without_controls(text: &str, escape: impl Fn(u16) -> String) -> String {
    escaped(text, is_control, escape)
}

/// A line for a terminal: what cannot be seen is written as an escape too.
pub(crate) fn plain(line: &str) -> String {
    escaped(line, |char| is_control(char) || is_invisible(char), |unit| format!("\\u{{{unit:x}}}"))
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool, escape: impl Fn(u16) -> String) -> String {
    let mut clean = String::with_capacity(text.len());
    for char in text.chars() {
        if is_bad(char) {
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| clean.push_str(&escape(*unit)));
        } else {
            clean.push(char);
        }
    }
    clean
}

fn is_control(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0001}')
}

/// The joiners hold emoji together and shape names: they stay.
fn is_invisible(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}
