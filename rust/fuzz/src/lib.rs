//! The pure half of the crate, as its own files have it.
#![allow(dead_code, reason = "the other half uses the rest")]

#[path = "../../src/avro.rs"]
pub mod avro;
#[path = "../../src/batch.rs"]
pub mod batch;
#[path = "../../src/budget.rs"]
pub mod budget;
#[path = "../../src/columns.rs"]
pub mod columns;
#[path = "../../src/compression.rs"]
pub mod compression;
#[path = "../../src/fault.rs"]
pub mod error; // the crate's errors but for those that become Python's
#[path = "../../src/fault_of_row.rs"]
pub mod fault_of_row;
#[path = "../../src/framing.rs"]
pub mod framing;
#[path = "../../src/isolation.rs"]
pub mod isolation;
#[path = "../../src/map_keys.rs"]
pub mod map_keys;
#[path = "../../src/protobuf.rs"]
pub mod protobuf;
#[path = "../../src/reader.rs"]
pub mod reader;
#[path = "../../src/response.rs"]
pub mod response;
#[path = "../../src/step.rs"]
pub mod step;
#[path = "../../src/times.rs"]
pub mod times;
#[path = "../../src/typed.rs"]
pub mod typed;
