//! What a GPU needs beside itself: the driver, NVRTC, and the headers that kernels include; looked for, not touched.

use std::path::PathBuf;

use crate::error::ModelError;

/// The headers that kernels include, below `include` of the toolkit.
#[cfg(feature = "cuda")]
const HEADERS: [&str; 4] = ["cuda_runtime.h", "cuda_fp16.h", "cuda_bf16.h", "mma.h"];

/// What this machine has of what a GPU needs.
#[derive(Debug)]
pub(crate) struct Toolkit {
    /// Whether the driver's library can be loaded.
    driver: bool,
    gpus: usize,
    /// Whether the compiler's library can be loaded.
    compiler: bool,
    /// Where the toolkit lies.
    folder: Option<PathBuf>,
    /// Headers that are not there.
    missing: Vec<&'static str>,
}

impl Toolkit {
    /// Names the first thing that is missing.
    pub(crate) fn check(self) -> Result<(), ModelError> {
        if !self.driver {
            return Err(ModelError::NoDriver);
        }
        if self.gpus == 0 {
            return Err(ModelError::NoGpu);
        }
        if !self.compiler {
            return Err(ModelError::NoCompiler);
        }
        if self.folder.is_none() || !self.missing.is_empty() {
            return Err(ModelError::NoHeaders {
                folder: self.folder,
                missing: self.missing.into_iter().map(str::to_owned).collect(),
            });
        }
        Ok(())
    }
}

/// Looks for what GPUs need on this machine.
#[cfg(feature = "cuda")]
pub(crate) fn look(gpus: usize) -> Toolkit {
    let folder = cubecl_cuda::install::cuda_path();
    let missing = match &folder {
        Some(folder) => HEADERS
            .into_iter()
            .filter(|header| !folder.join("include").join(header).is_file())
            .collect(),
        None => HEADERS.to_vec(),
    };
    Toolkit {
        // SAFETY: both only try to load a library by its names.
        driver: unsafe { cudarc::driver::sys::is_culib_present() },
        // SAFETY: as above.
        compiler: unsafe { cudarc::nvrtc::sys::is_culib_present() },
        gpus,
        folder,
        missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(toolkit: Toolkit) -> String {
        toolkit
            .check()
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn whole() -> Toolkit {
        Toolkit {
            driver: true,
            gpus: 1,
            compiler: true,
            folder: Some("cu13".into()),
            missing: Vec::new(),
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_install() {
        let none = said(Toolkit {
            driver: false,
            ..whole()
        });
        assert!(
            none.contains("libcuda.so.1") && none.contains("driver"),
            "{none}"
        );
        let none = said(Toolkit { gpus: 0, ..whole() });
        assert!(none.contains("nvidia-smi"), "{none}");
        let none = said(Toolkit {
            compiler: false,
            ..whole()
        });
        assert!(
            none.contains("libnvrtc.so") && none.contains("nvidia-cuda-nvrtc"),
            "{none}"
        );
        let none = said(Toolkit {
            folder: None,
            missing: vec!["mma.h"],
            ..whole()
        });
        assert!(
            none.contains("CUDA_PATH") && none.contains("nvidia-cuda-runtime"),
            "{none}"
        );
        let none = said(Toolkit {
            missing: vec!["mma.h"],
            ..whole()
        });
        assert!(
            none.contains("`cu13/include`") && none.contains("`mma.h`"),
            "{none}"
        );
        assert_eq!(said(whole()), "");
    }
}
