//! The native half of kafkalab. This file only registers what Python sees.

mod answers;
mod arrow;
mod avro;
mod batch;
mod budget;
mod build_info;
mod columns;
mod compression;
mod connection;
mod decode;
mod error;
mod fault;
mod fault_of_row;
mod fetch;
mod framing;
mod isolation;
mod json;
mod json_column;
mod json_cursor;
mod json_fields;
mod map_keys;
mod plan;
mod protobuf;
mod reader;
mod requests;
mod response;
#[cfg(test)]
mod speed;
mod step;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod times;
mod tls;
mod typed;
mod wire;
mod workspace;

/// Bytes of the Fetch protocol to Arrow, for `kafkalab` to decide over.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::answers::{
        api_versions_answer, consumer_group_describe_answer, describe_groups_answer,
        find_coordinator_answer, list_groups_answer, list_offsets_answer, metadata_answer,
        offset_commit_answer, offset_fetch_answer,
    };
    #[pymodule_export]
    use crate::build_info::version;
    #[pymodule_export]
    use crate::connection::{Connection, StopFlag, TlsOptions};
    #[pymodule_export]
    use crate::decode::{
        AvroPlan, DecodedValues, ProtobufPlan, decode_avro, decode_json, decode_protobuf,
        split_framing,
    };
    #[pymodule_export]
    use crate::error::{
        BatchTooLargeError, CorruptBatchError, MalformedResponseError, NativeError, StoppedError,
        TlsError, UnsupportedMagicError,
    };
    #[pymodule_export]
    use crate::fetch::{FetchResponse, PartitionHead, Step, Transactions};
    #[pymodule_export]
    use crate::requests::{
        api_versions_request, consumer_group_describe_request, describe_groups_request,
        fetch_request, find_coordinator_request, list_groups_request, list_offsets_request,
        metadata_request, offset_commit_request, offset_fetch_request,
    };

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::build_info::warn_of_debug_build(module)
    }
}
