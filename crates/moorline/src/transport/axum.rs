//! Upgrades as an extractor of axum 0.8.

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};

use super::UpgradeError;
use crate::handshake::Endpoint;
use crate::node::Node;

/// A request that wants to become a connection.
#[derive(Debug)]
pub struct Upgrade(http::Request<()>);

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _state: &S,
    ) -> Result<Self, Self::Rejection> {
        let mut request = http::Request::new(());
        request.method_mut().clone_from(&parts.method);
        request.uri_mut().clone_from(&parts.uri);
        *request.version_mut() = parts.version;
        request.headers_mut().clone_from(&parts.headers);
        if let Some(upgrade) = parts.extensions.remove::<hyper::upgrade::OnUpgrade>() {
            request.extensions_mut().insert(upgrade);
        }
        Ok(Self(request))
    }
}

impl Upgrade {
    /// Hands the connection to a node.
    ///
    /// # Errors
    /// Says why the request is no handshake for this node; the error is a response too.
    pub fn accept(mut self, node: &Node, endpoint: Endpoint) -> Result<Response, UpgradeError> {
        let response = node.upgrade(&mut self.0, endpoint)?;
        Ok(response.map(|()| axum_core::body::Body::empty()))
    }
}

impl IntoResponse for UpgradeError {
    fn into_response(self) -> Response {
        self.response().into_response()
    }
}
