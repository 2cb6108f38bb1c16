//! The routes and what each answers. Every answer that is not a success has the form of [`Refusal`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::batch::{Batcher, Batching};
use super::body::Bodies;
use super::metrics::Metrics;
use super::model::{Form, Model};
use super::{Options, openapi, pixels};
use crate::data::memory::{Budget, Reserved};
use crate::http::connection::Client;
use crate::http::host::AllowedHosts;
use crate::http::refusal::Refusal;
use crate::page::{self, policy};
use crate::predict::{Prediction, Ranked};
use crate::{Error, Result};

/// The paths, with the method of each; `GET` includes `HEAD`.
pub(super) const ROUTES: [(&str, Method); 6] = [
    ("/", Method::GET),
    ("/v1/predict", Method::POST),
    ("/v1/model", Method::GET),
    ("/healthz", Method::GET),
    ("/metrics", Method::GET),
    ("/openapi.json", Method::GET),
];

/// What requests on unknown paths are counted under.
const ELSEWHERE: &str = "elsewhere";

/// How many answers a prediction lists unless asked.
const TOP: usize = 3;

/// What all requests share.
struct App {
    model: Arc<dyn Model>,
    batcher: Batcher,
    bodies: Bodies,
    decoding: Budget,
    hosts: AllowedHosts,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    max_concurrent: usize,
    timeout: Duration,
    min_confidence: Option<f64>,
    manifest: Bytes,
    openapi: Bytes,
    page: Bytes,
    policy: HeaderValue,
}

/// The routes over `model`, served at `address`.
pub(super) fn app(model: Arc<dyn Model>, options: &Options, address: SocketAddr) -> Result<Router> {
    let metrics = Arc::new(Metrics::new(ROUTES.iter().map(|(path, _)| *path).chain([ELSEWHERE])));
    let max_concurrent = options.max_concurrent.min(Semaphore::MAX_PERMITS);
    let batching = Batching { capacity: max_concurrent, size: options.batch_size, delay: options.batch_delay };
    let unusable = |error| Error::failed("the page's policy is no header").caused_by(error);
    let page = page::of_server();
    let app = App {
        batcher: Batcher::start(model.clone(), &batching, metrics.clone())?,
        bodies: Bodies::new(options.max_body),
        decoding: Budget::new(options.max_decoded as u64),
        hosts: AllowedHosts::new(address, &options.allow_hosts)?,
        metrics,
        places: Arc::new(Semaphore::new(max_concurrent)),
        max_concurrent,
        timeout: options.timeout,
        min_confidence: options.min_confidence,
        manifest: model.manifest()?.to_string().into(),
        openapi: openapi::describe(&*model)?.to_string().into(),
        policy: HeaderValue::from_str(&policy::of(&page)).map_err(unusable)?,
        page: page.into(),
        model,
    };
    let app = Arc::new(app);
    let router = Router::new()
        .route("/", get(drawing_page))
        .route("/v1/predict", post(predict))
        .route("/v1/model", get(|State(app): State<Arc<App>>| async move { as_json(app.manifest.clone()) }))
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/metrics", get(numbers))
        .route("/openapi.json", get(|State(app): State<Arc<App>>| async move { as_json(app.openapi.clone()) }))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app);
    Ok(router)
}

/// Round every request: the connection's patience, whom it is addressed to, the count, and the headers that browsers
/// need.
async fn around(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
    next: Next,
) -> Response {
    let _answering = client.answering();
    let begun = Instant::now();
    let path = request.uri().path();
    let route = ROUTES.iter().find(|(route, _)| *route == path).map_or(ELSEWHERE, |(route, _)| *route);
    let response = app.hosts.answer(request, next).await;
    app.metrics.request(route, response.status().as_u16(), begun.elapsed().as_secs_f64());
    response
}

async fn drawing_page(State(app): State<Arc<App>>) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, app.policy.clone()),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(app.page.clone())).into_response()
}

async fn numbers(State(app): State<Arc<App>>) -> Response {
    app.metrics.in_flight.set(app.max_concurrent - app.places.available_permits());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render()).into_response()
}

fn as_json(text: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn unknown_path(uri: Uri) -> Refusal {
    let paths = ROUTES.map(|(path, _)| path).join(", ");
    // A path can be as long as a request's head; an answer need not be.
    let path = uri.path().chars().take(100).collect::<String>();
    Refusal::new(StatusCode::NOT_FOUND, "unknown_path", format!("there is nothing at `{path}`"))
        .tip(format!("there is {paths}"))
}

async fn unknown_method(uri: Uri, method: Method) -> Response {
    let allowed = ROUTES.iter().find(|(path, _)| *path == uri.path()).map_or(&Method::GET, |(_, method)| method);
    let found = method.as_str().chars().take(20).collect::<String>();
    let message = format!("`{}` takes {allowed}, got {found}", uri.path());
    let mut response = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_method", message).into_response();
    let names = if *allowed == Method::GET { "GET, HEAD" } else { "POST" };
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(names));
    response
}

/// The query of a prediction.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    top: Option<usize>,
    min_confidence: Option<f64>,
    #[serde(default)]
    raw: bool,
    #[serde(default)]
    input: bool,
}

impl Parameters {
    fn read(uri: &Uri, classes: usize) -> Result<Self, Refusal> {
        let refuse = |message: String| {
            Refusal::new(StatusCode::BAD_REQUEST, "bad_query", message).tip(format!(
                "the query takes top=1 to top={classes}, min_confidence=0 to min_confidence=1, raw=true and input=true"
            ))
        };
        let Query(parameters) = Query::<Self>::try_from_uri(uri).map_err(|rejection| refuse(rejection.body_text()))?;
        match parameters.top {
            Some(top) if top == 0 || top > classes => Err(refuse(format!("`top`: must be 1 to {classes}, got {top}"))),
            _ => match parameters.min_confidence {
                Some(confidence) if !(0.0..=1.0).contains(&confidence) => {
                    Err(refuse(format!("`min_confidence`: must be 0 to 1, got {confidence}")))
                }
                _ => Ok(parameters),
            },
        }
    }
}

async fn predict(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let deadline = Instant::now() + app.timeout;
    let (parts, body) = request.into_parts();
    let mut parameters = Parameters::read(&parts.uri, app.model.classes().len())?;
    parameters.min_confidence = parameters.min_confidence.or(app.min_confidence);
    let kind = Kind::of(parts.headers.get(header::CONTENT_TYPE))?;
    let Ok(_place) = app.places.clone().try_acquire_owned() else {
        return Err(Refusal::busy("as many predictions are under way as may be"));
    };
    let body = app.bodies.read(&parts.headers, body, deadline).await?;
    let form = if parameters.raw { Form::Training } else { Form::Picture };

    let preparing = app.batcher.preparing();
    let decoding = app.clone();
    let decoded = tokio::task::spawn_blocking(move || match Instant::now() >= deadline {
        true => Err(too_slow()),
        false => inputs(&decoding, kind, &body.bytes, form, deadline),
    });
    let inputs = match timeout_at(deadline, decoded).await {
        Err(_) => return Err(too_slow()),
        Ok(Ok(inputs)) => inputs?,
        Ok(Err(_)) => {
            app.metrics.panics.add(1);
            return Err(Refusal::panicked("reading the image"));
        }
    };
    let answer = preparing.submit(inputs, deadline.into_std())?;
    let predictions = match timeout_at(deadline, answer).await {
        Ok(Ok(answer)) => answer?,
        // The network's thread drops what it has not begun in time.
        Ok(Err(_)) | Err(_) => return Err(too_slow()),
    };
    let predictions = predictions.iter().map(|prediction| Answer::new(prediction, &parameters)).collect();
    Ok(Json(Answers { predictions }).into_response())
}

fn too_slow() -> Refusal {
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", "the answer was not there in time")
        .tip("try again, send fewer images together, or serve with a longer --timeout-seconds")
}

/// What the body of a prediction is.
#[derive(Clone, Copy)]
enum Kind {
    Json,
    Picture,
}

impl Kind {
    /// JSON when it says so; anything else is a picture, because command-line tools name it as they please.
    fn of(content_type: Option<&HeaderValue>) -> Result<Self, Refusal> {
        let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let name = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "application/json" => Ok(Self::Json),
            "multipart/form-data" => Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_type",
                "the body must be a picture or JSON, got `multipart/form-data`",
            )
            .tip("send the bytes of the picture alone, as with `curl --data-binary @picture.png`")),
            _ => Ok(Self::Picture),
        }
    }
}

fn inputs(app: &App, kind: Kind, body: &[u8], form: Form, deadline: Instant) -> Result<Vec<Vec<u8>>, Refusal> {
    match kind {
        Kind::Json => pixels::read(body, app.model.shape()),
        Kind::Picture if body.is_empty() => {
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_picture", "the body is empty")
                .tip("send the bytes of a picture, as with `curl --data-binary @picture.png`"))
        }
        Kind::Picture => {
            let unusable = |error: Error| {
                let refusal = Refusal::from_error(&error, "bad_picture");
                match body.trim_ascii_start().starts_with(b"{") {
                    true => refusal.tip("send JSON with `Content-Type: application/json`"),
                    false => refusal,
                }
            };
            let needed = app.model.memory(body).map_err(unusable)?;
            let _reserved = reserve(&app.decoding, needed, deadline)?;
            Ok(vec![app.model.read(body, form).map_err(unusable)?])
        }
    }
}

/// Sets the memory aside that a picture needs, waiting for others to be done with theirs.
fn reserve(decoding: &Budget, needed: u64, deadline: Instant) -> Result<Reserved<'_>, Refusal> {
    let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
    if needed > decoding.total() {
        let message = format!(
            "the picture takes {} MiB of memory to decode, and may take {}",
            megabytes(needed),
            megabytes(decoding.total())
        );
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_pixels", message)
            .tip("send a smaller picture, or serve with a larger --max-decoded-mb"));
    }
    // A little before the answer is due, so that it can still say why.
    let left = deadline.saturating_duration_since(Instant::now());
    decoding
        .reserve_by(needed, std::time::Instant::now() + left * 9 / 10)
        .ok_or_else(|| Refusal::busy("the pictures that are being decoded take as much memory as they may"))
}

#[derive(Serialize)]
struct Answers<'a> {
    predictions: Vec<Answer<'a>>,
}

#[derive(Serialize)]
struct Answer<'a> {
    /// The likeliest class; null when it is not likely enough.
    label: Option<&'a str>,
    probability: f64,
    top: Vec<Line<'a>>,
    /// Whether it is not likely enough, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsure: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_of_distribution: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a [u8]>,
}

#[derive(Serialize)]
struct Line<'a> {
    label: &'a str,
    probability: f64,
}

impl<'a> Answer<'a> {
    fn new(prediction: &'a Prediction, parameters: &Parameters) -> Self {
        let line = |ranked: &'a Ranked| Line { label: &ranked.label, probability: ranked.probability };
        let top = prediction.ranked.iter().take(parameters.top.unwrap_or(TOP)).map(line).collect::<Vec<_>>();
        let answer = prediction.answer(parameters.min_confidence.unwrap_or(0.0));
        Self {
            label: answer.map(|answer| answer.label.as_str()),
            probability: top.first().map_or(0.0, |first| first.probability),
            top,
            unsure: parameters.min_confidence.map(|_| answer.is_none()),
            out_of_distribution: prediction.out_of_distribution,
            input: parameters.input.then_some(&prediction.input),
        }
    }
}
