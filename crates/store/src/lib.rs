//! Postgres, all of it: the only crate that names sqlx.
pub mod seal;
