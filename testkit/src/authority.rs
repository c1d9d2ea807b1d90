//! A certificate authority of one test, and whoever trusts it.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use crate::PATIENCE;

/// Issues certificates; trusted by whoever is given its file, which ends with it.
#[derive(Debug)]
pub struct Authority {
    name: String,
    issued: AtomicUsize,
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    own: CertificateDer<'static>,
}

impl Authority {
    /// A new one, unknown to everyone. It issues certificates for `name`.
    pub fn of(name: &str) -> Self {
        let (folder, key) = (TempDir::new().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::default();
        // Authorities are told apart by their names.
        params.distinguished_name.push(DnType::CommonName, folder.path().display().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("authority.pem"), certificate.pem()).unwrap();
        Self {
            name: name.to_owned(),
            issued: AtomicUsize::new(0),
            folder,
            own: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Its own certificate, as PEM.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A certificate and its key: the names of their files, which nobody else reads.
    pub fn issue(&self) -> (String, String) {
        self.issue_with(|_| {})
    }

    /// One that expired years ago.
    pub fn issue_expired(&self) -> (String, String) {
        self.issue_with(|params| params.not_after = date_time_ymd(2001, 1, 1))
    }

    fn issue_with(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![self.name.clone()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let n = self.issued.fetch_add(1, Ordering::Relaxed);
        let keep = |kind: &str, pem: String| {
            let file = self.folder.path().join(format!("{n}.{kind}"));
            std::fs::write(&file, pem).unwrap();
            file.display().to_string()
        };
        (keep("pem", certificate.pem()), keep("key", key.serialize_pem()))
    }

    /// Whoever trusts this authority and nobody else.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A TLS connection to `address` (host and port), whose certificate is to be ours.
    pub async fn connect(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
        let (tcp, name) =
            (TcpStream::connect(address).await?, ServerName::try_from(self.name.clone()).unwrap());
        TlsConnector::from(self.client()).connect(name, tcp).await
    }

    /// The whole answer to an HTTPS GET; nothing if there is none, or nobody who has a certificate of ours.
    pub async fn https_get(&self, address: &str, path: &str) -> Option<String> {
        let mut stream = self.connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.ok()?.ok()?;
        Some(answer)
    }
}
