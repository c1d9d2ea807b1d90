//! What went wrong between two ends, for a log and for `/readyz`: in words of ours, which name no address.

use std::{error::Error, io};

use tokio_rustls::rustls::{
    self, AlertDescription as Alert, CertificateError as Bad, InvalidMessage, PeerIncompatible,
};

/// What an error of a connection says about TLS; nothing if it says nothing. The other end is "it".
pub fn words(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref());
        if let Some(said) = inner.or_else(|| error.downcast_ref()) {
            return Some(meaning(said));
        }
        next = error.source();
    }
    None
}

fn meaning(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "its certificate comes from an authority that is not trusted here",
            Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "its certificate is not valid yet",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is for another name than the one that was dialled"
            }
            _ => "its certificate is not valid",
        },
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => "it does not speak TLS",
        rustls::Error::AlertReceived(alert) => match *alert {
            Alert::UnknownCA => "our certificate comes from an authority that it does not trust",
            Alert::CertificateExpired => "our certificate has expired",
            Alert::CertificateRequired => "it asks for a certificate of ours",
            Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate => {
                "it does not accept our certificate"
            }
            Alert::NoApplicationProtocol => "it does not speak what is spoken here over TLS",
            _ => "it broke off the TLS handshake",
        },
        rustls::Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => {
            "it does not accept our kind of certificate"
        }
        _ => "TLS is not agreed with it",
    }
}
