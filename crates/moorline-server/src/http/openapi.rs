//! This interface in OpenAPI 3.1, made of the handlers' own descriptions and the table of routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::response::{IntoResponse, Response};
use http::header;
use moorline::ErrorCode;
use serde_json::{Map, Value, json};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoResponses, PartialSchema as _, ToSchema as _};

use super::problem::ProblemBody;
use super::routes::Resource;
use super::schema;
use crate::keys::Scope;

const ABOUT: &str = "What applications ask of Moorline over HTTP. Connections of clients (`/ws`, `/ws/{room}`) are not \
                     part of it: they are WebSockets.";

/// What can be wrong: the name among the components, the status, and what it means.
type Row = (&'static str, u16, &'static str);

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $what:literal;)*) => {
        $(
            $(#[$doc])*
            pub(crate) enum $name {}

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
                    let reference = Ref::new(concat!("#/components/responses/", stringify!($name)));
                    BTreeMap::from([(stringify!($status).to_owned(), RefOr::Ref(reference))])
                }
            }
        )*

        /// What handlers name.
        const NAMED: &[Row] = &[$((stringify!($name), $status, $what),)*];
    };
}

problems! {
    /// For handlers that read anything of the request.
    Invalid = 400, "Something in the request is malformed or out of its bounds: the code and the text say what";
    /// For handlers of something that may not exist.
    Missing = 404, "There is no such thing";
    /// For handlers that may meet another state than the request supposes.
    Conflicting = 409, "The state of things does not allow it";
}

/// What any resource may answer.
const ANYWHERE: [Row; 5] = [
    ("Forbidden", 403, "The API key lacks the scope; in development: a page of another machine"),
    ("Late", 408, "The request was not complete in time"),
    ("TooBig", 413, "The body is over its limit"),
    ("Fault", 500, "A fault of the server's"),
    ("Unavailable", 503, "The server drains, or one of its bounds is reached: try again later"),
];

/// What those with a scope may answer besides.
const WITH_A_KEY: [Row; 2] = [
    ("NotAuthenticated", 401, "No API key, or one that is unknown, expired or revoked"),
    ("RateLimited", 429, "Too many requests of this API key"),
];

const SCHEME: &str = "api_key";

/// The document, ready to be sent.
#[derive(Clone)]
pub(crate) struct Document(Arc<str>);

impl Document {
    pub(crate) fn of(resources: &[Resource]) -> Self {
        Self(document(resources).into())
    }
}

/// This interface in OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "operation",
    responses((status = 200, description = "This document", body = Value)))]
pub(crate) async fn show(Extension(Document(text)): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response()
}

fn document(resources: &[Resource]) -> String {
    let mut paths = Map::new();
    for resource in resources {
        let described = serde_json::to_value(&resource.routes.1).unwrap_or_default();
        for (path, methods) in described.as_object().into_iter().flatten() {
            let item = paths.entry(path).or_insert_with(|| json!({}));
            for (method, operation) in methods.as_object().into_iter().flatten() {
                item[method] = complete(operation.clone(), resource.scope);
            }
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Moorline",
            "description": ABOUT,
            "version": "1",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas(resources),
            "responses": responses(),
            "securitySchemes": { SCHEME: {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key (`moorline keys create`) with the scope that the resource names: \
                                publish, read, manage, tokens or metrics. `moorline dev` wants none.",
            } },
        },
    });
    format!("{document:#}\n")
}

/// An operation with what its scope means, and with what every resource may answer.
fn complete(mut operation: Value, scope: Option<Scope>) -> Value {
    operation["security"] = scope.map_or_else(|| json!([]), |scope| json!([{ SCHEME: [scope.as_str()] }]));
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        never_null(&mut parameter["schema"]);
    }
    let with_a_key = WITH_A_KEY.iter().filter(|_| scope.is_some());
    for (name, status, _) in ANYWHERE.iter().chain(with_a_key) {
        let answer = &mut operation["responses"][status.to_string()];
        if answer.is_null() {
            *answer = json!({ "$ref": format!("#/components/responses/{name}") });
        }
    }
    operation
}

/// A parameter may be left out; null is nothing that stands in a URL or a header.
fn never_null(schema: &mut Value) {
    let other = schema["oneOf"].as_array().and_then(|kinds| kinds.iter().find(|kind| kind["type"] != "null"));
    if let Some(other) = other.cloned() {
        *schema = other;
    }
}

fn responses() -> Map<String, Value> {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let header =
        |what: &str, schema: Value| json!({ "description": what, "required": true, "schema": schema });
    NAMED
        .iter()
        .chain(&ANYWHERE)
        .chain(&WITH_A_KEY)
        .map(|(name, status, what)| {
            let mut response = json!({
                "description": what,
                "content": { "application/problem+json": { "schema": schema } },
            });
            response["headers"] = match status {
                401 => json!({ "WWW-Authenticate": header("`Bearer`", json!({ "type": "string" })) }),
                429 | 503 => json!({ "Retry-After":
                    header("Seconds until a later try may succeed", json!({ "type": "integer", "minimum": 1 })) }),
                _ => return ((*name).to_owned(), response),
            };
            ((*name).to_owned(), response)
        })
        .collect()
}

fn schemas(resources: &[Resource]) -> Map<String, Value> {
    let mut found = Vec::new();
    ProblemBody::schemas(&mut found);
    found.push(("Problem".to_owned(), ProblemBody::schema()));
    found.extend(resources.iter().flat_map(|resource| resource.routes.0.iter().cloned()));
    let mut all: BTreeMap<String, Value> = found
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()))
        .chain(schema::written())
        .collect();
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    if let Some(problem) = all.get_mut("Problem") {
        problem["properties"]["code"]["enum"] = json!(codes);
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::routes;
    use super::*;

    /// The committed document is the generated one; with MOORLINE_RENEW set it becomes it.
    #[test]
    fn the_committed_document_equals_the_generated_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/openapi.json");
        let ours = document(&routes::table());
        if std::env::var_os("MOORLINE_RENEW").is_some() {
            std::fs::write(&path, &ours).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
        assert!(
            committed == ours,
            "spec/openapi.json is of another time: MOORLINE_RENEW=1 cargo test -p moorline-server openapi"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = document(&routes::table());
        let document: Value = serde_json::from_str(&text).unwrap();
        let references = text.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap());
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_operation_says_what_it_is_and_what_it_answers() {
        let document: Value = serde_json::from_str(&document(&routes::table())).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(operation["summary"].is_string(), "{method} {path} has no summary");
                assert!(operation["responses"].as_object().unwrap().len() > ANYWHERE.len(), "{path}");
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let name = response["$ref"].as_str().and_then(|text| text.rsplit('/').next());
                    let row = NAMED
                        .iter()
                        .chain(&ANYWHERE)
                        .chain(&WITH_A_KEY)
                        .find(|(problem, ..)| Some(*problem) == name);
                    assert!(row.is_none_or(|(_, row, _)| row.to_string() == *status), "{path} {status}");
                }
            }
        }
    }
}
