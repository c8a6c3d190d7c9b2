//! Generates the messages, clients and servers of `proto/entente/v1`, without `protoc`, for the
//! feature `wire` alone.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
    generate()
}

#[cfg(feature = "wire")]
fn generate() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "proto/entente/v1/core.proto",
        "proto/entente/v1/directory.proto",
        "proto/entente/v1/edge.proto",
        "proto/entente/v1/identity.proto",
        "proto/entente/v1/inspect.proto",
        "proto/entente/v1/shards.proto",
    ];
    // Secrets: `Debug` of these is written by hand and says the name alone.
    let secret = [
        ".entente.v1.FastProof",
        ".entente.v1.FastToken",
        ".entente.v1.LoggedIn",
        ".entente.v1.LoginRequest",
        ".entente.v1.ResumeKey",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .skip_debug(secret)
        .compile_fds(descriptors)?;
    Ok(())
}

#[cfg(not(feature = "wire"))]
fn generate() -> Result<(), Box<dyn std::error::Error>> {
    Ok(())
}
