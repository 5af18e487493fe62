//! TLS: what is trusted, who we are, and errors that say what to do.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    RootCertStore, SignatureScheme,
};

use crate::error::{Error, TlsReason};

/// What was configured, as PEM.
pub struct Options {
    /// The authorities to trust; the system's without them.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate chain and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    pub verify: bool,
}

/// All that a connection to one server needs.
pub struct ClientSetup {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl ClientSetup {
    pub fn new(options: &Options, server_name: &str) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| translate(&error))?;
        let builder = if options.verify {
            builder.with_root_certificates(roots(options.ca.as_deref())?)
        } else {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        };
        let config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(
                    certificates(chain, "the client certificate")?,
                    private_key(key)?,
                )
                .map_err(|error| {
                    configuration(format!(
                        "the client certificate and its key are refused: {error}"
                    ))
                })?,
        };
        let server_name = ServerName::try_from(server_name.to_owned()).map_err(|_| {
            configuration(format!(
                "{server_name:?} is no name that a certificate could have"
            ))
        })?;
        Ok(Self {
            config: Arc::new(config),
            server_name,
        })
    }

    pub fn client(self) -> Result<ClientConnection, Error> {
        ClientConnection::new(self.config, self.server_name).map_err(|error| translate(&error))
    }
}

fn configuration(message: String) -> Error {
    Error::Tls {
        reason: TlsReason::Configuration,
        message,
    }
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found =
        found.map_err(|error| configuration(format!("{what} is no readable PEM: {error}")))?;
    if found.is_empty() {
        return Err(configuration(format!("{what} holds no PEM certificate")));
    }
    Ok(found)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        configuration(
            "the client key is no unencrypted PEM key (PKCS#1, PKCS#8 or SEC1)".to_owned(),
        )
    })
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in certificates(pem, "the CA")? {
                store.add(certificate).map_err(|error| {
                    configuration(format!("a CA certificate is refused: {error}"))
                })?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if store.is_empty() {
        return Err(configuration(
            "the system trusts no authority: set ssl.ca.location".to_owned(),
        ));
    }
    Ok(store)
}

/// Says what a TLS failure means and what to do next.
pub fn translate(error: &rustls::Error) -> Error {
    use CertificateError as Bad;
    use rustls::Error as Tls;
    let (reason, advice) = match error {
        Tls::InvalidCertificate(Bad::UnknownIssuer) => (
            TlsReason::UnknownIssuer,
            "no trusted authority has issued the broker's certificate: set ssl.ca.location",
        ),
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => (
            TlsReason::NameMismatch,
            "the broker's certificate is for another host name than the one connected to",
        ),
        Tls::InvalidCertificate(
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. },
        ) => (
            TlsReason::Expired,
            "the broker's certificate is expired, or not valid yet by this machine's clock",
        ),
        Tls::InvalidCertificate(_) => (
            TlsReason::BadCertificate,
            "the broker's certificate is not accepted",
        ),
        Tls::InvalidMessage(_) => (
            TlsReason::NotTls,
            "the listener speaks no TLS: check security.protocol and the port",
        ),
        Tls::AlertReceived(alert) if is_about_us(*alert) => (
            TlsReason::ClientCertificate,
            "the broker asks for a client certificate that it trusts",
        ),
        _ => (TlsReason::Other, "TLS failed"),
    };
    Error::Tls {
        reason,
        message: format!("{advice} ({error})"),
    }
}

fn is_about_us(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// Accepts every certificate, as `enable.ssl.certificate.verification=false` asks.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
