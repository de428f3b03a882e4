use std::{fmt, str::FromStr};

use unicode_normalization::char::is_combining_mark;

use super::clean;

/// How a tag is written next to a name: `{base} [{tag}]` unless told otherwise.
///
/// Holds `{base}` and `{tag}` once each, in either order, and a sign such as a bracket or a dash between them, so that the tag can be
/// told from the name when it comes back: `{base} - {tag}`, `[{tag}] {base}`, `({tag}) {base}`.
///
/// ```
/// use wawp_contacts::naming::{Template, TemplateError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let template: Template = "({tag}) {base}".parse()?;
/// assert_eq!(template.to_string(), "({tag}) {base}");
/// assert_eq!("{base} {tag}".parse::<Template>(), Err(TemplateError::NoSign));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    before: Box<str>,
    between: Box<str>,
    after: Box<str>,
    tag_first: bool,
}

const BASE: &str = "{base}";
const TAG: &str = "{tag}";

impl Template {
    /// What stands in front of the base and what behind it, for one tag.
    pub(super) fn around(&self, tag: &str) -> (String, String) {
        let Self { before, between, after, .. } = self;
        if self.tag_first {
            ([before, tag, between].concat(), after.to_string())
        } else {
            (before.to_string(), [between, tag, after].concat())
        }
    }
}

impl Default for Template {
    fn default() -> Self {
        Self { before: "".into(), between: " [".into(), after: "]".into(), tag_first: false }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = clean(text);
        let base = text.find(BASE).ok_or(TemplateError::NoBase)?;
        let tag = text.find(TAG).ok_or(TemplateError::NoTag)?;
        let tag_first = tag < base;
        let (first, second) = if tag_first { (TAG, BASE) } else { (BASE, TAG) };
        let (start, end) = (base.min(tag), base.max(tag));
        let (before, between, after) = (&text[..start], &text[start + first.len()..end], &text[end + second.len()..]);
        check(before, between, after)?;
        Ok(Self { before: before.into(), between: between.into(), after: after.into(), tag_first })
    }
}

fn check(before: &str, between: &str, after: &str) -> Result<(), TemplateError> {
    let is_letter = |character: &char| character.is_alphanumeric() || is_combining_mark(*character);
    if [before, between, after].iter().any(|text| text.contains(['{', '}'])) {
        return Err(TemplateError::Placeholder);
    }
    if !between.chars().any(|character| !character.is_whitespace() && !is_letter(&character)) {
        return Err(TemplateError::NoSign);
    }
    // Next to a letter, a name could grow together with the template: a mark or a Hangul vowel composes with what precedes it.
    let ahead = [before, between].map(|text| text.chars().next_back().filter(|last| last.is_alphanumeric()));
    let behind = [between, after].map(|text| text.chars().next().filter(is_letter));
    if ahead.into_iter().chain(behind).flatten().next().is_some() {
        return Err(TemplateError::Letter);
    }
    Ok(())
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = if self.tag_first { (TAG, BASE) } else { (BASE, TAG) };
        let Self { before, between, after, .. } = self;
        write!(f, "{before}{first}{between}{second}{after}")
    }
}

/// Why a text is no template, and how to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// `{base}` is missing.
    #[error("the template has no {{base}}; write it as `{{base}} [{{tag}}]`")]
    NoBase,
    /// `{tag}` is missing.
    #[error("the template has no {{tag}}; write it as `{{base}} [{{tag}}]`")]
    NoTag,
    /// A brace that is neither the one `{base}` nor the one `{tag}`.
    #[error("the template may hold {{base}} and {{tag}} once each and no other brace")]
    Placeholder,
    /// Nothing but letters and spaces between `{base}` and `{tag}`.
    #[error("nothing tells the tag from the name; put a sign such as [ or - between {{base}} and {{tag}}")]
    NoSign,
    /// A letter or digit right beside `{base}` or `{tag}`.
    #[error("a letter stands right beside {{base}} or {{tag}}; put a space or a sign in between")]
    Letter,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_template_is_read_and_written() {
        assert_eq!("{base} [{tag}]".parse(), Ok(Template::default()));
        for (text, before, after) in [
            ("{base} - {tag}", "", " - VIP"),
            ("[{tag}] {base}", "[VIP] ", ""),
            ("({tag}){base}", "(VIP)", ""),
            ("★ {base} (stage: {tag})", "★ ", " (stage: VIP)"),
            ("{base} 🏷\u{FE0F}{tag}", "", " 🏷\u{FE0F}VIP"),
        ] {
            let template: Template = text.parse().unwrap();
            assert_eq!(template.around("VIP"), (before.to_owned(), after.to_owned()), "{text}");
            assert_eq!(template.to_string(), text);
        }
        assert_eq!("  {base}\u{A0} [{tag}]\n".parse(), Ok(Template::default()));
    }

    #[test]
    fn what_is_no_template_says_how_to_mend_it() {
        for (text, error) in [
            ("", TemplateError::NoBase),
            ("[{tag}]", TemplateError::NoBase),
            ("{base}", TemplateError::NoTag),
            ("{base} [{tag}] [{tag}]", TemplateError::Placeholder),
            ("{base} {base} [{tag}]", TemplateError::Placeholder),
            ("{base} [{tag}] {name}", TemplateError::Placeholder),
            ("{base}{tag}", TemplateError::NoSign),
            ("{base} {tag}", TemplateError::NoSign),
            ("[{tag} {base}]", TemplateError::NoSign),
            ("{base} as {tag}", TemplateError::NoSign),
            ("Dr{base} [{tag}]", TemplateError::Letter),
            ("{base}, a{tag}", TemplateError::Letter),
            ("{base}a: {tag}", TemplateError::Letter),
            ("{base}: {tag}s", TemplateError::Letter),
        ] {
            assert_eq!(text.parse::<Template>(), Err(error), "{text:?}");
        }
        assert!(TemplateError::NoBase.to_string().contains("`{base} [{tag}]`"));
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_writes_back(text in "(\\{base\\}|\\{tag\\}|[\\[\\] -]|\\PC){2,6}") {
            if let Ok(template) = text.parse::<Template>() {
                prop_assert_eq!(template.to_string(), clean(&text).into_owned());
            }
        }
    }
}
