//! The store: digests, write-once blobs, trees, action records, runs and the stat memo.
//!
//! Everything in the store is named by its content or by a key derived from content, is written once
//! and is never changed; see [`Store`] for the layout and why a kill at any moment leaves it whole.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![forbid(unsafe_code)]

mod artifact;
mod blobs;
mod canonical;
mod collect;
mod digest;
mod error;
mod failpoint;
mod gate;
mod growing;
mod index;
mod large;
mod locks;
mod parts;
mod pins;
mod plain;
mod publish;
mod record;
mod runs;
mod sources;
mod store;
mod system;
mod tree;

pub use artifact::{Artifact, FieldSpec, Form, Stored};
pub use blobs::{BlobWriter, Scratch};
pub use canonical::{canonical, write_canonical_text};
pub use collect::{Collected, Collection, Damaged, Item, Keep, Share, Verified, What, Why};
pub use digest::{Blob, Digest, Hasher, NotADigest};
pub use error::StoreError;
pub use gate::Steady;
pub use growing::{Growing, Grown, Growth};
pub use locks::ActionLock;
pub use parts::{Parts, Pieces};
pub use pins::Pin;
pub use plain::{Plain, VALUE};
pub use publish::{Method, Published};
pub use record::{RECORD_VERSION, Record};
pub use runs::{Preimage, Run, RunFiles};
pub use sources::Watch;
pub use store::{SetAside, Store};
pub use system::{boot_id, host_name};
pub use tree::Tree;
pub use ulid::Ulid;
