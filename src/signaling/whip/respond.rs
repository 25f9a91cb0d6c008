//! The answers of an endpoint.

use http::StatusCode;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CONTENT_TYPE, HeaderName,
    HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};

use super::{Response, SDP};

/// What a page may send and see. [rfc9725-4.2-10]
const MAY_SEND: HeaderValue = HeaderValue::from_static("Authorization, Content-Type, If-Match");
const MAY_SEE: HeaderValue = HeaderValue::from_static("ETag, Link, Location, Retry-After");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Which resource is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Endpoint,
    Session,
}

impl Resource {
    const fn methods(self) -> HeaderValue {
        match self {
            Self::Endpoint => HeaderValue::from_static("OPTIONS, GET, HEAD, POST"),
            Self::Session => HeaderValue::from_static("OPTIONS, GET, HEAD, PATCH, DELETE"),
        }
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = status;
    response
}

/// An error, with a sentence for who reads it. [RFC 9457] [rfc9725-4.1-p1]
pub(super) fn problem(status: StatusCode, title: &'static str) -> Response {
    let number = status.as_u16();
    let mut response =
        Response::new(format!("{{\"status\":{number},\"title\":\"{title}\"}}").into());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    let extra = match status {
        StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer realm=\"whip\"")),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some((RETRY_AFTER, "1")),
        _ => None,
    };
    if let Some((name, value)) = extra {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What cannot be done to a resource.
pub(super) fn not_allowed(resource: Resource) -> Response {
    let title = "this resource knows no such method; see Allow";
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, title);
    response.headers_mut().insert(ALLOW, resource.methods());
    response
}

/// What may be asked, for pages and for others; never with servers and their credentials.
/// [rfc9725-4.2-10] [rfc9725-4.2-11] [rfc9725-4.6-4]
pub(super) fn options(resource: Resource) -> Response {
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(ALLOW, resource.methods());
    headers.insert(ACCEPT_POST, HeaderValue::from_static(SDP));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, resource.methods());
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, MAY_SEND);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Lets a page see an answer. [rfc9725-4.2-10]
pub(super) fn share(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, MAY_SEE);
    headers.insert(VARY, HeaderValue::from_static("Origin"));
}
