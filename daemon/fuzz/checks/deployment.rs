//! What was deployed through Greengrass, as `greengrass.json` holds it.

use std::sync::Arc;

use nowd::{ConfigSource, Deployed, Deployment};

use super::sentence;

/// `data` is the file.
pub(crate) fn check(data: &[u8]) {
    let Ok(deployed) = serde_json::from_slice::<Deployed>(data) else { return };
    let folder = tempfile::tempdir().unwrap();
    let state_dir = folder.path().to_string_lossy().into_owned();
    let source = ConfigSource {
        file: folder.path().join("nowd.toml"),
        required: false,
        environment: Vec::new(),
        set: vec![("state_dir".into(), state_dir.clone())],
        deployment: Deployment::Known(Arc::new(deployed)),
    };
    match source.load() {
        Ok(files) => {
            let again = source.load().unwrap();
            assert_eq!(format!("{:?}", again.config), format!("{:?}", files.config));
            for source in files.maps.iter().chain(&files.drop_ins) {
                assert!(source.file.contains(".toml") && !source.text.is_empty(), "{source:?}");
            }
        }
        Err(e) => sentence::check(&e.to_string().replace(&state_dir, "")),
    }
}
