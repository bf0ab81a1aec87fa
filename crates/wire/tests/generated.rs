//! The committed Rust of the schemas is current. `scripts/generate-capnp` (QANAT_GENERATE=1) writes it anew.
#![allow(clippy::unwrap_used)]

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

const SCHEMAS: [&str; 2] = ["connect", "control"];

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn stamps() -> String {
    let mut stamps = String::new();
    for name in SCHEMAS {
        let schema = std::fs::read(here().join(format!("schema/{name}.capnp"))).unwrap();
        let digest: String = Sha256::digest(&schema).iter().map(|b| format!("{b:02x}")).collect();
        stamps.push_str(&format!("{digest}  {name}.capnp\n"));
    }
    stamps
}

fn generate(into: &Path) {
    let mut command = capnpc::CompilerCommand::new();
    command.src_prefix(here().join("schema")).output_path(into).default_parent_module(vec!["generated".into()]);
    for name in SCHEMAS {
        command.file(here().join(format!("schema/{name}.capnp")));
    }
    command.run().unwrap();
}

#[test]
fn committed_code_is_that_of_the_schemas() {
    let generated = here().join("src/generated");
    let wanted = std::env::var_os("QANAT_GENERATE").is_some();
    let compiler = Command::new("capnp").arg("--version").output().is_ok();
    if wanted {
        assert!(compiler, "QANAT_GENERATE needs the `capnp` compiler (Debian: capnproto)");
        generate(&generated);
        std::fs::write(generated.join("SHA256SUMS"), stamps()).unwrap();
    }
    let stamped = std::fs::read_to_string(generated.join("SHA256SUMS")).unwrap();
    assert_eq!(stamped, stamps(), "a schema changed: run scripts/generate-capnp");
    if !compiler {
        return;
    }
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    std::fs::create_dir_all(&fresh).unwrap();
    generate(&fresh);
    for name in SCHEMAS {
        let file = format!("{name}_capnp.rs");
        let (ours, theirs) = (std::fs::read(generated.join(&file)).unwrap(), std::fs::read(fresh.join(&file)).unwrap());
        assert!(ours == theirs, "src/generated/{file} is not what the schema gives: run scripts/generate-capnp");
    }
}
