//! Memory that goes from response to response, so that none pays for fresh pages.

use std::sync::{Arc, Mutex, PoisonError};

use crate::compression::Decompressor;

/// One response is parsed while the next arrives; more is given back to the system.
const MOST_KEPT: usize = 2;
const MOST_KEPT_BYTES: usize = 8 << 20;

/// The workspaces that nobody uses.
#[derive(Default)]
pub struct Pool(Mutex<Vec<Parts>>);

#[derive(Default)]
struct Parts {
    buffer: Vec<u8>,
    decompressor: Decompressor,
}

impl Pool {
    pub fn take(pool: &Arc<Self>) -> Workspace {
        let parts = pool.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Workspace {
            parts: parts.unwrap_or_default(),
            length: 0,
            home: Arc::clone(pool),
        }
    }

    fn put(&self, mut parts: Parts) {
        if parts.buffer.len() > MOST_KEPT_BYTES {
            parts.buffer = Vec::new();
        }
        parts.decompressor.shrink();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.push(parts);
        }
    }
}

/// A frame and what is needed to read it. It goes back to its pool when dropped.
pub struct Workspace {
    parts: Parts,
    length: usize,
    home: Arc<Pool>,
}

impl Workspace {
    /// Room for a frame. Fresh memory comes zeroed from the system, page by page as bytes arrive.
    pub fn frame_mut(&mut self, length: usize) -> &mut [u8] {
        if self.parts.buffer.len() < length {
            self.parts.buffer = Vec::new(); // free it first: its contents are not needed
            self.parts.buffer = vec![0; length];
        }
        self.length = length;
        &mut self.parts.buffer[..length]
    }

    pub fn frame(&self) -> &[u8] {
        &self.parts.buffer[..self.length]
    }

    /// The frame, beside what decompresses its batches.
    pub fn split(&mut self) -> (&[u8], &mut Decompressor) {
        (
            &self.parts.buffer[..self.length],
            &mut self.parts.decompressor,
        )
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        self.home.put(std::mem::take(&mut self.parts));
    }
}
