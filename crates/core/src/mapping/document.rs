//! A JSON body in which paths are found without reading what is beside them; values keep the producer's bytes.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::path::{BodyPath, index};

/// A valid JSON document.
#[derive(Debug)]
pub struct Document<'b> {
    root: &'b RawValue,
    /// The members of the body itself: most paths begin there.
    members: OnceCell<Option<Members<'b>>>,
}

impl<'b> Document<'b> {
    /// Checks a body.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn parse(body: &'b [u8]) -> Result<Self, serde_json::Error> {
        Ok(Self { root: serde_json::from_slice(body)?, members: OnceCell::new() })
    }

    /// The value at a path, its white space included; `null` is no value.
    #[must_use]
    pub fn at(&self, path: &BodyPath) -> Option<&'b RawValue> {
        let found = match path.segments() {
            [] => Some(self.root),
            segments => match self.members.get_or_init(|| Members::of(self.root)) {
                Some(members) => members.find(segments),
                None => find(self.root, segments),
            },
        };
        found.filter(|value| value.get() != "null")
    }

    /// The document at a path, for what is inside it.
    #[must_use]
    pub fn inside(&self, path: &BodyPath) -> Option<Self> {
        self.at(path).map(|root| Self { root, members: OnceCell::new() })
    }

    /// The value of a member of the body itself, its name as it stands; `null` is no value.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&'b RawValue> {
        let members = self.members.get_or_init(|| Members::of(self.root)).as_ref()?;
        members.get(name).filter(|value| value.get() != "null")
    }

    /// The members of the body itself, in order; `None` when it is no object.
    #[must_use]
    pub fn members(&self) -> Option<&[(Cow<'b, str>, &'b RawValue)]> {
        self.members.get_or_init(|| Members::of(self.root)).as_ref().map(|Members(members)| &members[..])
    }
}

fn find<'b>(value: &'b RawValue, segments: &[String]) -> Option<&'b RawValue> {
    let Some((first, rest)) = segments.split_first() else { return Some(value) };
    match value.get().as_bytes().first()? {
        b'{' => Members::of(value)?.find(segments),
        b'[' => {
            let element =
                serde_json::from_str::<Elements<'b>>(value.get()).ok()?.0.get(index(first)?).copied()?;
            find(element, rest)
        }
        _ => None,
    }
}

#[derive(Debug)]
struct Members<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'b> Members<'b> {
    fn of(value: &'b RawValue) -> Option<Self> {
        value.get().starts_with('{').then(|| serde_json::from_str(value.get()).ok()).flatten()
    }

    fn get(&self, name: &str) -> Option<&'b RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    fn find(&self, segments: &[String]) -> Option<&'b RawValue> {
        let has_dots = self.0.iter().any(|(key, _)| key.contains('.'));
        let longest = if has_dots { segments.len() } else { 1 };
        (1..=longest).find_map(|count| {
            let (name, rest) = segments.split_at(count);
            let name = if count == 1 { Cow::from(&name[0]) } else { Cow::from(name.join(".")) };
            find(self.get(&name)?, rest)
        })
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A key, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Name<'b>(#[serde(borrow)] Cow<'b, str>);

struct Elements<'b>(Vec<&'b RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'de>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}
