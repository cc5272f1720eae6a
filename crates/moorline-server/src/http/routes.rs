//! Every resource with the scope that it wants: one table, so that none is without.

use std::sync::Arc;

use axum::middleware;
use axum::routing::MethodRouter;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use super::{caller, health, metrics, openapi, publish, reload, rooms, sessions, stats, streams, tokens};
use crate::app::App;
use crate::keys::Scope;

/// One method of one path. Both stand at the handler, beside what it answers.
pub(crate) struct Resource {
    /// What a caller's key must have; none where anyone may call.
    pub(crate) scope: Option<Scope>,
    pub(crate) routes: UtoipaMethodRouter<App>,
}

impl Resource {
    /// The path, and what answers there: behind the gate where a scope is wanted.
    pub(crate) fn mount(self, gate: &Arc<caller::Gate>) -> (String, MethodRouter<App>) {
        let (_, paths, methods) = self.routes;
        let path = paths.paths.into_keys().next().unwrap_or_default();
        let methods = match self.scope {
            None => methods,
            Some(scope) => {
                methods.layer(middleware::from_fn_with_state((Arc::clone(gate), scope), caller::check))
            }
        };
        (path, methods)
    }
}

/// All of them (spec/protocol.md, section 8).
#[expect(clippy::cognitive_complexity, reason = "one table; the branches are those of `routes!`")]
pub(crate) fn table() -> Vec<Resource> {
    use Scope::{Manage, Metrics, Publish, Read, Tokens};
    let open = |routes| Resource { scope: None, routes };
    let keyed = |scope, routes| Resource { scope: Some(scope), routes };
    vec![
        keyed(Publish, routes!(publish::one)),
        keyed(Publish, routes!(publish::batch)),
        keyed(Read, routes!(sessions::list)),
        keyed(Read, routes!(sessions::show)),
        keyed(Manage, routes!(sessions::update)),
        keyed(Manage, routes!(sessions::end)),
        keyed(Manage, routes!(sessions::join)),
        keyed(Manage, routes!(sessions::leave)),
        keyed(Read, routes!(rooms::list)),
        keyed(Read, routes!(rooms::show)),
        keyed(Read, routes!(rooms::messages)),
        keyed(Manage, routes!(rooms::clear)),
        keyed(Publish, routes!(streams::open)),
        keyed(Read, routes!(streams::list)),
        keyed(Read, routes!(streams::show)),
        keyed(Publish, routes!(streams::append)),
        keyed(Publish, routes!(streams::end)),
        keyed(Publish, routes!(streams::cancel)),
        keyed(Publish, routes!(streams::put)),
        keyed(Read, routes!(sessions::user)),
        keyed(Manage, routes!(sessions::end_all)),
        keyed(Read, routes!(stats::stats)),
        keyed(Read, routes!(stats::ws_stats)),
        keyed(Read, routes!(stats::ws_status)),
        keyed(Manage, routes!(tokens::revoke_all)),
        keyed(Tokens, routes!(tokens::issue)),
        keyed(Manage, routes!(tokens::revoke)),
        keyed(Manage, routes!(reload::reload)),
        keyed(Metrics, routes!(metrics::scrape)),
        open(routes!(health::live)),
        open(routes!(health::ready)),
        open(routes!(openapi::show)),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Method, path and scope of each row of the spec's table.
    #[test]
    fn the_table_in_the_spec_equals_the_routes() {
        let spec = include_str!("../../../../spec/protocol.md");
        let section = |begins: &str| spec.split(begins).nth(1).unwrap().split("\n## ").next().unwrap();
        let rows: BTreeSet<(String, String)> = [section("\n## 8. HTTP"), section("\n## 12. Streams")]
            .iter()
            .flat_map(|section| section.lines())
            .filter_map(row)
            .collect();
        let ours: BTreeSet<(String, String)> = table_of_ours().collect();
        assert_eq!(rows, ours);
    }

    /// A row of a request; section 12 leaves out what all of its paths begin with.
    fn row(line: &str) -> Option<(String, String)> {
        const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let (request, scope) = (cells.next()?.trim_end_matches('`'), cells.next()?);
        let (method, path) = request.split('?').next()?.split(" {").next()?.split_once(' ')?;
        let path = path.replace('…', "/v1/rooms/{room}/streams");
        METHODS.contains(&method).then(|| (format!("{method} {path}"), scope.to_owned()))
    }

    fn table_of_ours() -> impl Iterator<Item = (String, String)> {
        super::table().into_iter().map(|resource| {
            let paths = serde_json::to_value(&resource.routes.1).unwrap();
            let (path, item) = paths.as_object().unwrap().iter().next().unwrap();
            let method = item.as_object().unwrap().keys().next().unwrap().to_uppercase();
            let scope = resource.scope.map_or("–", Scope::as_str);
            (format!("{method} {path}"), scope.to_owned())
        })
    }
}
