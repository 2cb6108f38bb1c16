//! Where the kernels of GPU backends are kept from run to run: what was compiled, where the backend can keep that, and which of
//! several was the fastest.

use std::path::PathBuf;

/// The folder; none in a build without a GPU backend.
pub fn kernel_cache() -> Option<PathBuf> {
    #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
    return Some(cubecl::folder());
    #[cfg(not(any(feature = "wgpu", feature = "cuda", feature = "rocm")))]
    return None;
}

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
pub(super) mod cubecl {
    use std::path::{Path, PathBuf};
    use std::sync::Once;

    use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig as _};
    use serde_json::json;

    /// See [`super::kernel_cache`].
    pub(super) fn folder() -> PathBuf {
        keep();
        CubeClRuntimeConfig::get().environment.path.root()
    }

    /// Sees to it that CubeCL keeps its kernels in one place, wherever kiln is started. What a `cubecl.toml` or `burn.toml` in the
    /// working directory or above it says is left as it is. Without effect once CubeCL has been used.
    pub(in crate::device) fn keep() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let found = CubeClRuntimeConfig::from_current_dir();
            let own = dirs::cache_dir().map(|folder| folder.join("kiln").join("kernels"));
            if let Some(config) = own.and_then(|own| kept_in(&own)).filter(|_| is_default(&found)) {
                CubeClRuntimeConfig::try_set(config.override_from_env());
            }
        });
    }

    /// CubeCL's defaults, with all that it can keep kept in this folder.
    fn kept_in(folder: &Path) -> Option<CubeClRuntimeConfig> {
        let config = json!({ "environment": { "path": { "directory": folder } }, "compilation": { "cache": true } });
        serde_json::from_value(config).ok()
    }

    fn is_default(config: &CubeClRuntimeConfig) -> bool {
        let text = |config: &CubeClRuntimeConfig| serde_json::to_value(config).ok();
        text(config) == text(&CubeClRuntimeConfig::default())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn kernels_are_kept_in_the_folder_and_nothing_else_is_changed() {
            let config = kept_in(Path::new("/somewhere/kernels")).unwrap();
            assert_eq!(config.environment.path.root(), Path::new("/somewhere/kernels"));
            let value = serde_json::to_value(&config).unwrap();
            assert_eq!(value["compilation"]["cache"], true);
            let mut default = serde_json::to_value(CubeClRuntimeConfig::default()).unwrap();
            (default["environment"]["path"], default["compilation"]["cache"]) =
                (value["environment"]["path"].clone(), true.into());
            assert_eq!(value, default);
            assert!(!is_default(&config) && is_default(&CubeClRuntimeConfig::default()));
        }
    }
}
