use std::{fmt, str::FromStr};

use super::clean;

/// The ordered stages of a CRM's funnel, each with the tag that shows it, or with none.
///
/// Reads from text: `Lead, Customer, Evangelist=VIP, Churned=` tags leads and customers by the names of their stages, evangelists as
/// `VIP`, and people who left not at all. Stages are found whatever their case; a stage that is not listed has no tag.
///
/// ```
/// use wawp_contacts::naming::Funnel;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let funnel: Funnel = "Lead, Customer, Evangelist=VIP, Churned=".parse()?;
/// assert_eq!(funnel.tag(" LEAD "), Some("Lead"));
/// assert_eq!(funnel.tag("evangelist"), Some("VIP"));
/// assert_eq!(funnel.tag("Churned"), None);
/// assert_eq!(funnel.tag("Subscriber"), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Funnel {
    stages: Vec<Stage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) name: Box<str>,
    pub(super) tag: Option<Box<str>>,
}

impl Funnel {
    /// A funnel without stages: no name is tagged.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a stage behind the others; a blank tag is none. Name and tag are [cleaned](clean).
    ///
    /// # Errors
    ///
    /// Fails if the name is blank or already there, or if the tag holds `[` or `]`, which belong to the [`Template`](super::Template).
    pub fn stage(mut self, name: &str, tag: Option<&str>) -> Result<Self, FunnelError> {
        let name = clean(name);
        if name.is_empty() {
            return Err(FunnelError::BlankStage);
        }
        if self.find(&name).is_some() {
            return Err(FunnelError::DuplicateStage(name.into()));
        }
        let tag = tag.map(clean).filter(|tag| !tag.is_empty());
        if let Some(tag) = tag.as_ref().filter(|tag| tag.contains(['[', ']'])) {
            return Err(FunnelError::BracketedTag(tag.as_ref().into()));
        }
        self.stages.push(Stage { name: name.into(), tag: tag.map(Into::into) });
        Ok(self)
    }

    /// The tag that shows a stage; `None` if it has none or is not listed.
    #[must_use]
    pub fn tag(&self, stage: &str) -> Option<&str> {
        self.find(&clean(stage))?.tag.as_deref()
    }

    /// The stages in their order, each with its tag.
    pub fn stages(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.stages.iter().map(|stage| (&*stage.name, stage.tag.as_deref()))
    }

    /// Finds a stage by its clean name.
    pub(super) fn find(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| is_same_stage(&stage.name, name))
    }
}

/// Compares without regard to case. Upper case, because it knows one sigma and spells out the sharp s.
fn is_same_stage(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    if one.is_ascii() && other.is_ascii() { one.eq_ignore_ascii_case(other) } else { upper(one).eq(upper(other)) }
}

pub(super) fn upper(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_uppercase)
}

/// As [`FromStr`](Self) reads it.
impl fmt::Display for Funnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, tag)) in self.stages().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{name}={}", tag.unwrap_or_default())?;
        }
        Ok(())
    }
}

impl FromStr for Funnel {
    type Err = FunnelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if clean(text).is_empty() {
            return Ok(Self::none());
        }
        text.split(',').try_fold(Self::none(), |funnel, entry| {
            let (name, tag) = entry.split_once('=').unwrap_or((entry, entry));
            funnel.stage(name, Some(tag))
        })
    }
}

/// Why a text is no funnel, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FunnelError {
    /// A stage without a name, for instance between two commas.
    #[error("a stage has no name; write the stages as `Lead, Customer, Evangelist=VIP`")]
    BlankStage,
    /// A stage is listed twice.
    #[error("the stage {0:?} is listed twice; list it once")]
    DuplicateStage(Box<str>),
    /// A tag holds a square bracket.
    #[error("the tag {0:?} holds a square bracket; write the tag alone, brackets come from the template")]
    BracketedTag(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stages_keep_their_order_and_tags() {
        let funnel: Funnel =
            " Lead ,Sales\u{A0}Qualified=SQL, Ambassadeur\u{301}= VIP , Churned=,לקוח".parse().unwrap();
        let stages: Vec<_> = funnel.stages().collect();
        assert_eq!(
            stages,
            [
                ("Lead", Some("Lead")),
                ("Sales Qualified", Some("SQL")),
                ("Ambassadeuŕ", Some("VIP")),
                ("Churned", None),
                ("לקוח", Some("לקוח"))
            ]
        );
        assert_eq!("A=b=c".parse::<Funnel>().unwrap().tag("a"), Some("b=c"));
    }

    #[test]
    fn a_stage_is_found_whatever_its_case() {
        let funnel: Funnel = "Lead, Πελάτης=Π, Straße=S, Ένας".parse().unwrap();
        for (stage, tag) in [
            ("LEAD", Some("Lead")),
            ("\tlead\u{200B}", Some("Lead")),
            ("ΠΕΛΆΤΗΣ", Some("Π")),
            ("STRASSE", Some("S")),
            ("Leads", None),
            ("", None),
        ] {
            assert_eq!(funnel.tag(stage), tag, "{stage:?}");
        }
    }

    #[test]
    fn a_blank_text_is_a_funnel_without_stages() {
        assert_eq!(" \n".parse(), Ok(Funnel::none()));
        assert_eq!(Funnel::none().tag("Lead"), None);
    }

    #[test]
    fn what_is_no_funnel_says_how_to_mend_it() {
        for (text, error) in [
            ("Lead,,Customer", FunnelError::BlankStage),
            ("Lead,", FunnelError::BlankStage),
            ("=VIP", FunnelError::BlankStage),
            ("Lead, Customer, lead=VIP", FunnelError::DuplicateStage("lead".into())),
            ("Lead=[L]", FunnelError::BracketedTag("[L]".into())),
        ] {
            assert_eq!(text.parse::<Funnel>(), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_finds_every_stage(text in any::<String>()) {
            if let Ok(funnel) = text.parse::<Funnel>() {
                for (stage, tag) in funnel.stages() {
                    prop_assert_eq!(funnel.tag(stage), tag);
                    prop_assert_eq!(funnel.tag(&format!(" {stage} ")), tag);
                }
            }
        }
    }
}
