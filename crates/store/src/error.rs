//! What a database error means for the caller: one place, by SQLSTATE.

use longshore_core::ports::StoreError;

/// Sorts a driver error by what the caller can do about it. The text holds no parameter values.
#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
pub(crate) fn sort(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            let text = format!("{} (SQLSTATE {code})", database.message());
            match code.get(..2).unwrap_or_default() {
                // A row outside every partition is a lack of partitions, not bad data.
                "23" if &*code == "23514" && database.message().contains("no partition of relation") => {
                    StoreError::Unavailable(format!("{text}: create partitions with `longshore migrate up`"))
                }
                // Data exception, integrity violation, program limit (e.g. a key too large for its index).
                "22" | "23" | "54" => StoreError::Rejected(text),
                // Undefined object, bad credentials, no such database.
                "42" | "28" | "3D" | "3F" => StoreError::Misconfigured(text),
                // Connection lost, shutdown, resources, deadlock, lock or statement timeout, and whatever else
                // may pass by itself.
                _ => StoreError::Unavailable(text),
            }
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
            StoreError::Misconfigured(format!("unexpected row: {error}; is the schema this program's?"))
        }
        sqlx::Error::Configuration(_) => StoreError::Misconfigured(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// What a person has to put right.
#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
pub(crate) fn misconfigured(problem: impl ToString) -> StoreError {
    StoreError::Misconfigured(problem.to_string())
}
