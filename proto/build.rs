//! Compiles the packages without `protoc`: protox reads the files, prost and tonic write the types, pbjson
//! writes their ProtoJSON.

use std::{env, error::Error, path::PathBuf};

use prost::Message as _;

/// What the HTTP door answers with.
const IN_OPENAPI: [&str; 13] = [
    ".chat.v1.Welcome",
    ".chat.v1.Message",
    ".chat.v1.Sent",
    ".chat.v1.MessageRef",
    ".chat.v1.Reaction",
    ".chat.v1.Reactions",
    ".chat.v1.Attachment",
    ".chat.v1.Member",
    ".chat.v1.HistoryPage",
    ".chat.v1.MembersPage",
    ".chat.v1.Read",
    ".chat.v1.RoomsPage",
    ".chat.v1.RoomSummary",
];

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["admin/v1/admin.proto", "chat/v1/chat.proto", "edge/v1/edge.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    let encoded = descriptors.encode_to_vec();
    std::fs::write(PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"), &encoded)?;

    let mut builder = tonic_prost_build::configure();
    for message in IN_OPENAPI {
        builder = builder
            .type_attribute(message, r#"#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]"#)
            // ProtoJSON leaves out what has its default value.
            .field_attribute(message, r#"#[cfg_attr(feature = "openapi", schema(required = false))]"#);
    }
    builder
        // A generated `connect(address)` would clash with the rpc of that name; callers bring a channel.
        .build_transport(false)
        .bytes(".")
        .compile_well_known_types(true)
        .extern_path(".google.protobuf.Timestamp", "crate::Timestamp")
        .compile_fds(descriptors)?;
    // Only the public packages have a JSON form. Names as in the proto on the way out, camelCase too on the way
    // in, and what this build does not know is ignored.
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .extern_path(".google.protobuf.Timestamp", "crate::Timestamp")
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .build(&[".admin.v1", ".chat.v1"])?;
    Ok(())
}
