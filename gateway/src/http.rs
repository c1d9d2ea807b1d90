//! What the gateway answers over HTTP: the door for WebSockets, the avatars, the probes, and the web client's files. The
//! door for those who have no WebSocket is `api.rs`.

use std::{net::IpAddr, path::Path, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    extract::{self, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{
    HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, SEC_WEBSOCKET_VERSION,
        STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    },
};
use hyper::upgrade::OnUpgrade;
use runtime::settings::Origins;
use tokio::sync::OwnedSemaphorePermit;
use tower::{Layer as _, ServiceExt as _};
use tower_http::{
    compression::CompressionLayer,
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
};

use crate::{
    House,
    admission::Refusal,
    api, avatar,
    browser::Browser,
    close,
    entrance::{self, Refused},
    exchange::Next,
    frame::Encoding,
    problem::Problem,
    session::Session,
    socket::{self, Socket},
    socketio,
};

/// A picture does nothing.
const PICTURE_POLICY: &str = "default-src 'none'";
/// A browser that was here by TLS does not come back without, for a year: whoever sits between cannot talk it out of it.
const TLS_ONLY: &str = "max-age=31536000";
/// For what bears its content's hash in its name, or never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// For what may be another file after the next deploy.
const ASK_FIRST: &str = "no-cache";
/// What a browser finds where the web client should be.
const NO_WEB_CLIENT: &str = "The web client is not built yet.\n\n\
     Build it with `cd web && npm ci && npm run build`, or point PARLOR_GATEWAY_WEB_ROOT at a build of it.\n\
     The chat itself works: its WebSocket is at /ws.\n";

/// A connection, as far as its requests and its session need to know.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Who connected to us.
    pub(crate) peer: IpAddr,
    /// The connection's place among the others, which a session keeps until its socket is closed.
    pub(crate) _place: Arc<OwnedSemaphorePermit>,
}

/// All of it.
pub(crate) fn routes(house: Arc<House>) -> Router {
    let always = |name: HeaderName, value: HeaderValue| SetResponseHeaderLayer::if_not_present(name, value);
    let fixed = HeaderValue::from_static;
    let old_clients = if house.settings.socketio { socketio::routes(&house) } else { Router::new() };
    let by_tls = house.settings.tls.tls_cert.is_some();
    let routes = Router::new()
        .route("/ws", get(open_session))
        .route("/avatars/{file}", get(picture))
        .route("/livez", get(probe))
        .route("/readyz", get(probe))
        .merge(old_clients)
        .merge(api::routes(&house))
        .merge(web_client(&house.settings.web_root))
        .layer(always(CONTENT_SECURITY_POLICY, page_policy(&house.settings.allowed_pictures)))
        .layer(always(X_CONTENT_TYPE_OPTIONS, fixed("nosniff")))
        .layer(always(REFERRER_POLICY, fixed("no-referrer")))
        .with_state(house);
    if by_tls { routes.layer(always(STRICT_TRANSPORT_SECURITY, fixed(TLS_ONLY))) } else { routes }
}

/// What the web client's pages may do: load what this host serves, and pictures from where they are allowed, and talk to
/// this host.
fn page_policy(pictures: &Origins) -> HeaderValue {
    let own = ["'self'", "data:", "blob:"].into_iter();
    let pictures = own.chain(pictures.0.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src {pictures}; media-src 'self' blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types vue"
    );
    HeaderValue::try_from(policy).expect("an origin is printable ASCII")
}

/// The files of the web client. Every room is the same page; a missing file is a 404 and never the page.
fn web_client(root: &Path) -> Router<Arc<House>> {
    let cached = |value: &'static str| {
        // A 404 is not to be remembered for a year.
        SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, move |response: &http::Response<_>| {
            response.status().is_success().then_some(HeaderValue::from_static(value))
        })
    };
    let page = ServeFile::new(root.join("index.html"));
    let page = get(move |request: Request<Body>| serve_page(page.clone(), request));
    let assets = ServeDir::new(root.join("assets")).append_index_html_on_directories(false);
    let files = ServeDir::new(root).append_index_html_on_directories(false);
    Router::new()
        .route("/", page.clone())
        .route("/r/{room}", page.clone())
        .route("/r/{room}/m/{message}", page)
        .nest_service("/assets", cached(FOR_EVER).layer(assets))
        .fallback_service(cached(ASK_FIRST).layer(files))
        .layer(CompressionLayer::new())
}

async fn serve_page(page: ServeFile, request: Request<Body>) -> Response {
    let Ok(response) = page.oneshot(request).await;
    if response.status() == StatusCode::NOT_FOUND {
        let plain = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
        return (StatusCode::SERVICE_UNAVAILABLE, plain, NO_WEB_CLIENT).into_response();
    }
    ([(CACHE_CONTROL, ASK_FIRST)], response).into_response()
}

async fn probe(State(house): State<Arc<House>>, request: Request<Body>) -> Response {
    let answer = house.health.answer(request.uri().path());
    ([(CACHE_CONTROL, "no-store")], answer.unwrap_or((StatusCode::NOT_FOUND, String::new()))).into_response()
}

async fn picture(extract::Path(file): extract::Path<String>) -> Response {
    let Some(name) =
        file.strip_suffix(".svg").filter(|name| (1..=avatar::MAX_NAME_BYTES).contains(&name.len()))
    else {
        return (StatusCode::NOT_FOUND, "there is no such picture\n").into_response();
    };
    let headers = [
        (CONTENT_TYPE, "image/svg+xml"),
        (CACHE_CONTROL, FOR_EVER),
        (CONTENT_SECURITY_POLICY, PICTURE_POLICY),
    ];
    (headers, avatar::draw(name)).into_response()
}

/// Turns a request into a session, or says why not.
async fn open_session(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    mut request: Request<Body>,
) -> Response {
    if request.method() != Method::GET {
        return no_handshake(StatusCode::METHOD_NOT_ALLOWED, "A WebSocket is opened with GET.");
    }
    let place = match entrance::enter(&house, &caller, request.headers()) {
        Ok(place) => Some(place),
        // A browser shows a page the close code of a WebSocket, but not the status of a refused one.
        Err(Refused::NoPlace(Refusal::TooMany)) => None,
        Err(refused) => return Problem::from(refused).into_response(),
    };
    let (encoding, protocol) = Encoding::agreed(request.headers());
    let response = match socket::handshake(request.headers(), protocol) {
        Ok(response) => response,
        Err((status, words)) => {
            return ([(SEC_WEBSOCKET_VERSION, "13")], no_handshake(status, words)).into_response();
        }
    };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return no_handshake(StatusCode::BAD_REQUEST, "This connection cannot become a WebSocket.");
    };
    let tasks = house.tasks.clone();
    // Boxed, here and below: a task is as large as its largest moment, and sessions are many and mostly idle.
    let served = Box::pin(async move {
        // Whoever hung up meanwhile has no session.
        let Ok(upgraded) = upgrade.await else { return };
        let socket = Socket::new(upgraded, encoding, house.settings.max_frame_bytes);
        if let Some(place) = place {
            let session = Session::over(&house, place, encoding, socket.wire());
            let browser = Browser::new(socket, session, encoding, &house.settings);
            drop(house);
            Box::pin(browser.run()).await;
        } else {
            metrics::counter!("parlor_gateway_closes_total", "code" => "4003").increment(1);
            Box::pin(socket.close(&close::TOO_MANY_SESSIONS, &mut || Next::Nothing)).await;
        }
        drop(caller);
    });
    tasks.spawn("session", served);
    response
}

fn no_handshake(status: StatusCode, words: &str) -> Response {
    entrance::count("handshake");
    Problem::invalid(status, words).into_response()
}
