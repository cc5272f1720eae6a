//! Opening a stream for an application that knows how it stands.

use moorline_proto::error::Rejection;
use moorline_proto::frame::Answer;
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::stream::{Command, Expected, Lease, Open};

use crate::node::Node;

impl Node {
    /// Opens a stream where it stands as expected; where it does not, nothing is changed. It has the default lease. `sender` is whom
    /// it is opened for, as for [`Node::stream`].
    ///
    /// # Errors
    /// Says why it was not opened: `conflict` where nothing was expected, `at_mismatch` or `not_found` where a length was.
    pub async fn open_stream(
        &self,
        room: RoomName,
        stream: StreamName,
        expected: Expected,
        sender: &str,
    ) -> Result<Answer, Rejection> {
        let principal = format!("key/{sender}").into();
        let (data, except, lease) = (None, None, Lease::DEFAULT);
        let open = Open { principal, session: None, data, except, lease, expected };
        let command = Command::Open(Box::new(open));
        let done = self.broker().stream(room.clone(), stream.clone(), command).await;
        done.map(|done| Answer::of_stream(room, stream, &done)).map_err(|error| error.rejection())
    }
}
