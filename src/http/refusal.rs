//! The one shape of every answer that is not a success: `{"error": {"code", "message", "tip"}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::Error;
use crate::error::Kind;

/// Why a request gets no prediction. The code is stable and for programs; the message and the tip are for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub tip: Option<String>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), tip: None }
    }

    pub fn tip(self, tip: impl Into<String>) -> Self {
        Self { tip: Some(tip.into()), ..self }
    }

    /// What a kiln error is over HTTP: `code` when the input is at fault, else a failure of the server.
    pub fn from_error(error: &Error, code: &'static str) -> Self {
        let (status, code) = match error.kind() {
            Kind::Usage => (StatusCode::UNPROCESSABLE_ENTITY, code),
            Kind::Failed | Kind::Diverged | Kind::Interrupted => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        let tip = (!error.tips().is_empty()).then(|| error.tips().join("; "));
        Self { status, code, message, tip }
    }

    /// More is asked than can be done now.
    pub fn busy(what: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", format!("the server is busy: {what}"))
            .tip("try again after the seconds in `Retry-After`")
    }

    /// The network or the decoder hit a condition that it does not handle.
    pub fn panicked(doing: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", format!("{doing} failed unexpectedly"))
            .tip("this is a mistake in kiln or in a library it uses; please report it with the request")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(tip) = self.tip {
            error["tip"] = tip.into();
        }
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
