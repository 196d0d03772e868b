//! Rolling an endpoint's secret: a new one signs at once, the old ones beside it for a while.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::CryptoRng;

use crate::secret::Secret;
use crate::signature::SigningKey;

/// Secrets of one endpoint that may sign at the same time. Each adds a signature to every request.
pub const MAX_LIVE_SECRETS: usize = 5;

/// The old secrets may go on for a year at most.
pub const LONGEST_OVERLAP: Duration = Duration::from_secs(365 * 86_400);

/// What sort of secret is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyType {
    /// A shared secret, `whsec_…`.
    #[default]
    Hmac,
    /// A private key, `whsk_…`; receivers verify with the public one.
    Ed25519,
}

impl KeyType {
    /// A new secret of that sort.
    #[must_use]
    pub fn generate(self, rng: &mut impl CryptoRng) -> Secret<String> {
        Secret::new(match self {
            Self::Hmac => SigningKey::generate(rng),
            Self::Ed25519 => SigningKey::generate_asymmetric(rng),
        })
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
        })
    }
}

impl FromStr for KeyType {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hmac" => Ok(Self::Hmac),
            "ed25519" => Ok(Self::Ed25519),
            _ => Err("expected `hmac` or `ed25519`"),
        }
    }
}

/// Why the old secrets cannot go on for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`expiration` must be 0 to 8760 hours, for which the old secrets go on signing")]
pub struct ExpirationError;

/// The v1 contract's `expiration` of a roll: whole *hours* for which the old secrets go on signing; 0 ends them at once.
///
/// # Errors
/// [`ExpirationError`] when it is negative or more than a year.
pub fn contract_expiration(hours: i64) -> Result<Duration, ExpirationError> {
    let hours = u64::try_from(hours).map_err(|_| ExpirationError)?;
    let seconds = hours.checked_mul(3_600).ok_or(ExpirationError)?;
    Some(Duration::from_secs(seconds)).filter(|overlap| *overlap <= LONGEST_OVERLAP).ok_or(ExpirationError)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_contracts_expiration_is_in_hours() {
        assert_eq!(contract_expiration(0), Ok(Duration::ZERO));
        assert_eq!(contract_expiration(24), Ok(Duration::from_secs(86_400)));
        assert_eq!(contract_expiration(8_760), Ok(LONGEST_OVERLAP));
        for refused in [-1, i64::MIN, 8_761, i64::MAX] {
            assert_eq!(contract_expiration(refused), Err(ExpirationError), "{refused}");
        }
    }

    #[test]
    fn each_sort_of_secret_can_sign_and_only_one_has_a_public_half() {
        for (key_type, has_public_key) in [(KeyType::Hmac, false), (KeyType::Ed25519, true)] {
            let secret = key_type.generate(&mut StdRng::seed_from_u64(1));
            let key = SigningKey::parse(secret.expose()).unwrap();
            assert_eq!(key.public_key().is_some(), has_public_key);
            assert_eq!(key.public_key_id().is_some(), has_public_key);
            assert_eq!(key_type.to_string().parse(), Ok(key_type));
        }
    }

    #[test]
    fn a_public_keys_id_is_its_own() {
        let key = |seed| {
            let secret = KeyType::Ed25519.generate(&mut StdRng::seed_from_u64(seed));
            SigningKey::parse(secret.expose()).unwrap().public_key_id().unwrap()
        };

        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
        assert_eq!(key(1).len(), 16);
    }
}
