//! Resource files.
