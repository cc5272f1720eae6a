//! What may be wrong where a request brought no answer.

use std::error::Error;
use std::io::{self, ErrorKind};

const NOBODY: &str = "is the server running there? (--url says where)";
const OTHER_SCHEME: &str =
    "it does not speak as expected: does --url say http:// where it is https://, or the other way round?";
const CERTIFICATE: &str = "its certificate is not trusted for that name: a certificate of your own is named with --ca FILE, and must \
     not be a CA certificate itself (basicConstraints CA:FALSE), or name the CA that signed it";

/// What to look at, by the kinds of what went wrong.
pub(super) fn advice(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        return NOBODY;
    }
    of_causes(error).unwrap_or(if error.is_request() && !error.is_connect() { OTHER_SCHEME } else { NOBODY })
}

/// What the causes say about it; none where it is not about what is spoken.
fn of_causes(error: &(dyn Error + 'static)) -> Option<&'static str> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(of_cause)
}

fn of_cause(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => CERTIFICATE,
            _ => OTHER_SCHEME,
        });
    }
    let error = error.downcast_ref::<io::Error>()?;
    // What is in it is not among its causes: those begin behind that.
    let inner = error.get_ref().and_then(|inner| of_causes(inner));
    let is_cut = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
    inner.or(is_cut.then_some(OTHER_SCHEME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_tell_certificates_from_other_protocols() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(of_causes(&io::Error::other(unknown)), Some(CERTIFICATE));
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(of_causes(&io::Error::new(ErrorKind::InvalidData, plain)), Some(OTHER_SCHEME));
        assert_eq!(of_causes(&io::Error::from(ErrorKind::UnexpectedEof)), Some(OTHER_SCHEME));
        assert_eq!(of_causes(&io::Error::from(ErrorKind::ConnectionRefused)), None);
    }
}
