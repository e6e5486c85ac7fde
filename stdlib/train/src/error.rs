//! What can go wrong in a training step.

/// An error of training.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// A tensor is missing or has another shape.
    #[error("the tensor `{name}` {problem}")]
    Tensor {
        /// Its name in the state dict.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A batch does not fit the network.
    #[error("the batch does not fit the network: {0}")]
    Batch(String),
    /// A sample cannot be used.
    #[error("{0}")]
    Data(String),
    /// A checkpoint cannot be read.
    #[error("the checkpoint cannot be used: {0}")]
    Checkpoint(String),
    /// The network or the plan of its steps cannot be trained.
    #[error("{0}")]
    Plan(String),
    /// The gradient of all heads is not a number or infinite.
    #[error(
        "the gradient of all heads has the norm {value}; lower the learning rate, or limit the norm"
    )]
    Gradient {
        /// `NaN` or `inf`.
        value: String,
    },
    /// A step failed.
    #[error("step {step}, of the images {samples}: {why}")]
    Step {
        /// Which, counted from 1.
        step: u64,
        /// The images of its batches.
        samples: String,
        /// Why.
        why: Box<TrainError>,
    },
    /// A loss is not a number or infinite.
    #[error("the loss of `{head}` is {value}")]
    NotFinite {
        /// The head.
        head: String,
        /// `NaN`, `inf` or `-inf`.
        value: String,
    },
}
