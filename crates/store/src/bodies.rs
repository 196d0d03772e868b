//! A column of bodies as one parameter, which says beforehand how much room it takes.
//!
//! The client gathers a statement's parameters in one buffer. Grown step by step, it is copied again and again, and for
//! a moment exists twice; with bodies of megabytes that moment is what a process's memory is measured by.

use sqlx::Postgres;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo};
use sqlx::types::Type;

/// Room for the parameters around the bodies, when these are large.
const AROUND: usize = 16 * 1024;

/// A `bytea[]`.
#[derive(Debug, Default)]
pub(crate) struct Bodies<'a>(pub(crate) Vec<&'a [u8]>);

impl Type<Postgres> for Bodies<'_> {
    fn type_info() -> PgTypeInfo {
        <[&[u8]] as Type<Postgres>>::type_info()
    }
}

impl<'q> Encode<'q, Postgres> for Bodies<'q> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <Vec<&'q [u8]> as Encode<'q, Postgres>>::encode_by_ref(&self.0, buffer)
    }

    fn size_hint(&self) -> usize {
        let bytes: usize = self.0.iter().map(|body| 4 + body.len()).sum();
        bytes + bytes / 8 + AROUND
    }
}
