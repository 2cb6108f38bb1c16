//! What training steps compute in, and where anything but 32 bits is known to train as well.

use burn::tensor::DType;

use crate::config::Precision;
use crate::device::Backend;
use crate::{Error, Result};

impl Precision {
    /// Of the images and of what the layers make of them; the layers take their weights in it.
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Whether a network learns in it on `backend` as well as in 32 bits.
    ///
    /// # Errors
    /// A usage error with the reason where it does not, or where nobody has measured it.
    pub(crate) fn require_on(self, backend: Backend) -> Result<()> {
        let reason = match (self, backend) {
            (Self::F32, _) | (Self::Bf16, Backend::Flex) => return Ok(()),
            (Self::Bf16, Backend::Ndarray) => "Burn's ndarray backend has no bfloat16",
            (Self::Bf16, Backend::Wgpu | Backend::Vulkan) => "shaders have no arithmetic with bfloat16",
            (Self::Bf16, Backend::Cuda | Backend::Rocm | Backend::Metal) => {
                "nobody has measured whether networks train as well with it there"
            }
        };
        Err(Error::usage(format!("`train.precision`: \"bf16\" is for flex, not for {backend}: {reason}"))
            .tip("compute in 32 bits: --set train.precision=f32"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_refused_where_it_is_not_known_to_train() {
        for backend in Backend::ALL {
            assert!(Precision::F32.require_on(backend).is_ok());
            let refused = Precision::Bf16.require_on(backend);
            assert_eq!(refused.is_ok(), backend == Backend::Flex, "{backend}");
            if let Err(error) = refused {
                assert!(error.render().contains(&format!("not for {backend}: ")), "{}", error.render());
            }
        }
        insta::assert_snapshot!(Precision::Bf16.require_on(Backend::Ndarray).unwrap_err().render(), @r#"
        error: `train.precision`: "bf16" is for flex, not for ndarray: Burn's ndarray backend has no bfloat16
        tip: compute in 32 bits: --set train.precision=f32
        "#);
    }
}
