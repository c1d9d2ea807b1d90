//! The room service as a process: how it ends.
#![allow(clippy::unwrap_used)]

use proto::chat::v1::{
    ClientFrame, HelloRequest, ServerFrame, chat_service_client::ChatServiceClient,
    client_frame::Body as Ask, server_frame::Body as Heard,
};
use testkit::{PATIENCE, Program, eventually, free_port, http_get};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

#[tokio::test]
async fn the_first_signal_drains_and_the_second_ends_it_at_once() {
    let (door, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let flags = ["--listen", &door, "--admin-listen", &admin, "--drain", "10m"];
    let mut room_service = Program::start(env!("CARGO_BIN_EXE_room-service"), &flags);
    eventually("it is ready", async || {
        http_get(&admin, "/readyz").await.filter(|(status, _)| *status == 200)
    })
    .await;
    let channel = Channel::from_shared(format!("http://{door}")).unwrap().connect().await.unwrap();
    let mut client = ChatServiceClient::new(channel);
    let (say, said) = mpsc::channel(8);
    let mut heard = client.connect(ReceiverStream::new(said)).await.unwrap().into_inner();
    let mut next = async || -> Heard {
        let frame: Option<ServerFrame> = timeout(PATIENCE, heard.message()).await.unwrap().unwrap();
        frame.unwrap().body.unwrap()
    };
    let hello = || ClientFrame { id: 1, body: Some(Ask::Hello(HelloRequest::default())) };
    say.send(hello()).await.unwrap();
    assert!(matches!(next().await, Heard::Welcome(_)));

    room_service.terminate().await;
    assert!(matches!(next().await, Heard::Move(_)));
    let (status, words) = http_get(&admin, "/readyz").await.unwrap();
    assert_eq!((status, words.contains("draining")), (503, true), "{words}");
    let (_say, said) = mpsc::channel(8);
    assert!(client.connect(ReceiverStream::new(said)).await.is_err(), "nobody new is let in");
    say.send(hello()).await.unwrap();
    assert!(matches!(next().await, Heard::Welcome(_)), "who is here is still served");
    assert!(room_service.runs());

    room_service.terminate().await;
    assert_eq!(room_service.exit_code().await, Some(130));
}
