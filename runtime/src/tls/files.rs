//! Certificates, keys and authorities in PEM files, and what rustls makes of them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls_native_certs::load_native_certs;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use x509_cert::{Certificate, der::Decode as _};

use super::renewal::{Built, Files};

/// Why files do not do: the setting that names the file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct Unusable {
    setting: &'static str,
    why: String,
}

/// A file, and the setting that named it.
#[derive(Clone, Debug)]
pub struct PemFile {
    /// The name of the setting, for whoever has to mend the file.
    pub setting: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// Who we are: a certificate with those between it and its authority, and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificates, ours first.
    pub cert: PemFile,
    /// The private key.
    pub key: PemFile,
}

/// What a door needs.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// What it shows.
    pub identity: Identity,
    /// Authorities for certificates of clients. A client may come without one, and whoever serves it decides what that
    /// means; one with another's certificate is refused. Without authorities no client is asked.
    pub client_ca: Option<PemFile>,
    /// What is spoken inside, as ALPN calls it, best first.
    pub protocols: &'static [&'static str],
}

/// What whoever dials needs.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The authorities that are trusted, and no others. Without it, those that the system trusts.
    pub ca: Option<PemFile>,
    /// What is shown to a server that asks.
    pub identity: Option<Identity>,
    /// What is spoken inside, as ALPN calls it, best first.
    pub protocols: &'static [&'static str],
}

impl PemFile {
    fn unusable(&self, why: impl std::fmt::Display) -> Unusable {
        Unusable { setting: self.setting, why: format!("{}: {why}", self.path.display()) }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Unusable> {
        let found = CertificateDer::pem_file_iter(&self.path).map_err(|error| self.unusable(error))?;
        let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| self.unusable(error))?;
        if found.is_empty() { Err(self.unusable("there is no certificate in it")) } else { Ok(found) }
    }

    fn authorities(&self) -> Result<RootCertStore, Unusable> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.unusable(error))?;
        }
        Ok(roots)
    }
}

impl Identity {
    /// Of two settings and what they are. Nothing if neither is set; one without the other does not do.
    pub fn of(
        (cert, cert_path): (&'static str, Option<&PathBuf>),
        (key, key_path): (&'static str, Option<&PathBuf>),
    ) -> Result<Option<Self>, Unusable> {
        let missing = |setting, other| {
            Err(Unusable { setting, why: format!("it is needed too, since {other} is set") })
        };
        match (cert_path.cloned(), key_path.cloned()) {
            (None, None) => Ok(None),
            (Some(_), None) => missing(key, cert),
            (None, Some(_)) => missing(cert, key),
            (Some(cert_path), Some(key_path)) => Ok(Some(Self {
                cert: PemFile { setting: cert, path: cert_path },
                key: PemFile { setting: key, path: key_path },
            })),
        }
    }

    fn load(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Unusable> {
        let chain = self.cert.certificates()?;
        let key = PrivateKeyDer::from_pem_file(&self.key.path).map_err(|error| self.key.unusable(error))?;
        Ok((chain, key))
    }

    /// When the first of `chain` expires.
    fn expiry(&self, chain: &[CertificateDer<'_>]) -> Result<SystemTime, Unusable> {
        let ours = Certificate::from_der(&chain[0]).map_err(|error| self.cert.unusable(error))?;
        let since_epoch: Duration = ours.tbs_certificate.validity.not_after.to_unix_duration();
        Ok(SystemTime::UNIX_EPOCH + since_epoch)
    }

    /// For what rustls finds wrong with the two together.
    fn mismatched(&self, error: impl std::fmt::Display) -> Unusable {
        self.key.unusable(format_args!("not with the certificate of {}: {error}", self.cert.setting))
    }
}

impl Files for ServerFiles {
    type Config = ServerConfig;

    fn paths(&self) -> Vec<&Path> {
        let files = [Some(&self.identity.cert), Some(&self.identity.key), self.client_ca.as_ref()];
        files.into_iter().flatten().map(|file| file.path.as_path()).collect()
    }

    fn name(&self) -> &'static str {
        self.identity.cert.setting
    }

    fn build(&self) -> Result<Built<ServerConfig>, Unusable> {
        let (chain, key) = self.identity.load()?;
        let expires = self.identity.expiry(&chain)?;
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().expect("ring speaks TLS 1.2 and 1.3");
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(ca.authorities()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| ca.unusable(error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| self.identity.mismatched(error))?;
        config.alpn_protocols = alpn(self.protocols);
        Ok(Built { config, expires: Some(expires) })
    }
}

impl Files for ClientFiles {
    type Config = ClientConfig;

    fn paths(&self) -> Vec<&Path> {
        let identity = self.identity.as_ref();
        let files = [
            self.ca.as_ref(),
            identity.map(|identity| &identity.cert),
            identity.map(|identity| &identity.key),
        ];
        files.into_iter().flatten().map(|file| file.path.as_path()).collect()
    }

    fn name(&self) -> &'static str {
        let file = self.identity.as_ref().map(|identity| &identity.cert).or(self.ca.as_ref());
        file.map_or("the system's authorities", |file| file.setting)
    }

    fn build(&self) -> Result<Built<ClientConfig>, Unusable> {
        let roots = if let Some(ca) = &self.ca {
            ca.authorities()?
        } else {
            let mut roots = RootCertStore::empty();
            // Some that cannot be read do no harm: whoever needs them is told by the handshake.
            roots.add_parsable_certificates(load_native_certs().certs);
            roots
        };
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().expect("ring speaks TLS 1.2 and 1.3");
        let builder = builder.with_root_certificates(roots);
        let (mut config, expires) = match &self.identity {
            None => (builder.with_no_client_auth(), None),
            Some(identity) => {
                let (chain, key) = identity.load()?;
                let expires = identity.expiry(&chain)?;
                let built = builder.with_client_auth_cert(chain, key);
                (built.map_err(|error| identity.mismatched(error))?, Some(expires))
            }
        };
        config.alpn_protocols = alpn(self.protocols);
        Ok(Built { config, expires })
    }
}

/// The one provider that is built in. Said each time: rustls panics when it has to choose.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn alpn(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}
