//! TLS towards receivers: whom we trust and who we say we are.
//!
//! Receivers are verified always, by the operating system's roots or by an endpoint's own authorities instead. What it
//! does not do: connect. Invariant: what [`client_certificate`] and [`authorities`] accept makes a configuration.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::Timestamp;
use longshore_core::endpoint::ClientCertificate;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::trust::Either;

/// What is the same for every connection.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    public: Arc<dyn ServerCertVerifier>,
}

/// Whom a connection trusts besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// An endpoint's authorities instead of the public ones.
    Own,
    /// An endpoint's authorities and the public ones: for an authorization server, which may have either.
    Both,
}

impl Tls {
    /// # Errors
    /// For lack of root certificates.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let public = Arc::new(Verifier::new(Arc::clone(&provider))?);
        Ok(Self { provider, public })
    }

    /// The configuration of connections to an endpoint; without ALPN.
    ///
    /// # Errors
    /// What is wrong with certificate or authorities.
    pub(super) fn configure(
        &self,
        certificate: Option<&ClientCertificate>,
        ca: Option<&str>,
        trust: Trust,
    ) -> Result<ClientConfig, String> {
        let verifier = match ca {
            None => Arc::clone(&self.public),
            Some(ca) => {
                let roots = Arc::new(authorities(ca).map_err(|problem| format!("`ca`: {problem}"))?);
                let own = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
                    .build()
                    .map_err(|error| format!("`ca`: {error}"))?;
                match trust {
                    Trust::Own => own as Arc<dyn ServerCertVerifier>,
                    Trust::Both => Arc::new(Either { first: own, second: Arc::clone(&self.public) }),
                }
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous() // the name of the method: our verifiers verify
            .with_custom_certificate_verifier(verifier);
        match certificate {
            None => Ok(builder.with_no_client_auth()),
            Some(pair) => {
                let (chain, key) =
                    read(pair).map_err(|problem| format!("`client_certificate`: {problem}"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("`client_certificate`: {error}"))
            }
        }
    }
}

fn read(pair: &ClientCertificate) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(&pair.certificate).map_err(|problem| format!("`certificate`: {problem}"))?;
    // Whatever the reader says may show what it read.
    let key = PrivateKeyDer::from_pem_slice(pair.key.expose().as_bytes())
        .map_err(|_| "`key`: no private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)".to_owned())?;
    Ok((chain, key))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("no certificate in PEM (`-----BEGIN CERTIFICATE-----`)".to_owned()),
    }
}

/// Checks a client certificate: both parts can be read and belong together. Returns when its first certificate expires.
///
/// # Errors
/// What is wrong, without the key.
pub fn client_certificate(pair: &ClientCertificate) -> Result<Timestamp, String> {
    let (chain, key) = read(pair)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain.clone(), key, &provider)
        .map_err(|error| format!("`key` does not fit `certificate`: {error}"))?;
    let first = chain.first().map_or(&[][..], |certificate| certificate);
    expiry(first).ok_or_else(|| "`certificate`: not an X.509 certificate".to_owned())
}

/// Reads the authorities of an endpoint.
///
/// # Errors
/// What is wrong with the PEM.
pub fn authorities(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(pem)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| format!("certificate {}: {error}", index + 1))?;
    }
    Ok(roots)
}

fn expiry(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Some(Timestamp::EPOCH.after(Duration::from_secs(seconds)))
}
