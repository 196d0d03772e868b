//! Structured mode: the JSON event format.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use longshore_core::mapping::Document;
use longshore_core::{json, media};
use serde_json::value::RawValue;

use super::attributes::{Attributes, fault};
use super::{Payload, not_plain, payload};
use crate::ingest::fields::Undecodable;
use crate::ingest::mapped::{NULL, media_type};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The attributes and the data of an event.
pub(super) fn read<'m>(
    document: &Document<'m>,
    body: &Bytes,
) -> Result<(Attributes<'m>, Payload), Undecodable> {
    let members = document
        .members()
        .ok_or_else(|| Undecodable::message("the body must be a JSON object: a CloudEvent"))?;
    let mut attributes = Attributes::default();
    let (mut data, mut data_base64) = (None, None);
    for (name, value) in members {
        // Null is the same as absent.
        if value.get() == "null" {
            continue;
        }
        let slot = match name.as_ref() {
            _ if name.eq_ignore_ascii_case("data") => &mut data,
            _ if name.eq_ignore_ascii_case("data_base64") => &mut data_base64,
            _ => {
                attribute(&mut attributes, name, value)?;
                continue;
            }
        };
        if slot.replace(*value).is_some() {
            return Err(Undecodable::field(name.to_ascii_lowercase(), "is there twice: send it once"));
        }
    }
    let data = match (data, data_base64) {
        (Some(_), Some(_)) => {
            return Err(Undecodable::field("data_base64", "cannot be there beside `data`: send one of them"));
        }
        (Some(data), None) => of_json(data, attributes.get("datacontenttype"), body)?,
        (None, Some(data)) => of_base64(data, attributes.get("datacontenttype"))?,
        (None, None) => (Bytes::from_static(NULL), None),
    };
    Ok((attributes, data))
}

fn attribute<'m>(
    attributes: &mut Attributes<'m>,
    name: &str,
    value: &'m RawValue,
) -> Result<(), Undecodable> {
    if !value.get().starts_with('"') {
        return attributes.json(name, value);
    }
    let text = serde_json::from_str::<String>(value.get());
    attributes.text(name, Cow::Owned(text.map_err(|_| fault(name, "is not Unicode text"))?))
}

/// JSON stays as the producer wrote it; data of another media type is a JSON string that holds it.
fn of_json(data: &RawValue, content_type: Option<&str>, body: &Bytes) -> Result<Payload, Undecodable> {
    let Some(content_type) = content_type.filter(|text| !media::is_json(text)) else {
        let compact = json::compact(body.slice_ref(data.get().as_bytes()));
        return Ok((compact, content_type.map(not_plain).transpose()?.flatten()));
    };
    let problem = "must be a string, or `data_base64`, since `datacontenttype` is not JSON";
    let text: String = serde_json::from_str(data.get()).map_err(|_| Undecodable::field("data", problem))?;
    Ok((text.into(), Some(media_type("datacontenttype", content_type)?)))
}

fn of_base64(data: &RawValue, content_type: Option<&str>) -> Result<Payload, Undecodable> {
    let fault = || Undecodable::field("data_base64", "must be base64 with the standard alphabet");
    let text: String = serde_json::from_str(data.get()).map_err(|_| fault())?;
    let bytes = BASE64.decode(text).map_err(|_| fault())?;
    payload(bytes.into(), content_type, "data_base64")
}
