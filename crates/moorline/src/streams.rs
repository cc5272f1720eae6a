//! Streams: one way for clients and applications.

use std::sync::Arc;

use moorline_proto::error::Rejection;
use moorline_proto::frame::{Answer, StreamAct};
use moorline_proto::id::{RoomName, StreamName};
use moorline_proto::stream::StreamView;

use crate::node::Node;

impl Node {
    /// Asks something of a stream; without a name it gets one. `sender` is whom it is asked for: an API key's name, a service's.
    ///
    /// # Errors
    /// Says why it was not done. Repeating what a server's fault left unanswered does no harm.
    pub async fn stream(
        &self,
        room: RoomName,
        stream: Option<StreamName>,
        act: StreamAct,
        sender: &str,
    ) -> Result<Answer, Rejection> {
        let stream = match stream {
            Some(stream) => stream,
            None => moorline_proto::codec::id(StreamName::new(&uuid::Uuid::now_v7().to_string()), "stream")?,
        };
        let principal: Arc<str> = format!("key/{sender}").into();
        let done =
            self.broker().stream(room.clone(), stream.clone(), act.command(principal, None, None)).await;
        done.map(|done| Answer::of_stream(room, stream, &done)).map_err(|error| error.rejection())
    }

    /// The open streams of a room, sorted, without their texts.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn open_streams(&self, room: &RoomName) -> Result<Vec<StreamView>, Rejection> {
        self.broker().open_streams(room.clone()).await.map_err(|error| error.rejection())
    }

    /// One stream, as far as readers may see it; none where it is not kept.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn view_stream(
        &self,
        room: &RoomName,
        stream: &StreamName,
    ) -> Result<Option<StreamView>, Rejection> {
        self.broker().view_stream(room.clone(), stream.clone()).await.map_err(|error| error.rejection())
    }
}
