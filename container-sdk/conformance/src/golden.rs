//! The recorded exchanges, built in.

use crate::Exchange;

macro_rules! files {
    ($($name:literal)*) => {
        &[$(include_str!(concat!("../../../schema/golden/", $name, ".json"))),*]
    };
}

const FILES: &[&str] = files! {
    "batch-after-batch"
    "batch-id-again"
    "cancel-a-queued-batch"
    "cancel-what-is-not-in-hand"
    "doubled-part"
    "drain"
    "expired-batch"
    "failed-batch"
    "heartbeat"
    "hello-and-welcome"
    "missing-part"
    "no-rows"
    "not-a-message"
    "predict-before-welcome"
    "predict-every-type"
    "predict-fixed-shape"
    "predict-several-variable-dims"
    "predict-shared-frame"
    "predict-texts"
    "predict-variable-rows"
    "reject"
    "reject-while-serving"
    "row-error"
    "too-many-rows"
    "unknown-tensor"
    "wrong-datatype"
};

/// All exchanges of `schema/golden`, by name.
///
/// # Panics
/// If a file that was built in is damaged.
#[must_use]
pub fn golden() -> Vec<Exchange> {
    let parse = |text: &&str| Exchange::parse(text).unwrap_or_else(|error| panic!("{error}"));
    FILES.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn every_file_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema/golden");
        let files = std::fs::read_dir(folder).expect("schema/golden is there");
        let names = files.map(|file| file.expect("readable").path());
        let mut there: Vec<String> = names
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        there.sort();
        let built_in: Vec<String> = super::golden().into_iter().map(|e| e.name).collect();
        assert_eq!(built_in, there);
    }
}
