//! Statistics.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use moorline::{Node, SessionFilter, Stats, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::schema;

/// Shows the node's totals.
#[utoipa::path(get, path = "/v1/stats", tag = "operation",
    responses((status = 200, description = "They", body = schema::Stats)))]
pub(crate) async fn stats(State(node): State<Node>) -> Json<Stats> {
    Json(node.stats().await)
}

/// How many are connected.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WsStats {
    total_connections: usize,
    total_users: usize,
    /// For up to 1,000 users.
    #[schema(value_type = BTreeMap<String, u64>)]
    connections_by_user: Map<String, Value>,
}

/// Shows what the managers before us called their statistics.
#[utoipa::path(get, path = "/ws/stats", tag = "operation",
    responses((status = 200, description = "They", body = WsStats)))]
pub(crate) async fn ws_stats(State(node): State<Node>) -> Json<WsStats> {
    let stats = node.stats().await;
    Json(WsStats {
        total_connections: stats.connections,
        total_users: stats.connected_users,
        connections_by_user: stats.connections_by_user,
    })
}

/// Who is connected.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WsStatus {
    active_connections: usize,
    /// By session, up to 1,000.
    connections: BTreeMap<String, WsConnection>,
}

/// One that is connected.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WsConnection {
    #[schema(required)]
    user_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    connected_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_heartbeat: Timestamp,
    reconnection_count: u32,
}

/// Shows connections, in the words of the managers before us.
#[utoipa::path(get, path = "/ws/status", tag = "operation",
    responses((status = 200, description = "They", body = WsStatus)))]
pub(crate) async fn ws_status(State(node): State<Node>) -> Json<WsStatus> {
    let filter = SessionFilter { connected: true, limit: SessionFilter::MAX, ..SessionFilter::default() };
    let sessions = node.sessions(filter).await.items.into_iter();
    let connections = sessions.map(|session| {
        let shown = WsConnection {
            user_id: session.user.map(|user| user.to_string()),
            connected_at: session.connected_at,
            last_heartbeat: session.last_heartbeat,
            reconnection_count: session.reconnection_count,
        };
        (session.session.to_string(), shown)
    });
    let connections = connections.collect();
    Json(WsStatus { active_connections: node.stats().await.connections, connections })
}
