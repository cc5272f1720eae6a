//! Statistics and health.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use moorline::{Node, SessionFilter, Stats};
use serde_json::{Map, Value, json};

pub(crate) async fn stats(State(node): State<Node>) -> Json<Stats> {
    Json(node.stats().await)
}

/// What the managers before us called their statistics.
pub(crate) async fn ws_stats(State(node): State<Node>) -> Json<Value> {
    let stats = node.stats().await;
    Json(json!({
        "total_connections": stats.connections,
        "total_users": stats.connected_users,
        "connections_by_user": stats.connections_by_user,
    }))
}

pub(crate) async fn ws_status(State(node): State<Node>) -> Json<Value> {
    let filter = SessionFilter { connected: true, limit: SessionFilter::MAX, ..SessionFilter::default() };
    let connections: Map<String, Value> = node
        .sessions(filter)
        .await
        .items
        .into_iter()
        .map(|session| {
            let shown = json!({
                "user_id": session.user,
                "connected_at": session.connected_at,
                "last_heartbeat": session.last_heartbeat,
                "reconnection_count": session.reconnection_count,
            });
            (session.session.to_string(), shown)
        })
        .collect();
    Json(json!({ "active_connections": node.stats().await.connections, "connections": connections }))
}

pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

pub(crate) async fn ready(State(node): State<Node>) -> (StatusCode, Json<Value>) {
    if node.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "draining" })))
    } else {
        (StatusCode::OK, Json(json!({ "status": "ok" })))
    }
}
