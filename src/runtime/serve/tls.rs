//! TLS by rustls: TLS 1.2 and 1.3, one certificate chain and key from PEM files, replaceable while running.
//!
//! An [`Identity`] is read before a port is bound, so that a wrong path, a key that does not fit, or an empty file is
//! a start-up error with its name. After a reload new handshakes use the new chain; sessions keep theirs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject as _},
        },
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

/// Protocols an HTTPS listener offers (RFC 7301, ALPN), preferred first.
pub const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// A certificate chain with its private key. Clones share what a reload brings.
#[derive(Clone, Debug)]
pub struct Identity {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
}

impl Identity {
    /// Reads the chain (leaf first) from `cert` and the private key from `key`, both PEM.
    ///
    /// # Errors
    /// [`Error`] names the file and what is wrong with it.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, Error> {
        let pair = read(cert, key)?;
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            current: Arc::new(Current(ArcSwap::from_pointee(pair))),
        })
    }

    /// Reads both files again; on an error the pair in use stays.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn reload(&self) -> Result<(), Error> {
        self.current.0.store(Arc::new(read(&self.cert, &self.key)?));
        Ok(())
    }

    /// What accepts TLS connections under this identity, offering the application protocols `alpn`: [`HTTP`], or none.
    pub fn acceptor(&self, alpn: &[&[u8]]) -> TlsAcceptor {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing, unreadable, or holds no PEM section of the wanted kind.
    #[error("no {what} in {}: {source}", path.display())]
    Pem {
        /// `certificate` or `private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the PEM reader said.
        source: pem::Error,
    },
    /// The key is of an unknown kind, or not the certificate's.
    #[error("{} and {} do not make a pair: {source}", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let pem = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Pem { what, path, source }
    };
    let chain =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(pem("certificate", cert))?;
    if chain.is_empty() {
        return Err(pem("certificate", cert)(pem::Error::NoItemsFound));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(pem("private key", key))?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|source| Error::Pair {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
