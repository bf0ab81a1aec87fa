//! Every input that was kept, through its target.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_kept_input_passes_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in qanat_fuzz::TARGETS {
        let mut number = 0;
        for entry in std::fs::read_dir(corpora.join(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&std::fs::read(&path).unwrap());
            number += 1;
        }
        assert!(number > 0, "{name} has no corpus");
    }
}

#[test]
fn each_target_has_its_binary() {
    let binaries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/targets");
    let files = std::fs::read_dir(binaries).unwrap().map(|entry| entry.unwrap().path());
    let found: BTreeSet<String> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let named: BTreeSet<String> = qanat_fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, named);
}
