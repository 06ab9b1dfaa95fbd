//! `/openapi/v2` and `/openapi/v3`.
use crate::{core::Core, endpoints::Context, respond};
use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::json;
/// v2
pub fn v2(_core: &Core, _context: &Context) -> Response<Body> {
    respond::json(StatusCode::OK, &json!({}))
}
/// index
pub fn index(_core: &Core) -> Response<Body> {
    respond::json(StatusCode::OK, &json!({"paths": {}}))
}
/// document
pub fn document(_core: &Core, _context: &Context, _path: &str) -> Option<Response<Body>> {
    None
}
