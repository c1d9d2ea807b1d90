//! Files that are attached to messages: brought to a room as they are, in one request each, and read from there.
//!
//! The room service is asked before a file is taken, and again once it is whole; only then is it kept under the name
//! that it was given. Whatever breaks off in between leaves nothing that somebody could read.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE, VARY,
    },
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proto::{
    chat::v1::Attachment,
    edge::v1::{AttachRequest, attach_request::Ask, attach_response::Answer},
};
use serde::Deserialize;
use tokio::time::{sleep, timeout};
use utoipa::IntoParams;

use super::{
    InRoom, refused,
    request::{Asker, Named, Query},
};
use crate::{
    House,
    admission::Refusal,
    files::{
        Files,
        content::{self, Content},
    },
    problem::Problem,
};

/// What a small file counts, too, in bytes of memory.
const LEAST_BYTES: u32 = 64 * 1024;
/// What a file may do that is opened by itself: nothing.
const FILE_POLICY: &str = "default-src 'none'; sandbox";
/// A file never changes; but who may read it does, so it is asked for each time, and not sent again.
const FOR_THE_ASKER: &str = "private, no-cache";
/// No page of another site may load it.
const SAME_ORIGIN: (HeaderName, &str) =
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin");

/// What a file is called.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FileName {
    /// What its sender calls it: 1 to 255 bytes of UTF-8, on one line and without slashes. Data, never a path.
    #[param(min_length = 1, max_length = 255)]
    name: String,
}

/// Which file.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described")]
struct OfRoom {
    /// The attachment's id.
    #[param(pattern = "^f_[A-Za-z0-9]{20}$")]
    id: String,
}

/// Brings a file to a room, to be attached to a message by the `id` of the answer.
///
/// The body is the file as it is, and its size is said by Content-Length. What it is, is found by looking into it; of
/// pictures, where and when they were taken is removed. It is nobody's to read until it was sent, and is removed if
/// that does not happen within an hour.
#[utoipa::path(
    post,
    path = "/rooms/{room}/attachments",
    operation_id = "uploadAttachment",
    params(InRoom, FileName),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    security(("token" = [])),
    responses((status = 200, description = "What it is.", body = Attachment), Problem)
)]
pub(super) async fn upload(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named(room): Named<String>,
    Query(FileName { name }): Query<FileName>,
    request: Request,
) -> Result<Json<Attachment>, Problem> {
    let files = files(&house)?;
    let size = size(request.headers())?;
    // What is refused here costs the member nothing.
    let most = house.settings.files.upload_bytes;
    if size > most {
        return Err(Problem::too_large(most as usize));
    }
    let place = files.uploads.take(asker.address).map_err(no_place)?;
    let memory = files.memory.clone().try_acquire_many_owned(size.max(LEAST_BYTES));
    let held = (place, memory.map_err(|_| no_place(Refusal::Full))?);
    let offered = Attachment { name, size, ..Attachment::default() };
    let offered = attach(&house, &asker, &room, Ask::Offered(offered)).await?;
    let taking = async {
        let body = axum::body::to_bytes(request.into_body(), size as usize).await;
        let body = body.map_err(|_| Problem::invalid(StatusCode::BAD_REQUEST, "The file broke off."))?;
        let (content, _held) = look(body, held).await?;
        keep(&house, files, &asker, &room, offered.name, content).await
    };
    let late = || Problem::invalid(StatusCode::REQUEST_TIMEOUT, "The file did not come in time.");
    timeout(house.settings.files.transfer_timeout, taking).await.map_err(|_| late())?.map(Json)
}

/// Looks into a file. What is `held` for it is given back with what it is; when nobody waits for that any more, only once
/// its bytes are let go.
async fn look<Held: Send + 'static>(body: Bytes, held: Held) -> Result<(Content, Held), Problem> {
    // Some ms for a large one, in which others are not to wait.
    let looked = tokio::task::spawn_blocking(move || (content::look(body), held));
    let (content, held) = looked.await.expect("looking ends");
    let content =
        content.map_err(|damaged| Problem::invalid(StatusCode::BAD_REQUEST, damaged.to_string()))?;
    Ok((content, held))
}

/// Keeps a file that has come.
async fn keep(
    house: &House,
    files: &Files,
    asker: &Asker,
    room: &str,
    name: String,
    content: Content,
) -> Result<Attachment, Problem> {
    let came = Attachment {
        id: String::new(),
        name,
        r#type: content.kind.to_owned(),
        size: u32::try_from(content.bytes.len()).unwrap_or(u32::MAX),
        width: content.width,
        height: content.height,
    };
    let attachment = attach(house, asker, room, Ask::Came(came)).await?;
    files.objects.put(&attachment.id, content.bytes).await.map_err(|error| unreachable_now(&error))?;
    metrics::counter!("parlor_gateway_uploads_total").increment(1);
    Ok(attachment)
}

/// The size of a file that is to come.
fn size(headers: &HeaderMap) -> Result<u32, Problem> {
    let words = "Content-Length has to say how many bytes the file has.";
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length = length.ok_or_else(|| Problem::invalid(StatusCode::LENGTH_REQUIRED, words))?;
    // Whatever is more is too much for the room service as well.
    Ok(u32::try_from(length).unwrap_or(u32::MAX))
}

/// Reads a file that is attached to a message. A range of it may be asked for.
#[utoipa::path(
    get,
    path = "/rooms/{room}/attachments/{id}",
    operation_id = "readAttachment",
    params(
        InRoom,
        OfRoom,
        ("Range" = Option<String>, Header, description = "One range of bytes."),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of a copy."),
    ),
    security(("token" = [])),
    responses(
        (status = 200, description = "The file.", body = Vec<u8>, content_type = "*/*"),
        (status = 206, description = "The range.", body = Vec<u8>, content_type = "*/*"),
        (status = 304, description = "The copy is the file, and may still be read."),
        (status = 416, description = "INVALID: the file has no such range.", body = Problem),
        Problem
    )
)]
pub(super) async fn download(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named((room, id)): Named<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let files = files(&house)?;
    let place = files.downloads.take(asker.address).map_err(no_place)?;
    let attachment = attach(&house, &asker, &room, Ask::Wanted(id)).await?;
    let tag = header(format!("\"{}\"", attachment.id));
    if headers.get(IF_NONE_MATCH).is_some_and(|tags| names(tags, &tag)) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        describe_copy(response.headers_mut(), tag);
        return Ok(response);
    }
    let size = u64::from(attachment.size);
    let range = headers.get(RANGE).filter(|_| headers.get(IF_RANGE).is_none_or(|of| *of == tag));
    let range = match range {
        None => None,
        Some(range) => one_range(range, size).map_err(|OutOfRange| out_of_range(size))?,
    };
    let (status, first, end) = match range {
        None => (StatusCode::OK, 0, size),
        Some((first, last)) => (StatusCode::PARTIAL_CONTENT, first, last + 1),
    };
    let found = timeout(house.settings.reply_timeout, files.objects.get(&attachment.id, first..end)).await;
    let late = |_| Problem::unavailable("The files cannot be reached right now. Try again in a moment.");
    let chunks = found.map_err(late)?.map_err(|error| unreachable_now(&error))?;
    let chunks = chunks.ok_or_else(|| {
        tracing::error!(id = attachment.id, "the file of an attachment is not there");
        Problem::not_found()
    })?;
    // Its place is taken until it is read, and that has an end.
    let ends = sleep(house.settings.files.transfer_timeout);
    let chunks = chunks.take_until(ends).inspect(move |_| {
        let _ = &place;
    });
    let mut response = (status, Body::from_stream(chunks)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(end - first));
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(CONTENT_RANGE, header(format!("bytes {first}-{}/{size}", end - 1)));
    }
    describe(headers, &attachment);
    describe_copy(headers, tag);
    Ok(response)
}

/// Whether `tag` is among the tags of an If-None-Match.
fn names(tags: &HeaderValue, tag: &HeaderValue) -> bool {
    let mut tags = tags.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tags.any(|one| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes())
}

/// Says how a copy of a file may be kept.
fn describe_copy(headers: &mut HeaderMap, tag: HeaderValue) {
    headers.insert(ETAG, tag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(FOR_THE_ASKER));
    headers.insert(VARY, HeaderValue::from_static("authorization"));
}

/// Says what a file is, so that a browser does no more with it than it may.
fn describe(headers: &mut HeaderMap, attachment: &Attachment) {
    let kind = match attachment.r#type.as_str() {
        "text/plain" => "text/plain; charset=utf-8",
        kind => kind,
    };
    headers.insert(CONTENT_TYPE, header(kind.to_owned()));
    headers.insert(CONTENT_DISPOSITION, header(disposition(attachment)));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(FILE_POLICY));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let (name, value) = SAME_ORIGIN;
    headers.insert(name, HeaderValue::from_static(value));
}

/// Whether it is shown or saved, and under which name: as it is for those who read RFC 8187, else by what is plain of it.
fn disposition(attachment: &Attachment) -> String {
    let how = if content::is_shown(&attachment.r#type) { "inline" } else { "attachment" };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    let plain: String = attachment.name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let whole = utf8_percent_encode(&attachment.name, NON_ALPHANUMERIC);
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{whole}")
}

/// What the room service said of a file is printable.
fn header(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// Nothing of the file is in the range.
#[derive(Debug, PartialEq, Eq)]
struct OutOfRange;

/// The first and the last byte that are asked for; nothing if that is the whole, or several ranges, which get the whole.
fn one_range(range: &HeaderValue, size: u64) -> Result<Option<(u64, u64)>, OutOfRange> {
    let Some(ranges) =
        range.to_str().ok().and_then(|range| http_range_header::parse_range_header(range).ok())
    else {
        return Ok(None);
    };
    match &ranges.validate(size).map_err(|_| OutOfRange)?[..] {
        [range] => Ok(Some((*range.start(), *range.end()))),
        _ => Ok(None),
    }
}

fn out_of_range(size: u64) -> Problem {
    Problem::invalid(StatusCode::RANGE_NOT_SATISFIABLE, format!("This file has {size} bytes."))
}

/// The files, if anything can be attached.
fn files(house: &House) -> Result<&Files, Problem> {
    house.files.as_ref().ok_or_else(|| Problem::forbidden("This chat takes no files: attachments are off."))
}

/// Asks the room service about a file.
async fn attach(house: &House, asker: &Asker, room: &str, ask: Ask) -> Result<Attachment, Problem> {
    let request = AttachRequest { token: asker.token.clone(), room: room.to_owned(), ask: Some(ask) };
    let unavailable = || Problem::unavailable("The chat cannot be reached right now. Try again in a moment.");
    let _place = house.calls.try_acquire().map_err(|_| unavailable())?;
    match house.link.attach(request, house.settings.reply_timeout).await.map_err(|_| unavailable())? {
        Answer::Attachment(attachment) => Ok(attachment),
        Answer::Error(error) => Err(refused(house, asker, error)),
    }
}

fn no_place(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Full => {
            Problem::unavailable("Too many files are on their way right now. Try again in a moment.")
        }
        _ => Problem::too_fast("Too many files at once from your address. Try again in a moment."),
    }
}

fn unreachable_now(error: &runtime::objects::ObjectsError) -> Problem {
    tracing::error!(%error, "files cannot be reached");
    Problem::unavailable("The files cannot be reached right now. Try again in a moment.")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;
    use tokio::{runtime::Builder, sync::Semaphore};

    use super::*;

    #[test]
    fn who_hangs_up_holds_what_is_held_until_the_bytes_are_let_go() {
        // One thread looks into files, and is busy.
        let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (go_on, busy) = mpsc::channel::<()>();
            let other = tokio::task::spawn_blocking(move || busy.recv());
            let memory = Arc::new(Semaphore::new(1));
            let held = memory.clone().try_acquire_owned().unwrap();
            assert!(look(Bytes::from_static(b"hello"), held).now_or_never().is_none(), "it is hung up");
            assert_eq!(memory.available_permits(), 0);
            go_on.send(()).unwrap();
            other.await.unwrap().unwrap();
            assert!(memory.acquire().await.is_ok(), "another one may come");
        });
    }

    #[test]
    fn a_range_is_within_the_file() {
        let range = |range: &'static str| one_range(&HeaderValue::from_static(range), 10);
        assert_eq!(range("bytes=0-"), Ok(Some((0, 9))));
        assert_eq!(range("bytes=2-4"), Ok(Some((2, 4))));
        assert_eq!(range("bytes=-3"), Ok(Some((7, 9))));
        assert_eq!(range("bytes=9-99"), Ok(Some((9, 9))));
        for past in ["bytes=10-", "bytes=10-11", "bytes=5-4"] {
            assert_eq!(range(past), Err(OutOfRange), "{past}");
        }
        // What is not understood, or is several, gets the whole.
        for other in ["", "bytes=", "lines=1-2", "bytes=a-b", "bytes=0-1,3-4", "bytes=18446744073709551616-"]
        {
            assert_eq!(range(other), Ok(None), "{other}");
        }
    }

    #[test]
    fn a_name_is_a_word_of_a_header_and_no_more() {
        let said = |kind: &str, name: &str| {
            disposition(&Attachment { name: name.into(), r#type: kind.into(), ..Attachment::default() })
        };
        assert_eq!(
            said("image/png", "a b.png"),
            "inline; filename=\"a b.png\"; filename*=UTF-8''a%20b%2Epng"
        );
        let odd = said("text/plain", "\"; x=\r\né\\");
        assert_eq!(odd, "attachment; filename=\"__ x_____\"; filename*=UTF-8''%22%3B%20x%3D%0D%0A%C3%A9%5C");
    }
}
