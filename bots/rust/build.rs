//! Makes types of `chat.proto`, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../../proto/chat/v1/chat.proto");
    let files = protox::compile(["chat/v1/chat.proto"], ["../../proto"])?;
    // A generated `connect(address)` would clash with the rpc of that name.
    tonic_prost_build::configure().build_server(false).build_transport(false).compile_fds(files)?;
    Ok(())
}
