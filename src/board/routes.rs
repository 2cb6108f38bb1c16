//! The routes and what each answers. Nothing can be changed through them, and a name in a path is only ever compared with
//! those of the runs that were found.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::curves::Curves;
use super::summary::RunSummary;
use super::watch::Watch;
use super::{Options, events, page, summary};
use crate::http::connection::Client;
use crate::http::host::AllowedHosts;
use crate::http::refusal::Refusal;
use crate::page::policy;
use crate::run::{RunDir, RunRecord, file};
use crate::{Error, Result, report};

/// The most bytes of a report that are sent.
const MOST_REPORT_BYTES: u64 = 256 << 20;

/// What all requests share.
struct App {
    watch: Arc<Watch>,
    hosts: AllowedHosts,
    page: Bytes,
    policy: HeaderValue,
}

/// The routes over the runs of `options`, served at `address`.
pub(super) fn app(options: &Options, address: SocketAddr, stopped: watch::Receiver<bool>) -> Result<Router> {
    let page = page::page();
    let unusable = |error| Error::failed("the page's policy is no header").caused_by(error);
    let app = Arc::new(App {
        watch: Watch::start(options.runs.clone(), stopped),
        hosts: AllowedHosts::new(address, &options.allow_hosts)?,
        policy: HeaderValue::from_str(&policy::of(&page)).map_err(unusable)?,
        page: page.into(),
    });
    let router = Router::new()
        .route("/", get(the_page))
        .route("/api/runs", get(all_runs))
        .route("/api/runs/{name}", get(one_run))
        .route("/api/events", get(all_events))
        .route("/reports/{name}", get(one_report))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app);
    Ok(router)
}

/// Round every request: the connection's patience, whom it is addressed to, and the headers that browsers need.
async fn around(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
    next: Next,
) -> Response {
    let _answering = client.answering();
    let mut response = app.hosts.answer(request, next).await;
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn the_page(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_SECURITY_POLICY, app.policy.clone())], Html(app.page.clone())).into_response()
}

async fn all_runs(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let answer = aside(move || app.watch.read(|folder| json!({ "folder": folder.path(), "runs": folder.lines() })));
    Ok(Json(answer.await?).into_response())
}

async fn one_run(State(app): State<Arc<App>>, name: Result<Path<String>, PathRejection>) -> Result<Response, Refusal> {
    let answer = aside(move || {
        let (dir, line) = find(&app, name)?;
        Ok::<_, Refusal>(described(&dir, &line))
    });
    Ok(Json(answer.await??).into_response())
}

async fn all_events(State(app): State<Arc<App>>, Extension(client): Extension<Client>) -> Result<Response, Refusal> {
    let answering = client.answering();
    let listened = aside(move || app.watch.listen()).await?;
    let (first, events) = listened.ok_or_else(|| Refusal::busy("the board is about to end"))?;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))];
    Ok((kind, events::stream(first, events, answering)).into_response())
}

async fn one_report(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    let read = aside(move || {
        let (dir, line) = find(&app, name)?;
        let none = || {
            Refusal::new(StatusCode::NOT_FOUND, "no_report", format!("the run `{}` has no report yet", line.name))
                .tip(format!("make one: kiln report {}", crate::error::quoted(dir.path())))
        };
        if !line.has_report {
            return Err(none());
        }
        file::read_bounded(&dir.report(), MOST_REPORT_BYTES).map_err(|_| none())
    });
    let page = read.await??;
    // Whatever the file says, it can run nothing here and is a stranger to the page.
    let policy = format!("{}; frame-ancestors 'none'; sandbox", report::PAGE_POLICY);
    let policy = HeaderValue::from_str(&policy).map_err(|_| Refusal::panicked("the report's policy"))?;
    Ok(([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response())
}

/// The run that a path names, as it is now.
fn find(app: &App, name: Result<Path<String>, PathRejection>) -> Result<(RunDir, RunSummary), Refusal> {
    let unknown = || {
        Refusal::new(StatusCode::NOT_FOUND, "unknown_run", "there is no run of this name in the folder")
            .tip("GET /api/runs lists them")
    };
    let Path(name) = name.map_err(|_| unknown())?;
    app.watch.read(|folder| folder.find(&name)).ok_or_else(unknown)
}

/// Everything about a run that is text or numbers.
fn described(dir: &RunDir, line: &RunSummary) -> Value {
    let Curves { epochs, progress } = Curves::read(dir);
    json!({
        "run": line,
        "path": dir.path(),
        "record": RunRecord::load(dir).ok(),
        "config": summary::config(dir),
        "epochs": epochs,
        "progress": progress,
    })
}

/// Does what may wait for the disk on a thread that may.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::panicked("reading the runs"))
}

async fn unknown_path(uri: Uri) -> Refusal {
    let found = uri.path().chars().take(100).collect::<String>();
    let message = format!("there is nothing at `{found}`");
    Refusal::new(StatusCode::NOT_FOUND, "unknown_path", message)
        .tip("there are /, /api/runs, /api/runs/NAME, /api/events and /reports/NAME")
}

async fn unknown_method(method: Method) -> Response {
    let found = method.as_str().chars().take(20).collect::<String>();
    let message = format!("the board is for looking: it takes GET, got {found}");
    let mut response = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_method", message).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}
