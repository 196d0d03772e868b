//! Resource files: read, compared with what is stored, shown.
//!
//! | module | holds |
//! |---|---|
//! | [`document`] | the file as it is written |
//! | [`read`] | text to document; a fault has its line |
//! | [`wanted`] | document to resources; every other fault, at once |
//! | [`plan`] | what differs, pure |
//! | [`show`] | a plan for people, without secrets |
//!
//! What it does not do: SQL. Invariant: nothing is written before everything has been validated.

pub(crate) mod document;
pub(crate) mod plan;
pub(crate) mod read;
pub(crate) mod show;
pub(crate) mod wanted;

#[cfg(test)]
mod tests;
