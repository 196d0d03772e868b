//! API keys as they are stored: hashed with a pepper that outlives the master key.
//!
//! A hash cannot be made anew without the key's text, so what it is made with must never change. It is a secret of
//! its own therefore, kept sealed in the database: rotating the master key seals it anew and touches no API key.
//! Invariant: an installation has one pepper for ever. It begins as what its first master key derives, with which
//! earlier versions hashed.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use longshore_core::ports::StoreError;
use rand::{Rng, TryRngCore};
use sha2::Sha256;
use uuid::Uuid;

use crate::connect::Store;
use crate::error::{misconfigured, sort};

/// The row of `installation_secrets`.
const PEPPER: Uuid = Uuid::from_u128(1);

/// Hashes API keys; cheap to clone.
#[derive(Clone)]
pub struct ApiKeyHasher(Hmac<Sha256>);

impl ApiKeyHasher {
    /// A hasher with that pepper.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn new(pepper: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(pepper).expect("HMAC takes keys of any length"))
    }

    /// The hash under which an API key is stored: HMAC-SHA256. Keys are 64 random characters, so a slow hash would
    /// protect nothing that this does not.
    #[must_use]
    pub fn hash(&self, key: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(key.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// What the tokens of portal links begin with.
pub const PORTAL_PREFIX: &str = "PRT.";

/// The text of an API key, `CO.<16 characters>.<64 characters>`, or of a portal link's token, `PRT.….…`. It shows itself
/// to nobody who does not ask.
pub struct ApiKeyText(String);

impl ApiKeyText {
    /// A new one.
    pub fn generate(rng: &mut impl Rng) -> Self {
        Self::beginning("CO.", rng)
    }

    /// A new token of a portal link.
    pub fn generate_portal(rng: &mut impl Rng) -> Self {
        Self::beginning(PORTAL_PREFIX, rng)
    }

    fn beginning(prefix: &str, rng: &mut impl Rng) -> Self {
        let mut letters = |count: usize| -> String {
            (0..count).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
        };
        let mask = letters(16);
        Self(format!("{prefix}{mask}.{}", letters(64)))
    }

    /// The part that may be shown, to tell keys apart.
    #[must_use]
    pub fn mask(&self) -> &str {
        self.0.split('.').nth(1).unwrap_or_default()
    }

    /// All of it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyText([redacted])")
    }
}

impl fmt::Debug for ApiKeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyHasher([redacted])")
    }
}

impl Store {
    /// What hashes this installation's API keys; makes its pepper when it has none yet.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Misconfigured`] when the master key is not the one that things were sealed with.
    pub async fn api_key_hasher(&self) -> Result<ApiKeyHasher, StoreError> {
        if let Some(hasher) = self.stored_hasher().await? {
            return Ok(hasher);
        }
        let pepper = self.first_pepper().await?;
        let mut random = rand::rngs::OsRng.unwrap_err();
        let sealed = self.keys().seal(&pepper, PEPPER.as_bytes(), &mut random).map_err(misconfigured)?;
        // Whoever comes first makes it; the others take that one.
        sqlx::query!(
            "INSERT INTO installation_secrets (id, name, sealed) VALUES ($1, 'api_key_pepper', $2)
             ON CONFLICT (id) DO NOTHING",
            PEPPER,
            sealed
        )
        .execute(self.pool())
        .await
        .map_err(sort)?;
        let stored = self.stored_hasher().await?;
        stored.ok_or_else(|| StoreError::Unavailable("the API keys' pepper was deleted meanwhile".to_owned()))
    }

    async fn stored_hasher(&self) -> Result<Option<ApiKeyHasher>, StoreError> {
        let sealed = sqlx::query_scalar!("SELECT sealed FROM installation_secrets WHERE id = $1", PEPPER)
            .fetch_optional(self.pool())
            .await
            .map_err(sort)?;
        let Some(sealed) = sealed else { return Ok(None) };
        let pepper = self.keys().open(&sealed, PEPPER.as_bytes()).map_err(misconfigured)?;
        let pepper: [u8; 32] =
            pepper.try_into().map_err(|_| misconfigured("the API keys' pepper is damaged"))?;
        Ok(Some(ApiKeyHasher::new(&pepper)))
    }

    /// What the keys that are there already were hashed with: that of the master key of the time.
    async fn first_pepper(&self) -> Result<[u8; 32], StoreError> {
        let keys = self.keys();
        // Without this a wrong master key would go unnoticed here, and would never recognise an API key.
        let sample = self.oldest_sealed().await?;
        let has_api_keys = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM api_keys) AS "any!""#)
            .fetch_one(self.pool())
            .await
            .map_err(sort)?;
        let under = match sample {
            Some(sample) if !sample.names_its_key => sample.key,
            _ if keys.previous().next().is_none() || !has_api_keys => keys.current(),
            _ => {
                return Err(misconfigured(
                    "this database's API keys were hashed under one of the master keys, and nothing says which; start \
                     one process with that key alone as `security.master_key`, once",
                ));
            }
        };
        keys.api_key_pepper(under).ok_or_else(|| misconfigured("the master key is gone"))
    }
}
