//! Says hello over HTTP, and which pod it is.

use std::io::Write;

use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (status, text) = match path.split('?').next().unwrap_or_default() {
            "/" => (200, greeting()),
            "/healthz" => (200, "ok\n".to_owned()),
            _ => (404, "not found\n".to_owned()),
        };
        answer(response, status, &text, matches!(request.method(), Method::Head));
    }
}

/// What `/` says: the greeting and the pod's name are taken from the environment.
fn greeting() -> String {
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello from a WebAssembly component".to_owned());
    match std::env::var("POD_NAME") {
        Ok(pod) => format!("{greeting} in pod {pod}\n"),
        Err(_) => format!("{greeting}\n"),
    }
}

/// Sends one plain-text response; a client that went away is not an error of ours.
fn answer(out: ResponseOutparam, status: u16, text: &str, head_only: bool) {
    let headers = Fields::new();
    let _ = headers.set("content-type", &[b"text/plain; charset=utf-8".to_vec()]);
    let _ = headers.set("content-length", &[text.len().to_string().into_bytes()]);
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    if !head_only && let Ok(mut stream) = body.write() {
        let _ = stream.write_all(text.as_bytes());
        let _ = stream.flush();
    }
    let _ = OutgoingBody::finish(body, None);
}
