//! From the texts of one row to a contact or a refusal.

#[cfg(feature = "phone")]
use std::collections::HashMap;

use super::{
    CrmContact, Mapping, Refusal, RefusalReason,
    mapping::{Field, PerField},
    version,
};
use crate::ChatId;
#[cfg(feature = "phone")]
use crate::{Phone, Region, contact::is_international};

/// The texts of one row.
pub(super) type Texts<'a> = PerField<Option<&'a str>>;

/// Turns texts into contacts, the same way for every source.
#[derive(Debug)]
pub(super) struct RowReader {
    #[cfg(feature = "phone")]
    countries: Countries,
}

impl RowReader {
    pub(super) fn new(mapping: &Mapping) -> Self {
        #[cfg(not(feature = "phone"))]
        let _ = mapping;
        Self {
            #[cfg(feature = "phone")]
            countries: Countries { default: mapping.region, seen: HashMap::new() },
        }
    }

    pub(super) fn read(&mut self, line: u64, texts: &Texts<'_>) -> Result<CrmContact, Refusal> {
        let id = filled(texts, Field::Id);
        let refusal = |(reason, detail)| Refusal::new(reason, detail).at_line(line).of_row(id);
        let Some(id) = id else {
            let no_id = refusal((RefusalReason::NoId, "the row has no id; give it the CRM's own".into()));
            return Err(no_id.claiming(self.person(texts).ok()));
        };
        let chat = self.person(texts).map_err(refusal)?;
        let (first, last) = names(texts);
        Ok(CrmContact {
            id: id.into(),
            chat,
            first: first.into(),
            last: last.into(),
            stage: filled(texts, Field::Stage).map(Into::into),
            version: filled(texts, Field::Version).and_then(version::parse),
        })
    }

    /// The chat id if there is one, else the first phone that is one: WhatsApp, mobile, phone.
    fn person(&mut self, texts: &Texts<'_>) -> Result<ChatId, (RefusalReason, String)> {
        if let Some(text) = filled(texts, Field::Chat) {
            return text
                .parse()
                .map_err(|error| (RefusalReason::BadPhone, format!("the chat id cannot be used: {error}")));
        }
        let mut refusal = None;
        for (field, what) in [(Field::WhatsApp, "WhatsApp number"), (Field::Mobile, "mobile"), (Field::Phone, "phone")]
        {
            let Some(text) = filled(texts, field) else { continue };
            match self.chat(text, filled(texts, Field::Country)) {
                Ok(chat) => return Ok(chat),
                Err(error) => {
                    refusal =
                        refusal.or(Some((RefusalReason::BadPhone, format!("the {what} cannot be used: {error}"))));
                }
            }
        }
        Err(refusal.unwrap_or((RefusalReason::NoPhone, "the row has no phone and no chat id; give it one".into())))
    }

    #[cfg(feature = "phone")]
    fn chat(&mut self, text: &str, country: Option<&str>) -> Result<ChatId, String> {
        if text.contains('@') {
            return text.parse().map_err(|error: crate::contact::ParseChatIdError| error.to_string());
        }
        match self.countries.region(country) {
            Ok(Some(region)) => Phone::in_region(text, region).map(Into::into).map_err(|error| error.to_string()),
            Err(unknown) if !is_international(text) => Err(unknown),
            _ => text.parse().map_err(|error: crate::contact::ParseChatIdError| error.to_string()),
        }
    }

    #[cfg(not(feature = "phone"))]
    #[expect(clippy::unused_self, reason = "the same call as with the feature `phone`")]
    fn chat(&mut self, text: &str, _: Option<&str>) -> Result<ChatId, String> {
        text.parse().map_err(|error: crate::contact::ParseChatIdError| error.to_string())
    }
}

/// The text of a field, trimmed, unless it is blank.
pub(super) fn filled<'a>(texts: &Texts<'a>, field: Field) -> Option<&'a str> {
    texts[field as usize].map(str::trim).filter(|text| !text.is_empty())
}

/// First and last name; a row that has neither is called by its whole name, which is not taken apart.
fn names<'a>(texts: &Texts<'a>) -> (&'a str, &'a str) {
    let text = |field: Field| texts[field as usize].unwrap_or_default();
    match (filled(texts, Field::First), filled(texts, Field::Last), filled(texts, Field::Full)) {
        (None, None, Some(full)) => (full, ""),
        _ => (text(Field::First), text(Field::Last)),
    }
}

/// Regions by the texts of the country column: there are few, and many rows.
#[cfg(feature = "phone")]
#[derive(Debug)]
struct Countries {
    default: Option<Region>,
    seen: HashMap<String, Option<Region>>,
}

#[cfg(feature = "phone")]
impl Countries {
    /// Enough for every spelling of every country; a column of other texts must not fill the memory.
    const REMEMBERED: usize = 4096;

    fn region(&mut self, country: Option<&str>) -> Result<Option<Region>, String> {
        let Some(country) = country else { return Ok(self.default) };
        let known = if let Some(known) = self.seen.get(country) {
            *known
        } else {
            let known = country.parse().ok();
            if self.seen.len() < Self::REMEMBERED {
                self.seen.insert(country.to_owned(), known);
            }
            known
        };
        known.map(Some).ok_or_else(|| "the country is not known; write the phone with + and the country code".into())
    }
}
