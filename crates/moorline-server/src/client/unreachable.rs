//! What may be wrong where a request brought no answer.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::IpAddr;

const CERTIFICATE: &str = "its certificate is not trusted for that name: a certificate of your own is named with --ca FILE, and must \
     not be a CA certificate itself (basicConstraints CA:FALSE), or name the CA that signed it";

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nobody,
    OtherScheme,
    Certificate,
    /// Our own address cannot be used, or not for that server.
    Source,
}

/// What to look at, by the kinds of what went wrong. The server's address was given by `named`, and our own is `from`.
pub(super) fn advice(error: &reqwest::Error, named: &str, from: Option<IpAddr>) -> String {
    match (fault(error), from) {
        (Fault::Certificate, _) => CERTIFICATE.to_owned(),
        (Fault::OtherScheme, _) => format!(
            "it does not speak as expected: does {named} say http:// where it is https://, or the other way round?"
        ),
        (Fault::Source, Some(from)) => {
            format!("is {from} (--from) an address of this machine that leads there, with ports left?")
        }
        (Fault::Source | Fault::Nobody, _) => format!("is the server running there? ({named} says where)"),
    }
}

fn fault(error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        return Fault::Nobody;
    }
    let speaks_otherwise = error.is_request() && !error.is_connect();
    of_causes(error).unwrap_or(if speaks_otherwise { Fault::OtherScheme } else { Fault::Nobody })
}

/// What the causes say about it; none where it is not about what is spoken.
fn of_causes(error: &(dyn Error + 'static)) -> Option<Fault> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(of_cause)
}

fn of_cause(error: &(dyn Error + 'static)) -> Option<Fault> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                Fault::Certificate
            }
            _ => Fault::OtherScheme,
        });
    }
    let error = error.downcast_ref::<io::Error>()?;
    // What is in it is not among its causes: those begin behind that.
    let inner = error.get_ref().and_then(|inner| of_causes(inner));
    inner.or(match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Some(Fault::OtherScheme),
        // The last one: our address is of the other family (IPv4, IPv6).
        ErrorKind::AddrNotAvailable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::InvalidInput
        | ErrorKind::NotConnected => Some(Fault::Source),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_tell_certificates_from_other_protocols() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(of_causes(&io::Error::other(unknown)), Some(Fault::Certificate));
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(of_causes(&io::Error::new(ErrorKind::InvalidData, plain)), Some(Fault::OtherScheme));
        assert_eq!(of_causes(&io::Error::from(ErrorKind::UnexpectedEof)), Some(Fault::OtherScheme));
        assert_eq!(of_causes(&io::Error::from(ErrorKind::AddrNotAvailable)), Some(Fault::Source));
        assert_eq!(of_causes(&io::Error::from(ErrorKind::ConnectionRefused)), None);
    }
}
