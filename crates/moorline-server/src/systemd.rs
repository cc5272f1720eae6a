//! Stub.

use crate::settings::SettingsError;

pub(crate) fn inherited_listener() -> Result<Option<std::net::TcpListener>, SettingsError> {
    Ok(None)
}
pub(crate) fn ready() {}
pub(crate) fn reloading() {}
pub(crate) fn stopping() {}
